//! Reading the specification's notations (section 3) off a slice.

/// A body that is not what its message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// A length below what its notation allows.
    #[error("a length of {0} is not allowed here")]
    Length(i32),
    /// Text that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// The timestamp that servers take for none.
    #[error("the lowest timestamp of all is not allowed")]
    Timestamp,
    /// Bytes behind the last field.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// The body ends inside a value.
    #[error("the body ends inside a value")]
    Truncated,
    /// A kind or flag that the specification does not know.
    #[error("unknown {what} {value:#x}")]
    Unknown {
        /// What was read.
        what: &'static str,
        /// What it said.
        value: u32,
    },
}

/// A bound value as it stands on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// Length -1.
    Null,
    /// Any length from 0.
    Set(&'a [u8]),
    /// Length -2, protocol version 4 and later.
    Unset,
}

/// The unread rest of a body.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The bytes between an `earlier` copy of this cursor and here.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> &'a [u8] {
        let length = earlier.0.len().saturating_sub(self.0.len());
        earlier.0.get(..length).unwrap_or_default()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Cursor::take`], like all that follow.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// `[short]`.
    ///
    /// # Errors
    /// If fewer than 2 bytes are left.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// `[int]`.
    ///
    /// # Errors
    /// If fewer than 4 bytes are left.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// `[long]`.
    ///
    /// # Errors
    /// If fewer than 8 bytes are left.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// `[string]`.
    ///
    /// # Errors
    /// If it is cut short or not UTF-8.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.short_bytes()?;
        std::str::from_utf8(bytes).map_err(|_fault| Malformed::NotUtf8)
    }

    /// `[long string]`.
    ///
    /// # Errors
    /// If its length is negative, it is cut short or not UTF-8.
    pub fn long_string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.i32()?;
        let length = usize::try_from(length).map_err(|_fault| Malformed::Length(length))?;
        std::str::from_utf8(self.take(length)?).map_err(|_fault| Malformed::NotUtf8)
    }

    /// `[short bytes]`.
    ///
    /// # Errors
    /// If they are cut short.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }

    /// `[bytes]`; any negative length is null.
    ///
    /// # Errors
    /// If they are cut short.
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_negative) => Ok(None),
        }
    }

    /// `[value]`: -1 is null, -2 is unset, what is below is a fault.
    ///
    /// # Errors
    /// If it is cut short or its length is below -2.
    #[inline]
    pub fn value(&mut self) -> Result<Value<'a>, Malformed> {
        match self.i32()? {
            -1 => Ok(Value::Null),
            -2 => Ok(Value::Unset),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length).map(Value::Set),
                Err(_negative) => Err(Malformed::Length(length)),
            },
        }
    }

    /// Steps over a `[string list]`.
    ///
    /// # Errors
    /// If it is cut short.
    pub fn skip_string_list(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.u16()? {
            self.short_bytes()?;
        }
        Ok(())
    }

    /// Steps over a `[bytes map]`.
    ///
    /// # Errors
    /// If it is cut short.
    pub fn skip_bytes_map(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.u16()? {
            self.short_bytes()?;
            self.bytes()?;
        }
        Ok(())
    }

    /// Says that nothing may be left.
    ///
    /// # Errors
    /// [`Malformed::Trailing`] if something is.
    pub const fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing(self.0.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_null_unset_and_empty_apart() {
        let bytes = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 0, 0];
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.value(), Ok(Value::Null));
        assert_eq!(cursor.value(), Ok(Value::Unset));
        assert_eq!(cursor.value(), Ok(Value::Set(&[])));
        assert_eq!(cursor.end(), Ok(()));
    }

    #[test]
    fn hostile_lengths_are_faults_not_allocations() {
        for length in [-3, i32::MIN] {
            let bytes = length.to_be_bytes();
            assert_eq!(Cursor::new(&bytes).value(), Err(Malformed::Length(length)));
        }
        let huge = i32::MAX.to_be_bytes();
        assert_eq!(Cursor::new(&huge).value(), Err(Malformed::Truncated));
        assert_eq!(Cursor::new(&huge).long_string(), Err(Malformed::Truncated));
    }
}
