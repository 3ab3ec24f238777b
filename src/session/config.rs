//! What operators decide about clients: where they connect and how much they may ask for.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};

/// Everything that sessions are told at start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where clients connect. Default 127.0.0.1:9042.
    pub listen: SocketAddr,
    /// The largest frame body taken from a client, in bytes. Default and most 256 MiB; memory grows with what arrived.
    pub frame_max: NonZeroU32,
    /// Client connections; one more is closed at once. Default 20,000; at most 8 KiB each while idle.
    pub clients_max: NonZeroUsize,
    /// Requests in flight of one connection; its next ones wait unread. Default 2,048.
    pub in_flight_max: NonZeroUsize,
}

impl Config {
    /// The default of [`Config::listen`].
    pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9042);
    /// The largest frame body that the native protocol allows.
    pub const FRAME_MAX: NonZeroU32 = NonZeroU32::new(256 << 20).expect("not zero");
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Self::LISTEN,
            frame_max: Self::FRAME_MAX,
            clients_max: const { NonZeroUsize::new(20_000).expect("not zero") },
            in_flight_max: const { NonZeroUsize::new(2_048).expect("not zero") },
        }
    }
}
