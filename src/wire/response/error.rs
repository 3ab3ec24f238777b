//! ERROR: a code, a sentence, and for some codes what led to it.

use crate::wire::{Consistency, Cursor, Malformed, Version, code, put};

/// An ERROR's body, as far as a decision needs it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Error<'a> {
    /// One of [`code`], or any other number a node may send.
    pub code: i32,
    /// The node's sentence.
    pub message: &'a str,
    /// Of UNPREPARED: the id that the node does not know.
    pub unprepared: Option<&'a [u8]>,
}

impl<'a> Error<'a> {
    /// Reads code and message, and the id of UNPREPARED. Fields behind them are not looked at.
    ///
    /// # Errors
    /// If code, message or that id are cut short.
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let code = cursor.i32()?;
        let message = cursor.string()?;
        let unprepared = if code == code::UNPREPARED {
            Some(cursor.short_bytes()?)
        } else {
            None
        };
        Ok(Self {
            code,
            message,
            unprepared,
        })
    }
}

/// Writes an error without further fields.
pub fn put(out: &mut Vec<u8>, code: i32, message: &str) {
    put::i32(out, code);
    put::string(out, message);
}

/// Writes UNAVAILABLE.
pub fn put_unavailable(out: &mut Vec<u8>, message: &str, at: Consistency, need: i32, alive: i32) {
    put(out, code::UNAVAILABLE, message);
    put::u16(out, at.0);
    put::i32(out, need);
    put::i32(out, alive);
}

/// Writes WRITE_TIMEOUT: `received` of `need` acknowledgements came. Version 5 tells of a `CAS` how
/// often it was contended: not known here, 0.
pub fn put_write_timeout(
    out: &mut Vec<u8>,
    message: &str,
    at: Consistency,
    (received, need): (i32, i32),
    (write_type, version): (&str, Version),
) {
    put(out, code::WRITE_TIMEOUT, message);
    put::u16(out, at.0);
    put::i32(out, received);
    put::i32(out, need);
    put::string(out, write_type);
    if Version::V5 <= version && write_type == "CAS" {
        put::u16(out, 0);
    }
}

/// Writes READ_TIMEOUT: `received` of `need` answers came, and no data.
pub fn put_read_timeout(
    out: &mut Vec<u8>,
    message: &str,
    at: Consistency,
    (received, need): (i32, i32),
) {
    put(out, code::READ_TIMEOUT, message);
    put::u16(out, at.0);
    put::i32(out, received);
    put::i32(out, need);
    out.push(0);
}

/// Writes UNPREPARED with the id that is not known here.
pub fn put_unprepared(out: &mut Vec<u8>, message: &str, id: &[u8]) {
    put(out, code::UNPREPARED, message);
    put::short_bytes(out, id);
}
