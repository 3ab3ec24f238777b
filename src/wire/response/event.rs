//! EVENT: what a node tells without being asked.

use crate::wire::{Cursor, Malformed};

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
