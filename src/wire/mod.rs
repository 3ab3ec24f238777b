//! CQL frames to and from bytes; no I/O.
//!
//! Everything here reads bytes that a stranger sent: nothing panics, no length is trusted for an
//! allocation, every number is checked. Source: `native_protocol_v3.spec` to
//! `native_protocol_v5.spec` of Apache Cassandra.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

pub mod coding;
pub mod cursor;
pub mod frame;
pub mod header;
pub mod put;
pub mod request;
pub mod response;

pub use coding::{Coding, CodingFault, Compression};
pub use cursor::{Cursor, Malformed};
pub use frame::Frame;
pub use header::Header;

/// A protocol version that both sides of the proxy speak.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// Version 3, Cassandra 2.1.
    V3,
    /// Version 4, Cassandra 2.2.
    V4,
    /// Version 5, Cassandra 4.0.
    V5,
}

impl Version {
    /// All versions, lowest first.
    pub const ALL: [Self; 3] = [Self::V3, Self::V4, Self::V5];

    /// The version's number on the wire, without the direction bit.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }

    /// Whether a request can say its own keyspace.
    #[must_use]
    pub const fn has_keyspaces(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The version of this number, direction bit already cleared.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// The next lower one.
    #[must_use]
    pub const fn lower(self) -> Option<Self> {
        match self {
            Self::V3 => None,
            Self::V4 => Some(Self::V3),
            Self::V5 => Some(Self::V4),
        }
    }

    /// 0 for the lowest: a place in a table by version.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::V3 => 0,
            Self::V4 => 1,
            Self::V5 => 2,
        }
    }
}

/// A stream id that a client chose. Never confused with one of ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientStream(pub i16);

/// A stream id that we chose on a connection to a node.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NodeStream(pub i16);

/// What a message is, by its byte in the header (section 2.4 of the specification).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Opcode {
    Error = 0x00,
    Startup = 0x01,
    Ready = 0x02,
    Authenticate = 0x03,
    Options = 0x05,
    Supported = 0x06,
    Query = 0x07,
    Result = 0x08,
    Prepare = 0x09,
    Execute = 0x0A,
    Register = 0x0B,
    Event = 0x0C,
    Batch = 0x0D,
    AuthChallenge = 0x0E,
    AuthResponse = 0x0F,
    AuthSuccess = 0x10,
}

impl Opcode {
    /// The opcode of this byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x00 => Self::Error,
            0x01 => Self::Startup,
            0x02 => Self::Ready,
            0x03 => Self::Authenticate,
            0x05 => Self::Options,
            0x06 => Self::Supported,
            0x07 => Self::Query,
            0x08 => Self::Result,
            0x09 => Self::Prepare,
            0x0A => Self::Execute,
            0x0B => Self::Register,
            0x0C => Self::Event,
            0x0D => Self::Batch,
            0x0E => Self::AuthChallenge,
            0x0F => Self::AuthResponse,
            0x10 => Self::AuthSuccess,
            _ => return None,
        })
    }

    /// Whether a client may send it.
    #[must_use]
    pub const fn is_request(self) -> bool {
        match self {
            Self::Startup
            | Self::Options
            | Self::Query
            | Self::Prepare
            | Self::Execute
            | Self::Register
            | Self::Batch
            | Self::AuthResponse => true,
            Self::Error
            | Self::Ready
            | Self::Authenticate
            | Self::Supported
            | Self::Result
            | Self::Event
            | Self::AuthChallenge
            | Self::AuthSuccess => false,
        }
    }

    /// The byte on the wire.
    #[must_use]
    #[expect(
        clippy::as_conversions,
        reason = "a fieldless enum with its own discriminants"
    )]
    pub const fn byte(self) -> u8 {
        self as u8
    }
}

/// A consistency level by its number on the wire (section 3, `[consistency]`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Consistency(pub u16);

