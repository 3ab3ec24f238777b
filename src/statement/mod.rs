//! What a request means, and its rewritten form; no I/O.
