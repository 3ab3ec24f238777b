//! AUTH_RESPONSE: who somebody is, as SASL PLAIN (RFC 4616).

use std::fmt;

use crate::wire::{Cursor, Malformed, put};

/// A name and its password.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Credentials<'a> {
    /// The name of the role.
    pub username: &'a str,
    /// In clear.
    pub password: &'a str,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl<'a> Credentials<'a> {
    /// Reads a whole body: `[bytes]`, in them authorization, NUL, name, NUL, password. Who to act as
    /// (authorization) is passed over, as by servers.
    ///
    /// # Errors
    /// If it is not that.
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let token = cursor.bytes()?.ok_or(Malformed::Length(-1))?;
        cursor.end()?;
        let token = std::str::from_utf8(token).map_err(|_fault| Malformed::NotUtf8)?;
        let mut parts = token.split('\0').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(username), Some(password), None) => Ok(Self { username, password }),
            _ => Err(Malformed::Truncated),
        }
    }

    /// Writes the body.
    pub fn put(&self, out: &mut Vec<u8>) {
        put::bytes(
            out,
            format!("\0{}\0{}", self.username, self.password).as_bytes(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let told = Credentials {
            username: "tom",
            password: "pä:ss",
        };
        let mut body = Vec::new();
        told.put(&mut body);
        assert_eq!(Credentials::parse(Cursor::new(&body)), Ok(told));
        assert!(
            !format!("{told:?}").contains("ss"),
            "a password is not shown"
        );
    }

    #[test]
    fn whoever_acts_for_another_is_who_it_is() {
        let read = Credentials::parse(Cursor::new(b"\0\0\0\x07x\0tom\0p")).unwrap();
        assert_eq!((read.username, read.password), ("tom", "p"));
    }

    #[test]
    fn anything_else_is_malformed() {
        let bodies: [&[u8]; 8] = [
            b"",
            b"\xFF\xFF\xFF\xFF",
            b"\0\0\0\0",
            b"\0\0\0\x03tom",
            b"\0\0\0\x04\0tom",
            b"\0\0\0\x06\0a\0b\0c",
            b"\0\0\0\x04\0\xFF\0a",
            b"\0\0\0\x04\0a\0bx",
        ];
        for body in bodies {
            assert!(Credentials::parse(Cursor::new(body)).is_err(), "{body:?}");
        }
    }
}
