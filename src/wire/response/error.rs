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

/// Whether an ERROR says itself of a write that nobody knows whether it was applied, and drivers
/// leave it at that: a timeout of the batch log they repeat (S15).
///
/// # Errors
/// If what it takes to know is cut short.
pub fn is_write_unknown(mut content: Cursor<'_>) -> Result<bool, Malformed> {
    let code = content.i32()?;
    if code != code::WRITE_TIMEOUT {
        return Ok(matches!(
            code,
            code::WRITE_FAILURE | code::CAS_WRITE_UNKNOWN
        ));
    }
    content.string()?;
    content.u16()?;
    let (_received, _need) = (content.i32()?, content.i32()?);
    Ok(content.string()? != "BATCH_LOG")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write_timeout(write_type: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let of = (write_type, Version::V4);
        put_write_timeout(&mut body, "late", Consistency::ONE, (0, 1), of);
        body
    }

    #[test]
    fn a_timeout_of_the_batch_log_is_not_left_at_that() {
        for write_type in ["SIMPLE", "BATCH", "UNLOGGED_BATCH", "COUNTER", "CAS"] {
            let body = write_timeout(write_type);
            assert_eq!(
                is_write_unknown(Cursor::new(&body)),
                Ok(true),
                "{write_type}"
            );
        }
        let body = write_timeout("BATCH_LOG");
        assert_eq!(is_write_unknown(Cursor::new(&body)), Ok(false));
        let (_, cut) = body.split_last().unwrap();
        assert!(is_write_unknown(Cursor::new(cut)).is_err());
    }

    #[test]
    fn of_other_errors_the_code_decides() {
        for (code, expected) in [
            (code::WRITE_FAILURE, true),
            (code::CAS_WRITE_UNKNOWN, true),
            (code::SERVER_ERROR, false),
            (code::UNAVAILABLE, false),
            (code::OVERLOADED, false),
        ] {
            let mut body = Vec::new();
            put(&mut body, code, "told by a node");
            assert_eq!(
                is_write_unknown(Cursor::new(&body)),
                Ok(expected),
                "{code:#x}"
            );
        }
    }
}
