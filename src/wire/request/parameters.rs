//! `<query_parameters>` of QUERY and EXECUTE: read once, written again with what we change.

use crate::wire::cursor::Value;
use crate::wire::{Consistency, Cursor, Malformed, Version, put};

/// Values are bound.
pub const FLAG_VALUES: u8 = 0x01;
/// The client knows the result's columns and wants them left out.
pub const FLAG_SKIP_METADATA: u8 = 0x02;
/// A page size follows.
pub const FLAG_PAGE_SIZE: u8 = 0x04;
/// A paging state follows.
pub const FLAG_PAGING_STATE: u8 = 0x08;
/// A serial consistency follows.
pub const FLAG_SERIAL: u8 = 0x10;
/// A default timestamp follows.
pub const FLAG_TIMESTAMP: u8 = 0x20;
/// Each value has a name before it.
pub const FLAG_NAMES: u8 = 0x40;

const KNOWN: u8 = 0x7F;

/// Bound values: counted, walked once to know where they end, never decoded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Values<'a> {
    /// How many.
    pub count: u16,
    /// Whether each has a `[string]` before it.
    pub named: bool,
    /// Their bytes, without the count.
    pub bytes: &'a [u8],
}

impl<'a> Values<'a> {
    /// Reads a count and that many values.
    ///
    /// # Errors
    /// If a value is cut short or its length is below -2.
    #[inline]
    pub fn parse(cursor: &mut Cursor<'a>, named: bool) -> Result<Self, Malformed> {
        let count = cursor.u16()?;
        let start = *cursor;
        for _ in 0..count {
            if named {
                cursor.short_bytes()?;
            }
            cursor.value()?;
        }
        Ok(Self {
            count,
            named,
            bytes: cursor.since(&start),
        })
    }

    /// The value at this place, if there is one.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Value<'a>> {
        let mut cursor = Cursor::new(self.bytes);
        for _ in 0..place.min(usize::from(self.count)) {
            self.next(&mut cursor)?;
        }
        self.next(&mut cursor).map(|(_, value)| value)
    }

    /// The value of this name; of a name given twice the first counts, as in the server.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Value<'a>> {
        let mut cursor = Cursor::new(self.bytes);
        std::iter::from_fn(|| self.next(&mut cursor))
            .find_map(|(at, value)| (at == name.as_bytes()).then_some(value))
    }

    fn next(&self, cursor: &mut Cursor<'a>) -> Option<(&'a [u8], Value<'a>)> {
        if cursor.rest().is_empty() {
            return None;
        }
        let name = if self.named {
            cursor.short_bytes().ok()?
        } else {
            &[]
        };
        Some((name, cursor.value().ok()?))
    }

    /// Writes count and values as they were read.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        put::u16(out, self.count);
        out.extend_from_slice(self.bytes);
    }
}

/// The parameters of a QUERY or EXECUTE of version 3 or 4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parameters<'a> {
    /// The consistency asked for.
    pub consistency: Consistency,
    /// Whether the answer's columns may be left out.
    pub skip_metadata: bool,
    /// Bound values; `None` where the flag was not set.
    pub values: Option<Values<'a>>,
    /// Rows a page.
    pub page_size: Option<i32>,
    /// Where the next page starts, opaque.
    pub paging_state: Option<&'a [u8]>,
    /// The serial consistency of conditionals.
    pub serial: Option<Consistency>,
    /// The client's default timestamp, microseconds since 1970.
    pub timestamp: Option<i64>,
}

