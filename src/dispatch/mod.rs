//! One request's journey, from statement to answer.

mod config;
pub mod flow;

pub use config::{Advertise, Config, Deadlines};
