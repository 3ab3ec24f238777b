//! Where a request should go and what a failure means; no I/O.