impl<'a> Parameters<'a> {
    /// Reads them to the end of the body.
    ///
    /// # Errors
    /// If they are cut short, carry unknown flags or are followed by anything.
    #[inline]
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let consistency = Consistency(cursor.u16()?);
        let flags = cursor.u8()?;
        if flags & !KNOWN != 0 {
            return Err(Malformed::Unknown {
                what: "query flag",
                value: u32::from(flags),
            });
        }
        let has = |flag: u8| flags & flag != 0;
        let values = match has(FLAG_VALUES) {
            true => Some(Values::parse(cursor, has(FLAG_NAMES))?),
            false => None,
        };
        let page_size = if has(FLAG_PAGE_SIZE) {
            Some(cursor.i32()?)
        } else {
            None
        };
        let paging_state = if has(FLAG_PAGING_STATE) {
            cursor.bytes()?
        } else {
            None
        };
        let serial = if has(FLAG_SERIAL) {
            Some(Consistency(cursor.u16()?))
        } else {
            None
        };
        let timestamp = if has(FLAG_TIMESTAMP) {
            Some(cursor.i64()?)
        } else {
            None
        };
        cursor.end()?;
        let skip_metadata = has(FLAG_SKIP_METADATA);
        Ok(Self {
            consistency,
            skip_metadata,
            values,
            page_size,
            paging_state,
            serial,
            timestamp,
        })
    }

    /// Writes them in the layout of versions 3 and 4.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, _version: Version) {
        put::u16(out, self.consistency.0);
        out.push(self.flags());
        if let Some(values) = &self.values {
            values.put(out);
        }
        if let Some(size) = self.page_size {
            put::i32(out, size);
        }
        if let Some(state) = self.paging_state {
            put::bytes(out, state);
        }
        if let Some(serial) = self.serial {
            put::u16(out, serial.0);
        }
        if let Some(timestamp) = self.timestamp {
            put::i64(out, timestamp);
        }
    }

    #[inline]
    fn flags(&self) -> u8 {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        flag(self.values.is_some(), FLAG_VALUES)
            | flag(self.values.is_some_and(|values| values.named), FLAG_NAMES)
            | flag(self.skip_metadata, FLAG_SKIP_METADATA)
            | flag(self.page_size.is_some(), FLAG_PAGE_SIZE)
            | flag(self.paging_state.is_some(), FLAG_PAGING_STATE)
            | flag(self.serial.is_some(), FLAG_SERIAL)
            | flag(self.timestamp.is_some(), FLAG_TIMESTAMP)
    }

    /// The bare parameters of a text without values.
    #[must_use]
    pub const fn plain(consistency: Consistency) -> Self {
        Self {
            consistency,
            skip_metadata: false,
            values: None,
            page_size: None,
            paging_state: None,
            serial: None,
            timestamp: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_back_to_the_byte() {
        let bytes: Vec<u8> = [
            &[0x00, 0x01, 0x3F][..],
            &[0x00, 0x02, 0, 0, 0, 1, 0xAA, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0, 0, 0x13, 0x88],
            &[0, 0, 0, 2, 0xBE, 0xEF],
            &[0x00, 0x08],
            &[0, 0, 0, 0, 0, 0, 0, 9],
        ]
        .concat();
        let parameters = Parameters::parse(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(parameters.timestamp, Some(9));
        assert_eq!(parameters.values.unwrap().at(0), Some(Value::Set(&[0xAA])));
        assert_eq!(parameters.values.unwrap().at(1), Some(Value::Null));
        assert_eq!(parameters.values.unwrap().at(2), None);
        let mut out = Vec::new();
        parameters.put(&mut out, Version::V4);
        assert_eq!(out, bytes);
        for cut in 0..bytes.len() {
            assert!(Parameters::parse(&mut Cursor::new(&bytes[..cut])).is_err());
        }
    }

    #[test]
    fn an_injected_timestamp_sets_its_flag_and_stands_last() {
        let bytes = [0x00, 0x01, 0x00];
        let mut parameters = Parameters::parse(&mut Cursor::new(&bytes)).unwrap();
        parameters.timestamp = Some(0x0102_0304_0506_0708);
        let mut out = Vec::new();
        parameters.put(&mut out, Version::V3);
        assert_eq!(out, [0x00, 0x01, 0x20, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn bytes_behind_the_end_are_a_fault() {
        let fault = Parameters::parse(&mut Cursor::new(&[0x00, 0x01, 0x00, 0xFF]));
        assert_eq!(fault, Err(Malformed::Trailing(1)));
    }
}
