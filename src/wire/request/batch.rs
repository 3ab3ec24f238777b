//! BATCH: several texts and prepared ids under one set of parameters.

use super::Values;
use super::parameters::{
    FLAG_KEYSPACE, FLAG_NAMES, FLAG_NOW, FLAG_SERIAL, FLAG_TIMESTAMP, flags, per_request,
    per_request_flags, put_flags, put_per_request, timestamp,
};
use crate::wire::{Consistency, Cursor, Malformed, Version, put};

/// A batch's kind by its byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Atomic by the batch log.
    Logged,
    /// Not atomic.
    Unlogged,
    /// Of counters.
    Counter,
}

impl Kind {
    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        match byte {
            0 => Ok(Self::Logged),
            1 => Ok(Self::Unlogged),
            2 => Ok(Self::Counter),
            _ => Err(Malformed::Unknown {
                what: "batch type",
                value: u32::from(byte),
            }),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Logged => 0,
            Self::Unlogged => 1,
            Self::Counter => 2,
        }
    }
}

/// What one child runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What<'a> {
    /// A prepared id.
    Id(&'a [u8]),
    /// A CQL text.
    Text(&'a str),
}

/// One statement of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// What it runs.
    pub what: What<'a>,
    /// Its values, never named (CASSANDRA-10246).
    pub values: Values<'a>,
}

impl<'a> Child<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let what = match cursor.u8()? {
            0 => What::Text(cursor.long_string()?),
            1 => What::Id(cursor.short_bytes()?),
            kind => {
                return Err(Malformed::Unknown {
                    what: "batch child",
                    value: u32::from(kind),
                });
            }
        };
        Ok(Self {
            what,
            values: Values::parse(cursor, false)?,
        })
    }

    /// Writes the child.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self.what {
            What::Text(text) => {
                out.push(0);
                put::long_string(out, text);
            }
            What::Id(id) => {
                out.push(1);
                put::short_bytes(out, id);
            }
        }
        self.values.put(out);
    }
}

/// A BATCH's body; its children are read again from `children` as often as they are needed.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its kind.
    pub kind: Kind,
    /// How many children.
    pub count: u16,
    children: Cursor<'a>,
    /// The consistency asked for.
    pub consistency: Consistency,
    /// The serial consistency of conditionals.
    pub serial: Option<Consistency>,
    /// The client's default timestamp, microseconds since 1970.
    pub timestamp: Option<i64>,
    /// The keyspace of this request alone (version 5).
    pub keyspace: Option<&'a str>,
    /// The second since 1970 that counts as now (version 5).
    pub now: Option<i32>,
}

impl<'a> Batch<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If it is not one BATCH and nothing else, or asks for named values, which no server supports.
    pub fn parse(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let kind = Kind::from_byte(cursor.u8()?)?;
        let count = cursor.u16()?;
        let children = cursor;
        for _ in 0..count {
            Child::parse(&mut cursor)?;
        }
        let consistency = Consistency::parse(&mut cursor)?;
        let flags = flags(&mut cursor, version)?;
        let wide = if version < Version::V5 {
            0
        } else {
            FLAG_KEYSPACE | FLAG_NOW
        };
        if flags & !(FLAG_SERIAL | FLAG_TIMESTAMP | wide) != 0 {
            let what = if flags & FLAG_NAMES != 0 {
                "batch flag (names)"
            } else {
                "batch flag"
            };
            return Err(Malformed::Unknown { what, value: flags });
        }
        let serial = match flags & FLAG_SERIAL != 0 {
            true => Some(Consistency::parse(&mut cursor)?),
            false => None,
        };
        let timestamp = if flags & FLAG_TIMESTAMP != 0 {
            Some(timestamp(&mut cursor)?)
        } else {
            None
        };
        let (keyspace, now) = per_request(&mut cursor, flags)?;
        cursor.end()?;
        Ok(Self {
            kind,
            count,
            children,
            consistency,
            serial,
            timestamp,
            keyspace,
            now,
        })
    }

    /// A batch of our own; the caller writes its children.
    #[must_use]
    pub const fn of(
        kind: Kind,
        count: u16,
        consistency: Consistency,
        serial: Option<Consistency>,
        timestamp: Option<i64>,
    ) -> Self {
        Self {
            kind,
            count,
            children: Cursor::new(&[]),
            consistency,
            serial,
            timestamp,
            keyspace: None,
            now: None,
        }
    }

    /// The children in order.
    pub fn children(&self) -> impl Iterator<Item = Child<'a>> + use<'a> {
        let mut cursor = self.children;
        (0..self.count).map_while(move |_| Child::parse(&mut cursor).ok())
    }

    /// Writes kind and count; the caller writes the children, then [`Batch::put_tail`].
    pub fn put_head(&self, out: &mut Vec<u8>) {
        out.push(self.kind.byte());
        put::u16(out, self.count);
    }

    /// Writes what stands behind the children.
    pub fn put_tail(&self, out: &mut Vec<u8>, version: Version) {
        put::u16(out, self.consistency.0);
        let serial = if self.serial.is_some() {
            FLAG_SERIAL
        } else {
            0
        };
        let timestamp = if self.timestamp.is_some() {
            FLAG_TIMESTAMP
        } else {
            0
        };
        let per_request = per_request_flags(self.keyspace, self.now);
        put_flags(out, serial | timestamp | per_request, version);
        if let Some(serial) = self.serial {
            put::u16(out, serial.0);
        }
        if let Some(timestamp) = self.timestamp {
            put::i64(out, timestamp);
        }
        put_per_request(out, (self.keyspace, self.now), version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0x01, 0x00, 0x02];
        bytes.extend([0x00, 0, 0, 0, 1, b'x', 0x00, 0x00]);
        bytes.extend([0x01, 0, 2, 0xAA, 0xBB, 0x00, 0x01, 0, 0, 0, 1, 0x07]);
        bytes.extend([0x00, 0x04, 0x20, 0, 0, 0, 0, 0, 0, 0, 5]);
        bytes
    }

    #[test]
    fn what_was_read_is_written_back_to_the_byte() {
        let bytes = bytes();
        let batch = Batch::parse(Cursor::new(&bytes), Version::V4).unwrap();
        assert_eq!(
            (batch.kind, batch.count, batch.timestamp),
            (Kind::Unlogged, 2, Some(5))
        );
        let mut out = Vec::new();
        batch.put_head(&mut out);
        for child in batch.children() {
            child.put(&mut out);
        }
        batch.put_tail(&mut out, Version::V4);
        assert_eq!(out, bytes);
        for cut in 0..bytes.len() {
            assert!(Batch::parse(Cursor::new(&bytes[..cut]), Version::V4).is_err());
        }
    }

    #[test]
    fn version_5_has_wide_flags_and_two_fields_more() {
        let bytes: Vec<u8> = [
            &[0x00, 0x00, 0x00, 0x00, 0x01, 0, 0, 0x01, 0x80][..],
            &[0, 2, b'k', b's', 0, 0, 0, 7],
        ]
        .concat();
        let batch = Batch::parse(Cursor::new(&bytes), Version::V5).unwrap();
        assert_eq!((batch.keyspace, batch.now), (Some("ks"), Some(7)));
        let mut out = Vec::new();
        batch.put_head(&mut out);
        batch.put_tail(&mut out, Version::V5);
        assert_eq!(out, bytes);
    }
}
