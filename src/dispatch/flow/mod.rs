//! One request over two sides, as machines without I/O: [`Input`] in, [`Action`]s out.
//!
//! The shell obeys. It feeds every answer, receipt, deadline and opened breaker through `handle`
//! and carries out what [`Actions`] holds afterwards. `integration/simulation.rs` drives the same
//! machines with random losses and crashes and checks the invariants at every step.

mod chain;
mod read;
mod write;

use crate::pair::{Side, Sides};
use crate::policy::Verdict;

pub use chain::Chain;
pub use read::Read;
pub use write::{Rules, Write};

/// What happened to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// A side answered, or surely will not.
    Answered(Side, Verdict),
    /// Time is up. Of the sides still waited for, those in the set were never sent anything.
    Deadline {
        /// Waited for, but still in our own hands.
        unsent: Sides,
    },
    /// The queue took the record, or refused it.
    Kept(bool),
    /// This side's breaker opened: waiting for it is over (S18).
    Out {
        /// Which side.
        side: Side,
        /// Nothing was sent to it yet.
        unsent: bool,
    },
    /// A point read, or a write by `sync`, has waited long enough for its first side alone.
    Slow,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Make a new record durable, and come back with [`Input::Kept`]. If there is one already, it stays
    /// the one that later actions mean: this is to take its place once it is durable.
    Keep {
        /// Sides that owe it from now on.
        owes: Sides,
        /// Sides for which it is not decided yet: about to be sent to, or away.
        live: Sides,
        /// Sides that may have seen it.
        sent: Sides,
    },
    /// Keep a record that the queue refused, in memory, and try again until it is durable (S15).
    KeepTrying {
        /// Sides that owe it.
        owes: Sides,
        /// Sides that may have seen it.
        sent: Sides,
    },
    /// The record's live side has it.
    Landed(Side),
    /// The record's live side missed it; it may have seen it.
    Missed(Side, bool),
    /// Answer the client.
    Reply(Reply),
    /// Send to this side.
    Send(Side),
    /// Withdraw the record: nobody applied it and nobody will.
    Void,
}

/// What the client hears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    /// No answer that counts, and it may have been applied: for a write a timeout, which drivers do
    /// not repeat by themselves; for a read what a node said, else a timeout.
    Ambiguous,
    /// What this side answered.
    Of(Side),
    /// The queue cannot take the record, and nothing was sent.
    QueueRefused,
    /// Nothing was applied anywhere: what a node said, else that the clusters cannot be reached.
    Unsent,
}

/// The actions that one input led to, in order. At most six: void or two landed or missed, keep,
/// two sends, reply.
#[derive(Clone, Copy, Debug)]
pub struct Actions {
    list: [Option<Action>; Self::MAX],
    len: usize,
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            list: [None; Self::MAX],
            len: 0,
        }
    }
}

impl Actions {
    const MAX: usize = 6;

    /// The actions in order.
    pub fn iter(&self) -> impl Iterator<Item = Action> + use<> {
        self.list.into_iter().flatten()
    }

    fn push(&mut self, action: Action) {
        debug_assert!(
            self.len < Self::MAX,
            "an input leads to at most six actions"
        );
        if let Some(place) = self.list.get_mut(self.len) {
            *place = Some(action);
            self.len += 1;
        }
    }
}

/// One side's part in a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leg {
    /// Not sent, and not going to be.
    Away,
    /// Answered, or given up on.
    Done(Verdict),
    /// To be sent later.
    Idle,
    /// Sent, and waited for.
    Waiting,
}

/// What a wait that was given up stands for: what never left for the side is not there.
const fn gave_up(unsent: bool) -> Verdict {
    if unsent {
        Verdict::NotApplied
    } else {
        Verdict::Maybe
    }
}

#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod rights_tests;
#[cfg(test)]
mod tests;
