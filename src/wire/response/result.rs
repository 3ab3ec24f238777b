//! RESULT: void, rows, a keyspace, a prepared statement or a schema change.

use crate::wire::{Cursor, Frame, Malformed, Version, put};

/// RESULT of a statement without rows.
pub const VOID: i32 = 0x0001;
/// RESULT with rows.
pub const ROWS: i32 = 0x0002;
/// RESULT of USE.
pub const SET_KEYSPACE: i32 = 0x0003;
/// RESULT of PREPARE.
pub const PREPARED: i32 = 0x0004;
/// RESULT of a schema change.
pub const SCHEMA_CHANGE: i32 = 0x0005;

/// Rows metadata: one keyspace and table for all columns.
pub const ROWS_GLOBAL_TABLE: i32 = 0x0001;
/// Rows metadata: a paging state is there.
pub const ROWS_MORE_PAGES: i32 = 0x0002;
/// Rows metadata: the columns are left out.
pub const ROWS_NO_METADATA: i32 = 0x0004;

/// Whether a RESULT is of a kind that exists, behind what its flags announce.
#[inline]
#[must_use]
pub fn is_known(frame: &Frame<'_>) -> bool {
    let kind = frame.content().and_then(|(_, mut content)| content.i32());
    kind.is_ok_and(|kind| (VOID..=SCHEMA_CHANGE).contains(&kind))
}

/// Where a ROWS body carries its paging state.
#[derive(Clone, Copy, Debug)]
pub struct Paging<'a> {
    /// Kind, flags and column count: 12 bytes before the paging state.
    pub head: &'a [u8],
    /// The node's own paging state.
    pub state: &'a [u8],
    /// All that follows.
    pub tail: &'a [u8],
}

/// The paging state of a RESULT, if it is ROWS with one.
///
/// # Errors
/// If the body is cut short before it.
#[inline]
pub fn paging(content: Cursor<'_>) -> Result<Option<Paging<'_>>, Malformed> {
    let start = content;
    let mut cursor = content;
    if cursor.i32()? != ROWS || cursor.i32()? & ROWS_MORE_PAGES == 0 {
        return Ok(None);
    }
    cursor.i32()?;
    let head = cursor.since(&start);
    let state = cursor.bytes()?.unwrap_or_default();
    Ok(Some(Paging {
        head,
        state,
        tail: cursor.rest(),
    }))
}

/// A RESULT of PREPARE.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    /// The node's id.
    pub id: &'a [u8],
    /// The node's id of the result's columns (version 5); empty in older ones.
    pub columns_id: &'a [u8],
    /// Metadata of the variables and of the result, as they came.
    pub metadata: &'a [u8],
    /// The part of `metadata` that describes the result's columns.
    pub columns: &'a [u8],
    variables: Variables<'a>,
}

impl<'a> Prepared<'a> {
    /// Reads a RESULT's content, whose kind must be PREPARED.
    ///
    /// # Errors
    /// If it is another kind or cut short.
    pub fn parse(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let kind = cursor.i32()?;
        if kind != PREPARED {
            return Err(Malformed::Unknown {
                what: "result kind",
                value: kind.unsigned_abs(),
            });
        }
        let id = cursor.short_bytes()?;
        let columns_id = if version < Version::V5 {
            &[]
        } else {
            cursor.short_bytes()?
        };
        let metadata = cursor.rest();
        let variables = Variables::parse(cursor, version)?;
        let columns = variables.walk(&mut |_| {})?;
        Ok(Self {
            id,
            columns_id,
            metadata,
            columns: columns.rest(),
            variables,
        })
    }

    /// How many variables there are, and the type of each: the same bytes in all versions.
    #[must_use]
    pub fn bind_types(&self) -> Vec<u8> {
        let mut out = self.variables.count.to_be_bytes().to_vec();
        let walked = self.variables.walk(&mut |bytes| out.extend(bytes));
        debug_assert!(walked.is_ok(), "it was walked when it was parsed");
        out
    }

    /// Writes the same content under another id.
    pub fn put(&self, out: &mut Vec<u8>, id: &[u8], version: Version) {
        put::i32(out, PREPARED);
        put::short_bytes(out, id);
        if Version::V5 <= version {
            put::short_bytes(out, self.columns_id);
        }
        out.extend_from_slice(self.metadata);
    }
}

/// Which variables make up the partition key, from the metadata of a PREPARED: version 4 says it,
/// version 3 does not (empty).
///
/// # Errors
/// If the metadata is cut short.
pub fn key_places(mut metadata: Cursor<'_>, version: Version) -> Result<Box<[u16]>, Malformed> {
    metadata.i32()?;
    metadata.i32()?;
    if version < Version::V4 {
        return Ok(Box::default());
    }
    (0..metadata.i32()?.max(0))
        .map(|_| metadata.u16())
        .collect()
}

/// The variables of a PREPARED.
#[derive(Clone, Copy, Debug)]
struct Variables<'a> {
    count: i32,
    global: bool,
    /// The table that all belong to, if `global`, and then each one with its name and type.
    specs: Cursor<'a>,
}

