//! What a schedule is told, and what it says.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::replay::record::{Priority, Repeat};
use crate::replay::{Parked, Seq};

/// How one side's replay is paced.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Debts asked for at once. Default 500.
    pub batch: usize,
    /// Debts held at most. Default 4,096.
    pub window: usize,
    /// Debts of different partitions in flight at most. Default 32.
    pub concurrency: usize,
    /// Debts a second at most. Default: as many as the side takes.
    pub rate: Option<NonZeroU32>,
    /// The first wait after a failure; doubles from there. Default 100 ms.
    pub retry_min: Duration,
    /// The longest wait, also between tries of a refused record. Default 30 s.
    pub retry_max: Duration,
    /// Failed tries until a record is parked, while its side is up. Default: never.
    pub attempts_max: Option<NonZeroU32>,
    /// How long a record that its side refuses for good is tried. Default 10 min.
    pub grace: Duration,
    /// Whether low priority waits until no high one is ready, instead of 10 to 1. Default no.
    pub strict: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch: 500,
            window: 4_096,
            concurrency: 32,
            rate: None,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            attempts_max: None,
            grace: Duration::from_secs(600),
            strict: false,
        }
    }
}

/// What the schedule needs to know of a leased debt.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Which record.
    pub seq: Seq,
    /// Records of one partition go one after the other.
    pub partition: u64,
    /// Which go first.
    pub priority: Priority,
    /// Whether it may be applied more than once.
    pub repeat: Repeat,
    /// [`crate::replay::Lease::sent`].
    pub sent: bool,
    /// [`crate::replay::Lease::again`].
    pub again: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// The side has it: tell the queue.
    Applied(Seq),
    /// Ask the queue for up to so many debts; answer with `handle_leased` or `handle_lease_failed`.
    Lease(usize),
    /// Make it durable that the record is about to be sent; answer with `handle_marked`.
    MarkSent(Seq),
    /// Give up: move it to the dead letters.
    Park {
        /// Which record.
        seq: Seq,
        /// Why.
        reason: Parked,
    },
    /// Give the lease back.
    Release(Seq),
    /// Send it; answer with `handle_outcome`.
    Send {
        /// Which record.
        seq: Seq,
        /// Whether at the next timestamp (S2).
        shift: bool,
    },
    /// The announced send surely had no effect: tell the queue whether an earlier one may have had.
    Unmark {
        /// Which record.
        seq: Seq,
        /// Whether the side may have seen it all the same.
        sent: bool,
    },
}

/// What came of a send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The side has it.
    Applied,
    /// No answer, or one that leaves it open.
    Maybe,
    /// The side could not take it now, and surely has not.
    NotApplied,
    /// The side refuses it for good.
    Refused,
    /// It must not be applied at all: the table or a type is not the one it was written for (S9).
    Unfit,
}

/// What came of an announcement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Marked {
    /// It is durable.
    Durable,
    /// The queue could not store it.
    Failed,
    /// The debt is no more.
    Gone,
}
