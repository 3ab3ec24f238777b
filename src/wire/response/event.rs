//! EVENT: what a node tells without being asked.

use std::net::{IpAddr, SocketAddr};

use crate::wire::{Cursor, Malformed, put};

/// An event, as far as a decision needs it; the bytes are passed on as they came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// Something in this keyspace was created, changed or dropped.
    Schema {
        /// The keyspace.
        keyspace: &'a str,
    },
    /// A node came up or went down.
    Status,
    /// A node joined or left.
    Topology,
}

impl<'a> Event<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// If it is cut short or of an unknown type.
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        match cursor.string()? {
            "SCHEMA_CHANGE" => {
                cursor.string()?;
                cursor.string()?;
                Ok(Self::Schema {
                    keyspace: cursor.string()?,
                })
            }
            "STATUS_CHANGE" => Ok(Self::Status),
            "TOPOLOGY_CHANGE" => Ok(Self::Topology),
            _ => Err(Malformed::Unknown {
                what: "event type",
                value: 0,
            }),
        }
    }
}

/// Writes the body of a `STATUS_CHANGE` that says `UP`. The address is told as `system.local` does: one of
/// version 4 that came by a socket of version 6 is of version 4.
pub fn put_up(out: &mut Vec<u8>, node: SocketAddr) {
    put::string(out, "STATUS_CHANGE");
    put::string(out, "UP");
    match node.ip().to_canonical() {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(16);
            out.extend_from_slice(&address.octets());
        }
    }
    put::i32(out, i32::from(node.port()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_is_told_with_the_address_and_the_port() {
        let of = |node: &str| {
            let mut out = Vec::new();
            put_up(&mut out, node.parse().unwrap());
            assert_eq!(Event::parse(Cursor::new(&out)), Ok(Event::Status));
            out
        };
        let known = b"\x00\x0dSTATUS_CHANGE\x00\x02UP";
        let v4 = [&known[..], &[4, 127, 0, 0, 1, 0, 0, 0x23, 0x52]].concat();
        assert_eq!(of("127.0.0.1:9042"), v4);
        assert_eq!(of("[::ffff:127.0.0.1]:9042"), v4);
        let loopback = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let v6 = [&known[..], &[16], &loopback, &[0, 0, 0xFF, 0xFF]].concat();
        assert_eq!(of("[::1]:65535"), v6);
    }
}
