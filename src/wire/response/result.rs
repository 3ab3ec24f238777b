//! RESULT: void, rows, a keyspace, a prepared statement or a schema change.

use crate::wire::{Cursor, Malformed, Version, put};

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
    /// Metadata of the variables and of the result, as they came.
    pub metadata: &'a [u8],
    /// The part of `metadata` that describes the result's columns.
    pub columns: &'a [u8],
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
        let metadata = cursor.rest();
        skip_variables(&mut cursor, version)?;
        Ok(Self {
            id,
            metadata,
            columns: cursor.rest(),
        })
    }

    /// Writes the same content under another id.
    pub fn put(&self, out: &mut Vec<u8>, id: &[u8]) {
        put::i32(out, PREPARED);
        put::short_bytes(out, id);
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

fn skip_variables(cursor: &mut Cursor<'_>, version: Version) -> Result<(), Malformed> {
    let flags = cursor.i32()?;
    let columns = cursor.i32()?;
    if Version::V4 <= version {
        for _ in 0..cursor.i32()?.max(0) {
            cursor.u16()?;
        }
    }
    let global = flags & ROWS_GLOBAL_TABLE != 0;
    if global {
        cursor.short_bytes()?;
        cursor.short_bytes()?;
    }
    for _ in 0..columns.max(0) {
        if !global {
            cursor.short_bytes()?;
            cursor.short_bytes()?;
        }
        cursor.short_bytes()?;
        skip_type(cursor, TYPE_DEPTH_MAX)?;
    }
    Ok(())
}

/// How deep a type may nest before it is called malformed; the server's own limit is far below.
const TYPE_DEPTH_MAX: u32 = 32;

fn skip_type(cursor: &mut Cursor<'_>, depth: u32) -> Result<(), Malformed> {
    let id = cursor.u16()?;
    let too_deep = Malformed::Unknown {
        what: "type nesting",
        value: u32::from(id),
    };
    let inner = depth.checked_sub(1).ok_or(too_deep)?;
    match id {
        0x0000 => cursor.short_bytes().map(drop),
        0x0020 | 0x0022 => skip_type(cursor, inner),
        0x0021 => skip_type(cursor, inner).and_then(|()| skip_type(cursor, inner)),
        0x0030 => {
            cursor.short_bytes()?;
            cursor.short_bytes()?;
            for _ in 0..cursor.u16()? {
                cursor.short_bytes()?;
                skip_type(cursor, inner)?;
            }
            Ok(())
        }
        0x0031 => {
            for _ in 0..cursor.u16()? {
                skip_type(cursor, inner)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
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

/// Writes the metadata of a prepared statement's variables, without partition key places.
pub fn put_variables(
    out: &mut Vec<u8>,
    version: Version,
    table: (&str, &str),
    columns: &[Column<'_>],
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
        put::i32(out, 0);
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
            for _ in 0..if global { 2 } else { 0 } {
                cursor.short_bytes()?;
            }
            for _ in 0..columns.max(0) {
                for _ in 0..if global { 1 } else { 3 } {
                    cursor.short_bytes()?;
                }
                skip_type(&mut cursor, TYPE_DEPTH_MAX)?;
            }
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
