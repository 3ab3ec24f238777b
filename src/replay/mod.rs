//! Writes that one side missed: the queue, the worker, the dead letters.
//!
//! A write becomes a *record* that carries the set of sides which still owe it. The queue keeps
//! records durably; the worker leases them per side, applies them with their original timestamp
//! and says what came of it. Everything that changes a record is a [`Change`], handed over in
//! order with [`Queue::submit`], which never blocks: what is durable is told by [`Receipts`].

pub mod apply;
mod config;
pub mod dlq;
pub mod queue;
pub mod receipts;
pub mod record;
pub mod schedule;
pub mod worker;

use std::future::Future;
use std::pin::Pin;

use crate::pair::{Pair, Side, Sides};

pub use config::{Config, Store, Worker};
pub use receipts::{Receipt, Receipts};

/// A record's place in its queue: strictly increasing, never reused, also over a restart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seq(pub i64);

/// What a queue is told. The order of submission is the order of effect.
///
/// ```text
///              Keep{live, owes}                                   Applied
///   (nothing) ------------------> live ---Missed---> owed(unsent | sent) ------> gone
///                                   |                  |  \--Sent--> owed(sent)
///                                   +--Landed--> gone  +---Park---> dead letter
/// ```
/// per side; a record is deleted once no side is live or owed. After a crash `live` counts as owed.
#[derive(Debug)]
pub enum Change {
    /// Store a new record.
    Keep {
        /// From [`Queue::next_seq`].
        seq: Seq,
        /// Sides that missed it from the start: replay work once no side is live any more, since
        /// until then the write may be refused everywhere and withdrawn.
        owes: Sides,
        /// Sides it is being sent to right now (the journal): replay work only after a crash or [`Change::Missed`].
        live: Sides,
        /// Sides that may have seen it already (S13 `sent`); the others are `unsent`.
        sent: Sides,
        /// The encoded record, see [`record`].
        body: Vec<u8>,
        /// Told once it is durable, or refused.
        receipt: Option<Receipt>,
    },
    /// A live side has applied it: nothing is owed there. Needs no receipt: losing it repeats a write.
    Landed {
        /// Which record.
        seq: Seq,
        /// Which side.
        side: Side,
    },
    /// A live side failed or gave no answer in time: it owes the record from now on. Also corrects
    /// `sent` of a debt: the last word counts.
    Missed {
        /// Which record.
        seq: Seq,
        /// Which side.
        side: Side,
        /// Whether that side may have applied it.
        sent: bool,
        /// Told once durable.
        receipt: Option<Receipt>,
    },
    /// The write was definitely refused everywhere: the record is withdrawn.
    Void {
        /// Which record.
        seq: Seq,
    },
    /// The worker is about to send a record that must not be sent twice. Announced once more, the
    /// debt is also marked [`Lease::again`]. Refused if the side does not owe it any more.
    Sent {
        /// Which record.
        seq: Seq,
        /// To which side.
        side: Side,
        /// Told once durable; the worker sends only then.
        receipt: Option<Receipt>,
    },
    /// The worker applied it: this side owes it no more.
    Applied {
        /// Which record.
        seq: Seq,
        /// Which side.
        side: Side,
    },
    /// Move this side's debt to the dead letters.
    Park {
        /// Which record.
        seq: Seq,
        /// Which side.
        side: Side,
        /// Why, as a fixed label.
        reason: Parked,
        /// The last error in words, at most 1 KiB, without values.
        error: String,
        /// Told once durable.
        receipt: Option<Receipt>,
    },
}

/// Why a record became a dead letter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Parked {
    /// A not-repeatable write that may have been applied already (S13).
    Ambiguous,
    /// Nobody knew whether the client's role may do it, and replay would do it as the service account (S22).
    Forbidden,
    /// Its bytes did not decode.
    Malformed,
    /// The cluster refused it for good, longer than the grace period: the schemas differ.
    Refused,
    /// The table or a bound type is not the one it was written for (S9).
    SchemaChanged,
    /// More attempts than allowed.
    TooManyAttempts,
}

impl Parked {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Ambiguous,
        Self::Forbidden,
        Self::Malformed,
        Self::Refused,
        Self::SchemaChanged,
        Self::TooManyAttempts,
    ];

    /// The fixed metric label, also the stored form.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::SchemaChanged => "schema_changed",
            Self::TooManyAttempts => "too_many_attempts",
        }
    }
}

