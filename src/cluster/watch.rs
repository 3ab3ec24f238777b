//! The control session of one cluster: what it is, its schema, its events.
