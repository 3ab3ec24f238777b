//! One client connection: accept, handshake, loop.

mod config;

pub use config::Config;
