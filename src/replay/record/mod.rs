//! A record: one write with everything that replaying it needs. Versioned, checksummed bytes.
//!
//! ```text
//! version u8 | crc32 u32 (of version and rest) | rest
//! rest: enqueued_at i64 | id 16 | flags u16 | reason u8 | repeat u8 | batch kind u8 | consistency u16
//!       partition i64 | ttl_base i64
//!       [serial u16] [timestamp i64] [table_id 16]                      as the flags say
//!       origin [string] [table [string] [string]]   as the flags say
//!       count u16 x { text [long string] | flags u8 | [keyspace [string]] | bind_types u64
//!                     values u16 | bytes u32 | values as on the wire }
//! ```
//! All numbers are big endian. [`Draft`] borrows and is written; [`Record`] owns and is read.

mod bytes;
mod decode;
mod encode;
mod ids;
mod vouch;

pub use decode::{Malformed, Record, Statement, enqueued_at};
pub use encode::{Child, Draft};
pub use ids::Ids;
pub use vouch::vouch;

/// The version that [`Draft::encode`] writes, and the only one that is read.
pub const VERSION: u8 = 1;

/// Statements in one record at most: the limit of a BATCH.
pub const STATEMENTS_MAX: usize = u16::MAX as usize;

/// One bound value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// Its bytes; may be empty, which is not null.
    Bytes(&'a [u8]),
    /// Null: a tombstone.
    Null,
    /// Left unset: the cell is not touched.
    Unset,
}

/// How the statements belong together.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Batch {
    /// A counter batch.
    Counter = 3,
    /// A logged batch.
    Logged = 1,
    /// One statement, no batch.
    #[default]
    None = 0,
    /// An unlogged batch.
    Unlogged = 2,
}

/// Which records go first.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Priority {
    /// The usual one.
    #[default]
    High,
    /// Waits for the others, see [`super::schedule`].
    Low,
}

/// Why the record was made.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Reason {
    /// One side took the write, the other refused it for good.
    Diverged = 6,
    /// The side was known to be down: not sent.
    Down = 7,
    /// The side was drained by an operator: not sent.
    Drained = 8,
    /// The side answered with another error.
    #[default]
    Failed = 9,
    /// Stored ahead of the sends.
    Journal = 1,
    /// The connection was lost under way.
    Lost = 3,
    /// No connection, or the side refused it before it took effect.
    Refused = 4,
    /// No answer in time.
    Timeout = 2,
    /// Nobody knows whether the client's role may do it: it is parked and not replayed (S22). First of all
    /// reasons.
    Unproven = 10,
    /// Too few replicas.
    Unavailable = 5,
}

impl Reason {
    /// The fixed metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Diverged => "diverged",
            Self::Down => "down",
            Self::Drained => "drained",
            Self::Failed => "failed",
            Self::Journal => "journal",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Unproven => "unproven",
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Journal,
            2 => Self::Timeout,
            3 => Self::Lost,
            4 => Self::Refused,
            5 => Self::Unavailable,
            6 => Self::Diverged,
            7 => Self::Down,
            8 => Self::Drained,
            9 => Self::Failed,
            10 => Self::Unproven,
            _ => return None,
        })
    }
}

/// Whether it may be applied more than once.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Repeat {
    /// Never: a counter, a list append.
    #[default]
    No = 3,
    /// Only at the next timestamp: a whole-list assignment (S2).
    Shifted = 2,
    /// As often as one likes.
    Yes = 1,
}

impl Repeat {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Yes,
            2 => Self::Shifted,
            3 => Self::No,
            _ => return None,
        })
    }
}

impl Batch {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Logged,
            2 => Self::Unlogged,
            3 => Self::Counter,
            _ => return None,
        })
    }

    /// The kind in words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter batch",
            Self::Logged => "logged batch",
            Self::None => "statement",
            Self::Unlogged => "unlogged batch",
        }
    }
}

/// What is there at all, and the yes-or-no fields, as bits.
mod flag {
    pub(super) const SERIAL: u16 = 1;
    pub(super) const TIMESTAMP: u16 = 1 << 1;
    pub(super) const TABLE_ID: u16 = 1 << 2;
    pub(super) const TABLE: u16 = 1 << 3;
    pub(super) const LOW: u16 = 1 << 4;
    pub(super) const SINGLE_PARTITION: u16 = 1 << 5;
    pub(super) const ALL: u16 = (1 << 6) - 1;
}

/// The same for each statement.
mod child {
    pub(super) const NAMED: u8 = 1;
    pub(super) const KEYSPACE: u8 = 1 << 1;
    pub(super) const ALL: u8 = (1 << 2) - 1;
}

#[cfg(test)]
mod tests;
