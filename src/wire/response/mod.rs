//! What nodes answer, and what we answer to clients.

pub mod error;
pub mod event;
pub mod result;
pub mod supported;

use super::header::{FLAG_PAYLOAD, FLAG_TRACING, FLAG_WARNINGS};
use super::{Cursor, Malformed};

/// What may stand before an answer's own body, in this order (section 2.2 of the specification).
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix<'a> {
    /// All of it, to be passed on as it is.
    pub bytes: &'a [u8],
    /// The tracing id, 16 bytes, where tracing was asked for.
    pub tracing: Option<&'a [u8]>,
}

impl<'a> Prefix<'a> {
    /// Splits a body by the header's flags.
    ///
    /// # Errors
    /// If what the flags announce is not there.
    #[inline]
    pub fn split(flags: u8, body: &'a [u8]) -> Result<(Self, Cursor<'a>), Malformed> {
        let mut cursor = Cursor::new(body);
        if flags & (FLAG_TRACING | FLAG_WARNINGS | FLAG_PAYLOAD) == 0 {
            return Ok((Self::default(), cursor));
        }
        let start = cursor;
        let tracing = if flags & FLAG_TRACING != 0 {
            Some(cursor.take(16)?)
        } else {
            None
        };
        if flags & FLAG_WARNINGS != 0 {
            cursor.skip_string_list()?;
        }
        if flags & FLAG_PAYLOAD != 0 {
            cursor.skip_bytes_map()?;
        }
        Ok((
            Self {
                bytes: cursor.since(&start),
                tracing,
            },
            cursor,
        ))
    }
}
