//! REGISTER: which events a client wants.

use crate::wire::{Cursor, Malformed, put};

/// A set of event types.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Events {
    /// `SCHEMA_CHANGE`.
    pub schema: bool,
    /// `STATUS_CHANGE`.
    pub status: bool,
    /// `TOPOLOGY_CHANGE`.
    pub topology: bool,
}

impl Events {
    /// Reads a whole body: a `[string list]` of event types.
    ///
    /// # Errors
    /// If it is cut short, or names a type that does not exist.
    pub fn parse(mut cursor: Cursor<'_>) -> Result<Self, Malformed> {
        let mut events = Self::default();
        for _ in 0..cursor.u16()? {
            match cursor.string()? {
                "SCHEMA_CHANGE" => events.schema = true,
                "STATUS_CHANGE" => events.status = true,
                "TOPOLOGY_CHANGE" => events.topology = true,
                _ => {
                    return Err(Malformed::Unknown {
                        what: "event type",
                        value: 0,
                    });
                }
            }
        }
        cursor.end()?;
        Ok(events)
    }

    /// Writes the body of our own REGISTER for all three types.
    pub fn put_all(out: &mut Vec<u8>) {
        put::u16(out, 3);
        for name in ["SCHEMA_CHANGE", "STATUS_CHANGE", "TOPOLOGY_CHANGE"] {
            put::string(out, name);
        }
    }
}