impl Change {
    /// Which record it is about.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        match *self {
            Self::Applied { seq, .. }
            | Self::Keep { seq, .. }
            | Self::Landed { seq, .. }
            | Self::Missed { seq, .. }
            | Self::Park { seq, .. }
            | Self::Sent { seq, .. }
            | Self::Void { seq } => seq,
        }
    }

    /// The side that it makes a debtor.
    const fn missed(&self) -> Option<Side> {
        match *self {
            Self::Missed { side, .. } => Some(side),
            Self::Applied { .. }
            | Self::Keep { .. }
            | Self::Landed { .. }
            | Self::Park { .. }
            | Self::Sent { .. }
            | Self::Void { .. } => None,
        }
    }

    fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Keep { receipt, .. }
            | Self::Missed { receipt, .. }
            | Self::Park { receipt, .. }
            | Self::Sent { receipt, .. } => receipt.as_ref(),
            Self::Applied { .. } | Self::Landed { .. } | Self::Void { .. } => None,
        }
    }

    fn without_receipt(mut self) -> Self {
        match &mut self {
            Self::Keep { receipt, .. }
            | Self::Missed { receipt, .. }
            | Self::Park { receipt, .. }
            | Self::Sent { receipt, .. } => *receipt = None,
            Self::Applied { .. } | Self::Landed { .. } | Self::Void { .. } => {}
        }
        self
    }
}

/// Why a change did not become durable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The queue's bound (records or bytes) is reached.
    #[error("the replay queue is full")]
    Full,
    /// The store failed, for example a full disk; the text is for the log.
    #[error("the replay queue cannot store records: {0}")]
    Store(String),
    /// The queue was closed.
    #[error("the replay queue is closed")]
    Closed,
    /// The change is about a record or a debt that is not there: applied, withdrawn or never kept.
    #[error("the replay queue holds no such debt")]
    Unknown,
}

/// One side's debt of one record, handed to the worker until it is applied or parked.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Which record.
    pub seq: Seq,
    /// Who owes it.
    pub side: Side,
    /// Whether the side may have seen it already.
    pub sent: bool,
    /// Whether another send was announced while it might have been seen: even T+1 may be taken (S2).
    pub again: bool,
    /// The encoded record.
    pub body: bytes::Bytes,
}

/// How much is waiting. Journalled writes in flight and dead letters do not count as owed (S20).
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Records owed by each side.
    pub owed: Pair<u64>,
    /// When the oldest owed record of each side was kept, microseconds since 1970.
    pub oldest: Pair<Option<i64>>,
    /// Dead letters.
    pub dead: u64,
    /// Bytes held, dead letters included.
    pub bytes: u64,
}

/// One dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its own number among the dead letters.
    pub number: i64,
    /// Who owes it.
    pub side: Side,
    /// Why it is here.
    pub reason: Parked,
    /// The last error in words.
    pub error: String,
    /// When it was parked, microseconds since 1970.
    pub parked_at: i64,
    /// The encoded record.
    pub body: bytes::Bytes,
}

/// What an asynchronous method of a queue returns.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send>>;

/// Where records wait. One conformance suite holds for every implementation.
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// The next free place. Never blocks.
    fn next_seq(&self) -> Seq;

    /// Hands over changes, in order; returns at once. The vector is drained and can be reused.
    fn submit(&self, changes: &mut Vec<Change>);

    /// Whether records can be taken right now (not full, last store succeeded). One atomic load.
    fn accepts(&self) -> bool;

    /// Whether this side owes any record after a failure. One atomic load (`prefer_fresh`).
    fn is_behind(&self, side: Side) -> bool;

    /// Up to `max` debts of this side in order of [`Seq`], each leased at most once until
    /// [`Queue::release`] or a restart. Empty when there is none.
    fn lease(&self, side: Side, max: usize) -> Answer<Vec<Lease>>;

    /// Gives leases back unapplied, to be leased again later.
    fn release(&self, side: Side, seqs: Vec<Seq>);

    /// Completes when this side owes something that is not leased.
    fn wait(&self, side: Side) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// How much is waiting.
    fn depth(&self) -> Depth;

    /// Up to `max` dead letters numbered above `after`, in order.
    fn dead_letters(&self, after: i64, max: usize) -> Answer<Vec<DeadLetter>>;

    /// Makes these dead letters owed (unsent) again; returns how many there were. Whoever asks for it vouches
    /// for those that were forbidden.
    fn requeue(&self, numbers: Vec<i64>) -> Answer<u64>;

    /// Deletes these dead letters; returns how many there were.
    fn purge(&self, numbers: Vec<i64>) -> Answer<u64>;

    /// Makes everything submitted durable and stops. Later submissions are refused.
    fn close(&self) -> Answer<()>;
}