impl<'a> Variables<'a> {
    fn parse(mut cursor: Cursor<'a>, version: Version) -> Result<Self, Malformed> {
        let global = cursor.i32()? & ROWS_GLOBAL_TABLE != 0;
        let count = cursor.i32()?;
        if Version::V4 <= version {
            for _ in 0..cursor.i32()?.max(0) {
                cursor.u16()?;
            }
        }
        Ok(Self {
            count,
            global,
            specs: cursor,
        })
    }

    /// Shows the bytes of all types, and returns what stands behind the variables.
    fn walk(&self, see: &mut impl FnMut(&[u8])) -> Result<Cursor<'a>, Malformed> {
        let mut cursor = self.specs;
        walk_columns(&mut cursor, self.count, self.global, see)?;
        Ok(cursor)
    }
}

fn walk_columns(
    cursor: &mut Cursor<'_>,
    count: i32,
    global: bool,
    see: &mut impl FnMut(&[u8]),
) -> Result<(), Malformed> {
    for _ in 0..if global { 2 } else { 0 } {
        cursor.short_bytes()?;
    }
    for _ in 0..count.max(0) {
        for _ in 0..if global { 1 } else { 3 } {
            cursor.short_bytes()?;
        }
        walk_type(cursor, TYPE_DEPTH_MAX, see)?;
    }
    Ok(())
}

/// How deep a type may nest before it is called malformed; the server's own limit is far below.
const TYPE_DEPTH_MAX: u32 = 32;

/// A type that has no code in the version at hand, told by the name of its class.
const CUSTOM: u16 = 0x0000;

