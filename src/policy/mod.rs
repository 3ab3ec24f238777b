//! Where a request should go and what a failure means; no I/O.

mod config;

pub use config::{
    Ack, Conditional, Config, Failover, Journal, OnQueueFailure, Preferred, ReadStrategy, Reads,
    WriteStrategy, Writes,
};
