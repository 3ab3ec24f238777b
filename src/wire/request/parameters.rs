//! `<query_parameters>` of QUERY and EXECUTE: read once, written again with what we change.

use crate::wire::cursor::Value;
use crate::wire::{Consistency, Cursor, Malformed, Version, put};

/// Values are bound.
pub const FLAG_VALUES: u32 = 0x01;
/// The client knows the result's columns and wants them left out.
pub const FLAG_SKIP_METADATA: u32 = 0x02;
/// A page size follows.
pub const FLAG_PAGE_SIZE: u32 = 0x04;
/// A paging state follows.
pub const FLAG_PAGING_STATE: u32 = 0x08;
/// A serial consistency follows.
pub const FLAG_SERIAL: u32 = 0x10;
/// A default timestamp follows.
pub const FLAG_TIMESTAMP: u32 = 0x20;
/// Each value has a name before it.
pub const FLAG_NAMES: u32 = 0x40;

/// A keyspace for this request alone follows (version 5).
pub const FLAG_KEYSPACE: u32 = 0x80;
/// The second that counts as now follows (version 5).
pub const FLAG_NOW: u32 = 0x100;

const KNOWN: u32 = 0x7F;
const KNOWN_V5: u32 = KNOWN | FLAG_KEYSPACE | FLAG_NOW;

/// Reads the flags of QUERY, EXECUTE or BATCH: one byte, in version 5 four.
///
/// # Errors
/// If they are cut short.
#[inline]
pub(super) fn flags(cursor: &mut Cursor<'_>, version: Version) -> Result<u32, Malformed> {
    if version < Version::V5 {
        cursor.u8().map(u32::from)
    } else {
        cursor.i32().map(i32::cast_unsigned)
    }
}

/// Writes them.
#[inline]
pub(super) fn put_flags(out: &mut Vec<u8>, flags: u32, version: Version) {
    if version < Version::V5 {
        // Those of version 5 have no place here; who writes for this version drops their fields.
        out.push(u8::try_from(flags & KNOWN).unwrap_or_default());
    } else {
        put::i32(out, flags.cast_signed());
    }
}

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

/// The parameters of a QUERY or EXECUTE.
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
    /// The keyspace of this request alone (version 5).
    pub keyspace: Option<&'a str>,
    /// The second since 1970 that counts as now (version 5).
    pub now: Option<i32>,
}

/// Reads a client's timestamp; servers refuse the lowest of all, which they take for none.
#[inline]
pub(super) fn timestamp(cursor: &mut Cursor<'_>) -> Result<i64, Malformed> {
    match cursor.i64()? {
        i64::MIN => Err(Malformed::Timestamp),
        at => Ok(at),
    }
}

impl<'a> Parameters<'a> {
    /// Reads them to the end of the body.
    ///
    /// # Errors
    /// If they are cut short, carry unknown flags or are followed by anything.
    #[inline]
    pub fn parse(cursor: &mut Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let consistency = Consistency::parse(cursor)?;
        let flags = flags(cursor, version)?;
        let known = if version < Version::V5 {
            KNOWN
        } else {
            KNOWN_V5
        };
        if flags & !known != 0 {
            return Err(Malformed::Unknown {
                what: "query flag",
                value: flags,
            });
        }
        let has = |flag: u32| flags & flag != 0;
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
            Some(Consistency::parse(cursor)?)
        } else {
            None
        };
        let timestamp = if has(FLAG_TIMESTAMP) {
            Some(timestamp(cursor)?)
        } else {
            None
        };
        let (keyspace, now) = per_request(cursor, flags)?;
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
            keyspace,
            now,
        })
    }

    /// Writes them in the layout of this version; what it has no place for is left out.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, version: Version) {
        put::u16(out, self.consistency.0);
        put_flags(out, self.flags(), version);
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
        put_per_request(out, (self.keyspace, self.now), version);
    }

    #[inline]
    fn flags(&self) -> u32 {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        flag(self.values.is_some(), FLAG_VALUES)
            | flag(self.values.is_some_and(|values| values.named), FLAG_NAMES)
            | flag(self.skip_metadata, FLAG_SKIP_METADATA)
            | flag(self.page_size.is_some(), FLAG_PAGE_SIZE)
            | flag(self.paging_state.is_some(), FLAG_PAGING_STATE)
            | flag(self.serial.is_some(), FLAG_SERIAL)
            | flag(self.timestamp.is_some(), FLAG_TIMESTAMP)
            | per_request_flags(self.keyspace, self.now)
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
            keyspace: None,
            now: None,
        }
    }
}