impl Consistency {
    /// One replica.
    pub const ONE: Self = Self(0x0001);
    /// One replica of the local datacenter.
    pub const LOCAL_ONE: Self = Self(0x000A);
    /// Serial over all datacenters.
    pub const SERIAL: Self = Self(0x0008);
    /// Serial in the local datacenter.
    pub const LOCAL_SERIAL: Self = Self(0x0009);

    /// Reads one that a request asks for.
    ///
    /// # Errors
    /// If there is none of this number: a node of version 5 ends a connection over two such requests
    /// in a row, and the connection is not their client's alone.
    #[inline]
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        match cursor.u16()? {
            known if known <= Self::LOCAL_ONE.0 => Ok(Self(known)),
            unknown => Err(Malformed::Unknown {
                what: "consistency",
                value: unknown.into(),
            }),
        }
    }

    /// Whether it asks for a linearizable read.
    #[must_use]
    pub const fn is_serial(self) -> bool {
        matches!(self, Self::SERIAL | Self::LOCAL_SERIAL)
    }
}

/// Error codes of the specification, section 9.
pub mod code {
    /// Internal error of the server.
    pub const SERVER_ERROR: i32 = 0x0000;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: i32 = 0x000A;
    /// Wrong credentials.
    pub const BAD_CREDENTIALS: i32 = 0x0100;
    /// Not enough replicas alive.
    pub const UNAVAILABLE: i32 = 0x1000;
    /// The coordinator has too much to do.
    pub const OVERLOADED: i32 = 0x1001;
    /// The coordinator is starting.
    pub const IS_BOOTSTRAPPING: i32 = 0x1002;
    /// A truncation failed.
    pub const TRUNCATE_ERROR: i32 = 0x1003;
    /// A write timed out: it may have been applied.
    pub const WRITE_TIMEOUT: i32 = 0x1100;
    /// A read timed out.
    pub const READ_TIMEOUT: i32 = 0x1200;
    /// Replicas failed during a read.
    pub const READ_FAILURE: i32 = 0x1300;
    /// A user's function failed.
    pub const FUNCTION_FAILURE: i32 = 0x1400;
    /// Replicas failed during a write: it may have been applied.
    pub const WRITE_FAILURE: i32 = 0x1500;
    /// The commit log for change data capture is full.
    pub const CDC_WRITE_FAILURE: i32 = 0x1600;
    /// A conditional write of unknown outcome.
    pub const CAS_WRITE_UNKNOWN: i32 = 0x1700;
    /// The text does not parse.
    pub const SYNTAX_ERROR: i32 = 0x2000;
    /// The role may not do this.
    pub const UNAUTHORIZED: i32 = 0x2100;
    /// The text parses but cannot be run.
    pub const INVALID: i32 = 0x2200;
    /// The configuration of a schema change is wrong.
    pub const CONFIG_ERROR: i32 = 0x2300;
    /// The keyspace or table exists.
    pub const ALREADY_EXISTS: i32 = 0x2400;
    /// The node does not know this prepared id.
    pub const UNPREPARED: i32 = 0x2500;

    /// What an error says about the statement that it answers (S14 to S16).
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Effect {
        /// It may have been applied, wholly or in part.
        Maybe,
        /// It was not, and may be later.
        NotApplied,
        /// It was refused for a reason that does not go away.
        Refused,
    }

    /// The effect of a statement that was answered so; `single_partition`: the servers apply it
    /// wholly or not at all on one partition.
    #[must_use]
    pub const fn effect(code: i32, single_partition: bool) -> Effect {
        match code {
            SYNTAX_ERROR | UNAUTHORIZED | INVALID | CONFIG_ERROR | ALREADY_EXISTS
            | FUNCTION_FAILURE | BAD_CREDENTIALS | PROTOCOL_ERROR => Effect::Refused,
            UNAVAILABLE | OVERLOADED | IS_BOOTSTRAPPING if single_partition => Effect::NotApplied,
            UNPREPARED => Effect::NotApplied,
            _ => Effect::Maybe,
        }
    }
}
