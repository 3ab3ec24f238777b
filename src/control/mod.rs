//! What operators and fleets see: admin HTTP and probes.

mod config;

pub use config::Config;
