//! CQL frames to and from bytes; no I/O.