fn walk_type(
    cursor: &mut Cursor<'_>,
    depth: u32,
    see: &mut impl FnMut(&[u8]),
) -> Result<(), Malformed> {
    let id = cursor.u16()?;
    let too_deep = Malformed::Unknown {
        what: "type nesting",
        value: u32::from(id),
    };
    let inner = depth.checked_sub(1).ok_or(too_deep)?;
    if id == CUSTOM {
        see_custom(cursor.short_bytes()?, see);
        return Ok(());
    }
    see(&id.to_be_bytes());
    match id {
        0x0020 | 0x0022 => walk_type(cursor, inner, see),
        0x0021 => {
            walk_type(cursor, inner, see)?;
            walk_type(cursor, inner, see)
        }
        0x0030 => {
            see_string(cursor.short_bytes()?, see);
            see_string(cursor.short_bytes()?, see);
            for _ in 0..see_count(cursor, see)? {
                see_string(cursor.short_bytes()?, see);
                walk_type(cursor, inner, see)?;
            }
            Ok(())
        }
        0x0031 => {
            for _ in 0..see_count(cursor, see)? {
                walk_type(cursor, inner, see)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Types that are younger than version 3 are custom ones there and have a code of their own later.
fn see_custom(class: &[u8], see: &mut impl FnMut(&[u8])) {
    let code: u16 = match class.strip_prefix(b"org.apache.cassandra.db.marshal.") {
        Some(b"SimpleDateType") => 0x0011,
        Some(b"TimeType") => 0x0012,
        Some(b"ShortType") => 0x0013,
        Some(b"ByteType") => 0x0014,
        Some(b"DurationType") => 0x0015,
        Some(_) | None => CUSTOM,
    };
    see(&code.to_be_bytes());
    if code == CUSTOM {
        see_string(class, see);
    }
}

fn see_count(cursor: &mut Cursor<'_>, see: &mut impl FnMut(&[u8])) -> Result<u16, Malformed> {
    let count = cursor.u16()?;
    see(&count.to_be_bytes());
    Ok(count)
}

fn see_string(bytes: &[u8], see: &mut impl FnMut(&[u8])) {
    see(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    see(bytes);
}

/// A column of a result that we make ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type's bytes, as in `[option]`.
    pub kind: &'a [u8],
}

/// Writes the metadata of columns that all belong to one table: `<flags><count><table><columns>`.
pub fn put_columns(out: &mut Vec<u8>, (keyspace, table): (&str, &str), columns: &[Column<'_>]) {
    put::i32(out, ROWS_GLOBAL_TABLE);
    put::i32(out, i32::try_from(columns.len()).unwrap_or(0));
    put_specs(out, (keyspace, table), columns);
}

/// Writes the metadata of a prepared statement's variables; `key` are the places of those that
/// make up the partition key, which version 3 does not tell.
pub fn put_variables(
    out: &mut Vec<u8>,
    version: Version,
    table: (&str, &str),
    columns: &[Column<'_>],
    key: &[u16],
) {
    put::i32(
        out,
        if columns.is_empty() {
            0
        } else {
            ROWS_GLOBAL_TABLE
        },
    );
    put::i32(out, i32::try_from(columns.len()).unwrap_or(0));
    if Version::V4 <= version {
        put::i32(out, i32::try_from(key.len()).unwrap_or(0));
        for &place in key {
            put::u16(out, place);
        }
    }
    if !columns.is_empty() {
        put_specs(out, table, columns);
    }
}

fn put_specs(out: &mut Vec<u8>, (keyspace, table): (&str, &str), columns: &[Column<'_>]) {
    put::string(out, keyspace);
    put::string(out, table);
    for column in columns {
        put::string(out, column.name);
        out.extend_from_slice(column.kind);
    }
}

/// Rows of a result, as far as our own queries need them: every cell by row.
#[derive(Debug)]
pub struct Rows<'a> {
    columns: usize,
    count: usize,
    cells: Cursor<'a>,
}

impl<'a> Rows<'a> {
    /// Reads the content of a RESULT of kind ROWS.
    ///
    /// # Errors
    /// If it is another kind or its metadata is cut short.
    pub fn parse(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let kind = cursor.i32()?;
        if kind != ROWS {
            return Err(Malformed::Unknown {
                what: "result kind",
                value: kind.unsigned_abs(),
            });
        }
        let flags = cursor.i32()?;
        let columns = cursor.i32()?;
        if flags & ROWS_MORE_PAGES != 0 {
            cursor.bytes()?;
        }
        if flags & ROWS_NO_METADATA == 0 {
            let global = flags & ROWS_GLOBAL_TABLE != 0;
            walk_columns(&mut cursor, columns, global, &mut |_| {})?;
        }
        let count = cursor.i32()?;
        let at_least_zero = |number: i32| usize::try_from(number).unwrap_or(0);
        // Rows without columns take no bytes, so their count would have no bound.
        let count = if columns <= 0 {
            0
        } else {
            at_least_zero(count)
        };
        Ok(Self {
            columns: at_least_zero(columns),
            count,
            cells: cursor,
        })
    }

    /// The rows in order, each as its cells; ends early where the body does.
    pub fn iter(&self) -> impl Iterator<Item = Vec<Option<&'a [u8]>>> + use<'a> {
        let (columns, mut cursor) = (self.columns, self.cells);
        // A row takes at least 4 bytes a column, so a hostile count ends at the body's end.
        (0..self.count).map_while(move |_| {
            (0..columns)
                .map(|_| cursor.bytes())
                .collect::<Result<Vec<_>, _>>()
                .ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: [u8; 2] = [0, 0x09];

    /// A type of this class as version 3 names it.
    fn class(name: &str) -> Vec<u8> {
        let mut out = vec![0, 0];
        put::string(&mut out, &format!("org.apache.cassandra.db.marshal.{name}"));
        out
    }

    /// A tuple of a type and a list of maps from int to it, and a UDT with it.
    fn nested(kind: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0x31, 0, 3];
        out.extend(kind);
        out.extend([0, 0x20, 0, 0x21, 0, 0x09]);
        out.extend(kind);
        out.extend([0, 0x30]);
        put::string(&mut out, "ks");
        put::string(&mut out, "udt");
        out.extend([0, 1]);
        put::string(&mut out, "field");
        out.extend(kind);
        out
    }

    fn bind_types(version: Version, kinds: &[&[u8]]) -> Vec<u8> {
        let columns: Vec<_> = kinds
            .iter()
            .map(|kind| Column { name: "c", kind })
            .collect();
        let mut out = Vec::new();
        put::i32(&mut out, PREPARED);
        put::short_bytes(&mut out, b"id");
        put_variables(&mut out, version, ("ks", "t"), &columns, &[0]);
        put_columns(&mut out, ("ks", "t"), &[]);
        let prepared = Prepared::parse(Cursor::new(&out), version).unwrap();
        assert_eq!(prepared.columns.len(), 8 + 4 + 3, "all of the rest");
        prepared.bind_types()
    }

    #[test]
    fn a_type_that_version_3_names_by_its_class_is_the_one_with_a_code_in_version_4() {
        for (name, code) in [
            ("SimpleDateType", 0x11),
            ("TimeType", 0x12),
            ("ShortType", 0x13),
            ("ByteType", 0x14),
        ] {
            let (old, new) = (class(name), [0, code]);
            let three = bind_types(Version::V3, &[&old, &INT, &nested(&old)]);
            let four = bind_types(Version::V4, &[&new, &INT, &nested(&new)]);
            assert_eq!(three, four, "{name}");
        }
    }

    #[test]
    fn other_types_and_another_number_of_them_differ() {
        let (date, time) = (class("SimpleDateType"), class("TimeType"));
        let (point, line) = (class("PointType"), class("LineType"));
        let (short, in_list) = ([0, 0x13], [0, 0x20, 0, 0x09]);
        let all: Vec<_> = [&[&INT[..]][..], &[&INT, &INT], &[&short], &[&in_list], &[]]
            .into_iter()
            .chain([&[&date[..]][..], &[&time], &[&point], &[&line]])
            .map(|kinds| bind_types(Version::V3, kinds))
            .collect();
        for (at, one) in all.iter().enumerate() {
            assert!(!all.iter().skip(at + 1).any(|other| other == one), "{at}");
        }
    }
}
