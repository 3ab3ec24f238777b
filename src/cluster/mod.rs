//! One backend cluster: connections, balance, prepared ids.

mod config;

pub use config::{Config, ContactPoint, ContactPoints, Name, PORT, ProtocolMax};
