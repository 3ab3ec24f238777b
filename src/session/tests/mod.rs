//! Clients as strangers: raw bytes in, raw bytes out, over loopback.

mod coding;
mod credentials;
mod events;
mod handshake;
mod hostile;
mod idle;
mod listener;
mod pressure;
mod shutdown;
mod stories;
mod support;
