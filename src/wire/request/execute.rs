//! EXECUTE: a prepared id and its parameters.

use super::Parameters;
use crate::wire::{Cursor, Malformed, Version, put};

/// An EXECUTE's body.
#[derive(Clone, Copy, Debug)]
pub struct Execute<'a> {
    /// Whose: ours from a client, a node's toward a node.
    pub id: &'a [u8],
    /// Everything else.
    pub parameters: Parameters<'a>,
}

impl<'a> Execute<'a> {
    /// Reads a whole body of version 3 or 4.
    ///
    /// # Errors
    /// If it is not one EXECUTE and nothing else.
    #[inline]
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let id = cursor.short_bytes()?;
        Ok(Self {
            id,
            parameters: Parameters::parse(&mut cursor)?,
        })
    }

    /// Writes the body.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, version: Version) {
        put::short_bytes(out, self.id);
        self.parameters.put(out, version);
    }
}
