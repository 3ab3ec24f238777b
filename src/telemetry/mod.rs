//! Metrics registry, log setup, log throttle.
//!
//! [`Metrics`] is one a process; each thread of the data plane owns one [`WorkerMetrics`] that
//! nobody else writes, so that counting costs neither a lock nor a locked instruction. A scrape
//! sums over them. What is not counted but looked at (depths, states) is a [`Sample`].

mod cell;
mod exposition;
pub mod log;
mod metrics;
mod sample;
mod throttle;
mod worker;

pub use metrics::{Metrics, TEXT_FORMAT};
pub use sample::{BreakerState, Sample};
pub use throttle::Throttle;
pub use worker::{RequestKind, WorkerMetrics};

#[cfg(test)]
mod tests;
