//! PREPARE: a text.

use crate::wire::{Cursor, Malformed, put};

/// A PREPARE's body.
#[derive(Clone, Copy, Debug)]
pub struct Prepare<'a> {
    /// The CQL text.
    pub text: &'a str,
}

impl<'a> Prepare<'a> {
    /// Reads a whole body of version 3 or 4.
    ///
    /// # Errors
    /// If it is not one text and nothing else.
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let text = cursor.long_string()?;
        cursor.end()?;
        Ok(Self { text })
    }

    /// Writes the body.
    pub fn put(&self, out: &mut Vec<u8>) {
        put::long_string(out, self.text);
    }
}
