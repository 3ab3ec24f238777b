//! Requests of our own, awaited: probes, schema changes, the replay worker.
