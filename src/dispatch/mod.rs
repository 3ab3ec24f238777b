//! One request's journey, from statement to answer.

pub mod clock;
mod config;
mod error;
pub mod flow;
pub mod table;
mod verdict;

pub use config::{Advertise, Config, Deadlines};
pub use error::Error;
