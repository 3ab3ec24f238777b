//! PREPARE: a text, and in version 5 its keyspace.

use crate::wire::{Cursor, Malformed, Version, put};

/// A keyspace for this statement alone follows.
const FLAG_KEYSPACE: i32 = 0x01;

/// A PREPARE's body.
#[derive(Clone, Copy, Debug)]
pub struct Prepare<'a> {
    /// The CQL text.
    pub text: &'a str,
    /// The keyspace of this statement alone (version 5).
    pub keyspace: Option<&'a str>,
}

impl<'a> Prepare<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If it is not one text, in version 5 with its flags, and nothing else.
    pub fn parse(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let text = cursor.long_string()?;
        let flags = if version < Version::V5 {
            0
        } else {
            cursor.i32()?
        };
        if flags & !FLAG_KEYSPACE != 0 {
            return Err(Malformed::Unknown {
                what: "prepare flag",
                value: flags.cast_unsigned(),
            });
        }
        let keyspace = match flags {
            FLAG_KEYSPACE => Some(cursor.string()?),
            _ => None,
        };
        cursor.end()?;
        Ok(Self { text, keyspace })
    }

    /// Writes the body; an older version has no place for a keyspace.
    pub fn put(&self, out: &mut Vec<u8>, version: Version) {
        put::long_string(out, self.text);
        if version < Version::V5 {
            return;
        }
        put::i32(out, self.keyspace.map_or(0, |_| FLAG_KEYSPACE));
        if let Some(keyspace) = self.keyspace {
            put::string(out, keyspace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_5_has_flags_and_a_keyspace() {
        let plain = [0, 0, 0, 1, b'x'];
        let bare = [&plain[..], &[0, 0, 0, 0]].concat();
        let bound = [&plain[..], &[0, 0, 0, 1, 0, 2, b'k', b's']].concat();
        let cases = [
            (&plain[..], Version::V4, None),
            (&bare, Version::V5, None),
            (&bound, Version::V5, Some("ks")),
        ];
        for (bytes, version, keyspace) in cases {
            let prepare = Prepare::parse(Cursor::new(bytes), version).unwrap();
            assert_eq!((prepare.text, prepare.keyspace), ("x", keyspace));
            let mut out = Vec::new();
            prepare.put(&mut out, version);
            assert_eq!(out, bytes);
            for cut in 0..bytes.len() {
                assert!(Prepare::parse(Cursor::new(&bytes[..cut]), version).is_err());
            }
        }
        let unknown = [&plain[..], &[0, 0, 0, 2]].concat();
        assert!(Prepare::parse(Cursor::new(&unknown), Version::V5).is_err());
    }
}
