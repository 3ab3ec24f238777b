//! A disk under the real ledger: what is submitted, what is being committed, and what is durable.

use std::collections::{BTreeMap, VecDeque};

use helix_proxy::pair::{Side, Sides};
use helix_proxy::replay::queue::ledger::{Ledger, State, Step};
use helix_proxy::replay::{self, Parked, Seq};

use super::cluster::{Id, Mutation};

/// Who waits for a change to become durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waiter {
    /// The worker of a side, which is about to send this record.
    Mark(Side, u64),
    /// A client's request.
    Request(u64),
    /// A record that is tried until it is durable.
    Stubborn(u64),
}

/// What a waiter hears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    Durable,
    /// The record, or its debt, is not there any more.
    Gone,
    Refused,
}

/// As `replay::Change`, with the write itself in place of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Keep {
        seq: u64,
        record: Record,
        waiter: Waiter,
    },
    Landed(u64, Side),
    Missed(u64, Side, bool),
    Void(u64),
    Sent(u64, Side, Waiter),
    Applied(u64, Side),
    Park(u64, Side),
}

/// A new record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) mutation: Mutation,
    pub(crate) owes: Sides,
    pub(crate) live: Sides,
    pub(crate) sent: Sides,
    /// Nobody knows that it is allowed: the worker must not send it.
    pub(crate) forbidden: bool,
}

/// What a commit led to.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) receipts: Vec<(Waiter, Kept)>,
    pub(crate) parked: Vec<(Id, Side)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// What this process believes; a crash forgets it.
    ledger: Ledger,
    /// What a new process finds.
    stored: BTreeMap<u64, State>,
    /// Bodies, of records that are gone too.
    mutations: BTreeMap<u64, Mutation>,
    forbidden: BTreeMap<u64, bool>,
    submitted: VecDeque<Change>,
    /// On its way to the disk; a crash keeps or loses it as a whole.
    batch: Vec<Change>,
    /// Landings that no commit has carried yet.
    marks: Vec<u64>,
    next_seq: u64,
    is_full: bool,
    is_committing: bool,
    /// Something else is committed anyway: the clock's ceiling.
    is_due: bool,
}

impl Queue {
    pub(crate) const fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    pub(crate) const fn accepts(&self) -> bool {
        !self.is_full
    }

    /// The store noticed that there is room again.
    pub(crate) const fn recovered(&mut self) {
        self.is_full = false;
    }

    /// What waits only for company is committed now.
    pub(crate) const fn reserve(&mut self) {
        self.is_due = true;
    }

    pub(crate) fn submit(&mut self, change: Change) {
        self.submitted.push_back(change);
    }

    /// Starts a commit if there is something to commit and none is under way. Landings alone are not
    /// worth one: the next carries them.
    pub(crate) fn poll_commit(&mut self) -> bool {
        if self.is_committing {
            return false;
        }
        let is_landing = |change: &Change| matches!(change, Change::Landed(..));
        if self.submitted.iter().all(is_landing) {
            while let Some(change) = self.submitted.pop_front() {
                self.ledger.apply(&change.real());
                self.marks.push(change.seq());
            }
            if !std::mem::take(&mut self.is_due) || self.marks.is_empty() {
                return false;
            }
        }
        self.batch.extend(self.submitted.drain(..));
        self.is_committing = true;
        true
    }

    /// The commit ended. When the disk was full, all that it meant is taken back: new records and
    /// marks are refused, and the rest is tried again in its order.
    pub(crate) fn handle_commit(&mut self, ok: bool) -> Committed {
        self.is_committing = false;
        self.is_full = !ok;
        let batch = std::mem::take(&mut self.batch);
        self.ledger.begin();
        let committed = self.apply(&batch);
        if ok {
            self.store(&batch);
            return committed;
        }
        self.ledger.roll_back();
        let mut refused = Committed::default();
        let mut left = VecDeque::new();
        for change in batch {
            match change {
                Change::Keep { waiter, .. } | Change::Sent(_, _, waiter) => {
                    refused.receipts.push((waiter, Kept::Refused));
                }
                Change::Landed(..)
                | Change::Missed(..)
                | Change::Void(_)
                | Change::Applied(..)
                | Change::Park(..) => left.push_back(change),
            }
        }
        left.append(&mut self.submitted);
        self.submitted = left;
        refused
    }

    /// The process is killed and a new one opens the file. What was being committed may be there.
    pub(crate) fn crash(&mut self, batch_survives: bool, drops_live: bool) -> Committed {
        let batch = std::mem::take(&mut self.batch);
        let mut committed = Committed::default();
        if batch_survives && self.is_committing {
            committed = self.apply(&batch);
            self.store(&batch);
        }
        self.submitted.clear();
        self.marks.clear();
        self.is_committing = false;
        self.is_full = false;
        self.ledger = Ledger::default();
        self.stored.retain(|seq, state| {
            if drops_live {
                state.live = Sides::NONE;
            }
            *state = state.after_crash();
            if !state.is_gone() {
                self.ledger.restore(place(*seq), *state);
            }
            !state.is_gone()
        });
        committed
    }

