//! Reading a record back. Any bytes give an answer; none panic, none allocate more than they are long.

use super::bytes::Cursor;
use super::{Batch, Priority, Reason, Repeat, VERSION, Value, child, flag};

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The checksum is not that of the bytes.
    #[error("the checksum of the record is wrong")]
    Checksum,
    /// A field has a value that this version does not know.
    #[error("the record holds an unknown {0}")]
    Field(&'static str),
    /// Text that is not UTF-8.
    #[error("the record holds text that is not UTF-8")]
    Text,
    /// Bytes after the end.
    #[error("the record goes on after its end")]
    Trailing,
    /// The bytes end too early.
    #[error("the record is cut short")]
    Truncated,
    /// The bound values are not as many as said, or not values.
    #[error("the record's bound values are broken")]
    Value,
    /// Written by another version of this program.
    #[error("the record is of version {0}; this program reads version {VERSION}")]
    Version(u8),
}

/// A record as it was written; the fields are those of [`super::Draft`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// UUID version 7.
    pub id: [u8; 16],
    /// Which proxy made it.
    pub origin: String,
    /// The statements in order; never empty.
    pub statements: Vec<Statement>,
    /// How they belong together.
    pub batch: Batch,
    /// The consistency as on the wire.
    pub consistency: u16,
    /// The serial consistency as on the wire.
    pub serial: Option<u16>,
    /// Microseconds; absent when the text says USING TIMESTAMP.
    pub timestamp: Option<i64>,
    /// The second from which a TTL counts.
    pub ttl_base: i64,
    /// Which records go first.
    pub priority: Priority,
    /// Equal for writes of equal partition keys.
    pub partition: u64,
    /// Microseconds since 1970.
    pub enqueued_at: i64,
    /// Why it was made.
    pub reason: Reason,
    /// Whether it may be applied more than once.
    pub repeat: Repeat,
    /// Whether it surely touches one partition only (S14).
    pub single_partition: bool,
    /// Keyspace and name of the table, where it is one.
    pub table: Option<(String, String)>,
    /// The table's id at the time.
    pub table_id: Option<[u8; 16]>,
}

/// One statement of a [`Record`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// CQL.
    pub text: String,
    /// The keyspace that unqualified names mean.
    pub keyspace: Option<String>,
    /// A fingerprint of the bound types; 0 where they are not known.
    pub bind_types: u64,
    /// `count` values exactly as on the wire, each after its `string` name if `named`.
    pub values: Vec<u8>,
    /// How many.
    pub count: u16,
    /// Whether each value stands after its name.
    pub named: bool,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        let version = cursor.u8()?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let crc = cursor.u32()?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[version]);
        hasher.update(cursor.0);
        if hasher.finalize() != crc {
            return Err(Malformed::Checksum);
        }
        let record = Self::rest(&mut cursor)?;
        if cursor.0.is_empty() {
            Ok(record)
        } else {
            Err(Malformed::Trailing)
        }
    }

    fn rest(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let enqueued_at = cursor.i64()?;
        let id = cursor.array()?;
        let flags = cursor.u16()?;
        if flags & !flag::ALL != 0 {
            return Err(Malformed::Field("flag"));
        }
        let has = |flag: u16| flags & flag != 0;
        Ok(Self {
            enqueued_at,
            id,
            reason: Reason::from_code(cursor.u8()?).ok_or(Malformed::Field("reason"))?,
            repeat: Repeat::from_code(cursor.u8()?).ok_or(Malformed::Field("repeatability"))?,
            batch: Batch::from_code(cursor.u8()?).ok_or(Malformed::Field("batch kind"))?,
            consistency: cursor.u16()?,
            partition: cursor.u64()?,
            ttl_base: cursor.i64()?,
            serial: optional(has(flag::SERIAL), || cursor.u16())?,
            timestamp: optional(has(flag::TIMESTAMP), || cursor.i64())?,
            table_id: optional(has(flag::TABLE_ID), || cursor.array())?,
            origin: cursor.string()?.to_owned(),
            table: optional(has(flag::TABLE), || {
                Ok((cursor.string()?.to_owned(), cursor.string()?.to_owned()))
            })?,
            priority: if has(flag::LOW) {
                Priority::Low
            } else {
                Priority::High
            },
            single_partition: has(flag::SINGLE_PARTITION),
            statements: Self::statements(cursor)?,
        })
    }

    fn statements(cursor: &mut Cursor<'_>) -> Result<Vec<Statement>, Malformed> {
        let count = cursor.u16()?;
        if count == 0 {
            return Err(Malformed::Field("number of statements"));
        }
        (0..count).map(|_| Statement::decode(cursor)).collect()
    }
}

impl Statement {
    /// The bound values in order, each with its name if it has one.
    pub fn values(&self) -> impl Iterator<Item = (Option<&str>, Value<'_>)> {
        let mut cursor = Cursor(&self.values);
        (0..self.count).map_while(move |_| value(&mut cursor, self.named).ok())
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let text = str::from_utf8(cursor.long()?).or(Err(Malformed::Text))?;
        let flags = cursor.u8()?;
        if flags & !child::ALL != 0 {
            return Err(Malformed::Field("flag of a statement"));
        }
        let named = flags & child::NAMED != 0;
        let keyspace = optional(flags & child::KEYSPACE != 0, || cursor.string())?;
        let bind_types = cursor.u64()?;
        let count = cursor.u16()?;
        let values = cursor.long()?;
        let mut rest = Cursor(values);
        for _ in 0..count {
            value(&mut rest, named).or(Err(Malformed::Value))?;
        }
        if !rest.0.is_empty() {
            return Err(Malformed::Value);
        }
        Ok(Self {
            text: text.to_owned(),
            keyspace: keyspace.map(str::to_owned),
            bind_types,
            values: values.to_vec(),
            count,
            named,
        })
    }
}

/// When a record was made, read without decoding or checking the rest.
#[must_use]
pub fn enqueued_at(bytes: &[u8]) -> Option<i64> {
    let mut cursor = Cursor(bytes);
    if cursor.u8().ok()? != VERSION {
        return None;
    }
    cursor.u32().ok()?;
    cursor.i64().ok()
}

fn value<'a>(
    cursor: &mut Cursor<'a>,
    named: bool,
) -> Result<(Option<&'a str>, Value<'a>), Malformed> {
    let name = optional(named, || cursor.string())?;
    Ok((name, cursor.value()?))
}

fn optional<T>(
    there: bool,
    read: impl FnOnce() -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    there.then(read).transpose()
}
