//! Reading numbers and strings from bytes that may be anything.

use super::{Malformed, Value};

/// A reader that never goes past the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// A `string`: u16 length and UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        let len = self.u16()?;
        str::from_utf8(self.take(len.into())?).or(Err(Malformed::Text))
    }

    /// A length as u32 and that many bytes.
    pub(super) fn long(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.u32()?).or(Err(Malformed::Truncated))?;
        self.take(len)
    }

    /// A `value`: i32 length and bytes, -1 for null, -2 for unset.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        match self.i32()? {
            -2 => Ok(Value::Unset),
            -1 => Ok(Value::Null),
            len => {
                let len = usize::try_from(len).or(Err(Malformed::Value))?;
                self.take(len).map(Value::Bytes)
            }
        }
    }
}