    pub(crate) fn is_behind(&self, side: Side) -> bool {
        self.ledger.owed(side) != 0
    }

    /// Up to so many debts of this side that nobody works on.
    pub(crate) fn lease(&mut self, side: Side, max: usize) -> Vec<(u64, State, Mutation)> {
        let mut seqs = Vec::new();
        self.ledger.lease(side, max, &mut seqs);
        let lease = |seq: Seq| {
            let number = u64::try_from(seq.0).expect("positive");
            (number, self.ledger.state(seq), self.mutations[&number])
        };
        seqs.into_iter().map(lease).collect()
    }

    /// Whether this record must not be replayed.
    pub(crate) fn is_forbidden(&self, seq: u64) -> bool {
        self.forbidden.get(&seq).copied().unwrap_or(false)
    }

    pub(crate) fn release(&mut self, side: Side, seq: u64) {
        self.ledger.release(side, place(seq));
    }

    /// The sides for which a durable record of this write exists.
    pub(crate) fn covers(&self, id: Id) -> Sides {
        let of_it = self.stored.iter().filter(|(seq, _)| {
            let mutation = self.mutations.get(seq);
            mutation.is_some_and(|mutation| mutation.id == id)
        });
        of_it.fold(Sides::NONE, |sides, (_, state)| {
            sides.union(state.owes).union(state.live)
        })
    }

    /// Whether something is submitted that is not durable yet.
    pub(crate) fn is_settled(&self) -> bool {
        self.submitted.is_empty() && self.batch.is_empty() && !self.is_committing
    }

    /// Durable records that somebody needs.
    pub(crate) const fn stored(&self) -> &BTreeMap<u64, State> {
        &self.stored
    }

    fn apply(&mut self, batch: &[Change]) -> Committed {
        let mut committed = Committed::default();
        for change in batch {
            if let Change::Keep { seq, record, .. } = change {
                self.mutations.insert(*seq, record.mutation);
                self.forbidden.insert(*seq, record.forbidden);
            }
            let is_known = self.ledger.apply(&change.real()) != Step::Unknown;
            let kept = if is_known { Kept::Durable } else { Kept::Gone };
            match *change {
                Change::Keep { waiter, .. } | Change::Sent(_, _, waiter) => {
                    committed.receipts.push((waiter, kept));
                }
                Change::Park(seq, side) if is_known => {
                    committed.parked.push((self.mutations[&seq].id, side));
                }
                Change::Park(..)
                | Change::Landed(..)
                | Change::Missed(..)
                | Change::Void(_)
                | Change::Applied(..) => {}
            }
        }
        committed
    }

    /// What the ledger says of these, and of all that landed before, is on the disk.
    fn store(&mut self, batch: &[Change]) {
        let touched = batch.iter().map(Change::seq).chain(self.marks.drain(..));
        for seq in touched {
            let state = self.ledger.state(place(seq));
            if state.is_gone() {
                self.stored.remove(&seq);
            } else {
                self.stored.insert(seq, state);
            }
        }
    }
}

impl Change {
    const fn seq(&self) -> u64 {
        match *self {
            Self::Keep { seq, .. }
            | Self::Landed(seq, _)
            | Self::Missed(seq, ..)
            | Self::Void(seq)
            | Self::Sent(seq, ..)
            | Self::Applied(seq, _)
            | Self::Park(seq, _) => seq,
        }
    }

    /// As the product says it.
    fn real(&self) -> replay::Change {
        let (seq, receipt) = (place(self.seq()), None);
        match *self {
            Self::Keep { record, .. } => replay::Change::Keep {
                seq,
                owes: record.owes,
                live: record.live,
                sent: record.sent,
                body: Vec::new(),
                receipt,
            },
            Self::Landed(_, side) => replay::Change::Landed { seq, side },
            Self::Missed(_, side, sent) => replay::Change::Missed {
                seq,
                side,
                sent,
                receipt,
            },
            Self::Void(_) => replay::Change::Void { seq },
            Self::Sent(_, side, _) => replay::Change::Sent { seq, side, receipt },
            Self::Applied(_, side) => replay::Change::Applied { seq, side },
            Self::Park(_, side) => replay::Change::Park {
                seq,
                side,
                reason: Parked::Ambiguous,
                error: String::new(),
                receipt,
            },
        }
    }
}

fn place(seq: u64) -> Seq {
    Seq(i64::try_from(seq).expect("small"))
}
