//! STARTUP: the first word of a connection.

use crate::wire::{Compression, Cursor, Malformed, put};

/// The options that matter to a server; others (driver name and version) are passed over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Startup<'a> {
    /// `CQL_VERSION`, mandatory.
    pub cql_version: Option<&'a str>,
    /// `COMPRESSION`.
    pub compression: Option<&'a str>,
}

impl<'a> Startup<'a> {
    /// Reads a whole body: a `[string map]`. Of a repeated option the last counts.
    ///
    /// # Errors
    /// If it is not one map and nothing else.
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let mut startup = Self::default();
        for _ in 0..cursor.u16()? {
            let (key, value) = (cursor.string()?, cursor.string()?);
            match key {
                "CQL_VERSION" => startup.cql_version = Some(value),
                "COMPRESSION" => startup.compression = Some(value),
                _ => {}
            }
        }
        cursor.end()?;
        Ok(startup)
    }

    /// Writes the body of our own STARTUP toward a node.
    pub fn put_own(out: &mut Vec<u8>, compression: Option<Compression>) {
        let own = [
            ("CQL_VERSION", "3.0.0"),
            ("DRIVER_NAME", "helix-proxy"),
            ("DRIVER_VERSION", env!("CARGO_PKG_VERSION")),
        ];
        let compression = compression.map(|it| ("COMPRESSION", it.name()));
        let options = own.into_iter().chain(compression);
        put::u16(out, if compression.is_some() { 4 } else { 3 });
        for (key, value) in options {
            put::string(out, key);
            put::string(out, value);
        }
    }
}
