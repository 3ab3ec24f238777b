//! What operators decide about the admin side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Everything that the admin side is told at start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where metrics, health, status and the commands are answered; loopback only. Default 127.0.0.1:9180.
    pub listen: SocketAddr,
}

impl Config {
    /// The default of [`Config::listen`].
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Self::LISTEN,
        }
    }
}
