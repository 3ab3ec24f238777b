//! QUERY: a text and its parameters.

use super::Parameters;
use crate::wire::{Consistency, Cursor, Malformed, Version, put};

/// A QUERY's body.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The CQL text.
    pub text: &'a str,
    /// Everything else.
    pub parameters: Parameters<'a>,
}

impl<'a> Query<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If it is not one QUERY and nothing else.
    pub fn parse(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let text = cursor.long_string()?;
        Ok(Self {
            text,
            parameters: Parameters::parse(&mut cursor, version)?,
        })
    }

    /// Writes the body.
    pub fn put(&self, out: &mut Vec<u8>, version: Version) {
        put::long_string(out, self.text);
        self.parameters.put(out, version);
    }

    /// A text of our own at consistency ONE.
    #[must_use]
    pub const fn plain(text: &'a str) -> Self {
        Self {
            text,
            parameters: Parameters::plain(Consistency::ONE),
        }
    }
}
