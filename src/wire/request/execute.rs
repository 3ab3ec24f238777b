//! EXECUTE: a prepared id and its parameters.

use super::Parameters;
use crate::wire::{Cursor, Malformed, Version, put};

/// An EXECUTE's body.
#[derive(Clone, Copy, Debug)]
pub struct Execute<'a> {
    /// Whose: ours from a client, a node's toward a node.
    pub id: &'a [u8],
    /// The id of the result's columns that the client knows (version 5); empty in older ones.
    pub columns: &'a [u8],
    /// Everything else.
    pub parameters: Parameters<'a>,
}

impl<'a> Execute<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If it is not one EXECUTE and nothing else.
    #[inline]
    pub fn parse(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let id = cursor.short_bytes()?;
        let columns = if version < Version::V5 {
            &[]
        } else {
            cursor.short_bytes()?
        };
        Ok(Self {
            id,
            columns,
            parameters: Parameters::parse(&mut cursor, version)?,
        })
    }

    /// Writes the body.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, version: Version) {
        put::short_bytes(out, self.id);
        if Version::V5 <= version {
            put::short_bytes(out, self.columns);
        }
        self.parameters.put(out, version);
    }
}
