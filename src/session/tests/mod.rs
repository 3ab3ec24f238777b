//! Clients as strangers: raw bytes in, raw bytes out.

mod handshake;