/// Reads the two fields of version 5 that stand last.
///
/// # Errors
/// If they are cut short.
#[inline]
pub(super) fn per_request<'a>(
    cursor: &mut Cursor<'a>,
    flags: u32,
) -> Result<(Option<&'a str>, Option<i32>), Malformed> {
    let keyspace = if flags & FLAG_KEYSPACE == 0 {
        None
    } else {
        Some(cursor.string()?)
    };
    let now = if flags & FLAG_NOW == 0 {
        None
    } else {
        Some(cursor.i32()?)
    };
    Ok((keyspace, now))
}

/// The flags of those two.
#[inline]
pub(super) const fn per_request_flags(keyspace: Option<&str>, now: Option<i32>) -> u32 {
    let keyspace = if keyspace.is_some() { FLAG_KEYSPACE } else { 0 };
    let now = if now.is_some() { FLAG_NOW } else { 0 };
    keyspace | now
}

/// Writes those two, where the version has a place for them.
#[inline]
pub(super) fn put_per_request(
    out: &mut Vec<u8>,
    (keyspace, now): (Option<&str>, Option<i32>),
    version: Version,
) {
    if version < Version::V5 {
        return;
    }
    if let Some(keyspace) = keyspace {
        put::string(out, keyspace);
    }
    if let Some(now) = now {
        put::i32(out, now);
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
        let parameters = Parameters::parse(&mut Cursor::new(&bytes), Version::V4).unwrap();
        assert_eq!(parameters.timestamp, Some(9));
        assert_eq!(parameters.values.unwrap().at(0), Some(Value::Set(&[0xAA])));
        assert_eq!(parameters.values.unwrap().at(1), Some(Value::Null));
        assert_eq!(parameters.values.unwrap().at(2), None);
        let mut out = Vec::new();
        parameters.put(&mut out, Version::V4);
        assert_eq!(out, bytes);
        for cut in 0..bytes.len() {
            assert!(Parameters::parse(&mut Cursor::new(&bytes[..cut]), Version::V4).is_err());
        }
    }

    #[test]
    fn an_injected_timestamp_sets_its_flag_and_stands_last() {
        let bytes = [0x00, 0x01, 0x00];
        let mut parameters = Parameters::parse(&mut Cursor::new(&bytes), Version::V4).unwrap();
        parameters.timestamp = Some(0x0102_0304_0506_0708);
        let mut out = Vec::new();
        parameters.put(&mut out, Version::V3);
        assert_eq!(out, [0x00, 0x01, 0x20, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn bytes_behind_the_end_are_a_fault() {
        let fault = Parameters::parse(&mut Cursor::new(&[0x00, 0x01, 0x00, 0xFF]), Version::V4);
        assert_eq!(fault, Err(Malformed::Trailing(1)));
    }

    #[test]
    fn version_5_has_wide_flags_and_two_fields_more() {
        let bytes: Vec<u8> = [
            &[0x00, 0x01, 0, 0, 0x01, 0xA0][..],
            &[0, 0, 0, 0, 0, 0, 0, 9],
            &[0, 2, b'k', b's', 0, 0, 0, 7],
        ]
        .concat();
        let parameters = Parameters::parse(&mut Cursor::new(&bytes), Version::V5).unwrap();
        assert_eq!(
            (parameters.timestamp, parameters.keyspace, parameters.now),
            (Some(9), Some("ks"), Some(7))
        );
        let mut out = Vec::new();
        parameters.put(&mut out, Version::V5);
        assert_eq!(out, bytes);
        for cut in 0..bytes.len() {
            assert!(Parameters::parse(&mut Cursor::new(&bytes[..cut]), Version::V5).is_err());
        }
        // An older version has no place for them.
        out.clear();
        parameters.put(&mut out, Version::V4);
        assert_eq!(out, [0x00, 0x01, 0x20, 0, 0, 0, 0, 0, 0, 0, 9]);
    }
}
