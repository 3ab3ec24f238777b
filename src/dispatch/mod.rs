//! One request's journey, from statement to answer.

mod config;

pub use config::{Advertise, Config, Deadlines, ProtocolMax};
