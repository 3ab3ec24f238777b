//! A model of the disk queue: what is submitted, what is being committed, and what is durable.

use std::collections::{BTreeMap, VecDeque};

use helix_proxy::pair::{Side, Sides};

use super::cluster::{Id, Mutation};

/// Who waits for a change to become durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waiter {
    /// An attempt of the worker.
    Attempt(u64),
    /// A client's request.
    Request(u64),
    /// A record that is tried until it is durable.
    Stubborn(u64),
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

/// One record; `again` are the sides that were sent it while they may have seen it (S2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) mutation: Mutation,
    pub(crate) owes: Sides,
    pub(crate) live: Sides,
    pub(crate) sent: Sides,
    pub(crate) again: Sides,
}

/// What a commit led to.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) receipts: Vec<(Waiter, bool)>,
    pub(crate) parked: Vec<(Id, Side)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    durable: BTreeMap<u64, Record>,
    submitted: VecDeque<Change>,
    /// On its way to the disk; a crash keeps or loses it as a whole.
    batch: Vec<Change>,
    next_seq: u64,
    accepts: bool,
    is_committing: bool,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            durable: BTreeMap::new(),
            submitted: VecDeque::new(),
            batch: Vec::new(),
            next_seq: 0,
            accepts: true,
            is_committing: false,
        }
    }

    pub(crate) const fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    pub(crate) const fn accepts(&self) -> bool {
        self.accepts
    }

    /// The store noticed that there is room again.
    pub(crate) const fn recovered(&mut self) {
        self.accepts = true;
    }

    pub(crate) fn submit(&mut self, change: Change) {
        self.submitted.push_back(change);
    }

    /// Starts a commit if there is something to commit and none is under way.
    pub(crate) fn poll_commit(&mut self) -> bool {
        if self.is_committing || self.submitted.is_empty() {
            return false;
        }
        self.batch.extend(self.submitted.drain(..));
        self.is_committing = true;
        true
    }

    /// The commit ended. When the disk was full, new records and marks are refused, and the rest is
    /// tried again in its order.
    pub(crate) fn handle_commit(&mut self, ok: bool) -> Committed {
        self.is_committing = false;
        self.accepts = ok;
        let batch = std::mem::take(&mut self.batch);
        let mut committed = Committed::default();
        if ok {
            for change in batch {
                self.apply(change, &mut committed);
            }
            return committed;
        }
        let mut left = VecDeque::new();
        for change in batch {
            match change {
                Change::Keep { waiter, .. } | Change::Sent(_, _, waiter) => {
                    committed.receipts.push((waiter, false));
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
        committed
    }

    /// The process is killed and a new one opens the file. What was being committed may be there.
    pub(crate) fn crash(&mut self, batch_survives: bool, drops_live: bool) -> Committed {
        let mut committed = Committed::default();
        for change in std::mem::take(&mut self.batch) {
            if batch_survives {
                self.apply(change, &mut committed);
            }
        }
        self.submitted.clear();
        self.is_committing = false;
        self.accepts = true;
        for record in self.durable.values_mut() {
            if !drops_live {
                record.owes = record.owes.union(record.live);
            }
            record.live = Sides::NONE;
        }
        self.durable.retain(|_, record| !record.is_gone());
        committed
    }

    pub(crate) fn is_behind(&self, side: Side) -> bool {
        self.durable
            .values()
            .any(|record| record.owes.contains(side))
    }

    pub(crate) fn owes(&self, seq: u64, side: Side) -> bool {
        let record = self.durable.get(&seq);
        record.is_some_and(|record| record.owes.contains(side))
    }

    /// The records that this side can be given to replay, oldest first: none that is still live.
    pub(crate) fn owed(&self, side: Side) -> impl Iterator<Item = (u64, Record)> + '_ {
        let owed = self
            .durable
            .iter()
            .filter(move |(_, record)| record.live.is_empty() && record.owes.contains(side));
        owed.map(|(seq, record)| (*seq, *record))
    }

    /// The sides for which a durable record of this write exists.
    pub(crate) fn covers(&self, id: Id) -> Sides {
        let of_it = self
            .durable
            .values()
            .filter(|record| record.mutation.id == id);
        of_it.fold(Sides::NONE, |sides, record| {
            sides.union(record.owes).union(record.live)
        })
    }

    /// Whether something is submitted that is not durable yet.
    pub(crate) fn is_settled(&self) -> bool {
        self.submitted.is_empty() && self.batch.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.durable.is_empty() && self.is_settled()
    }

    fn apply(&mut self, change: Change, committed: &mut Committed) {
        match change {
            Change::Keep {
                seq,
                record,
                waiter,
            } => {
                self.durable.insert(seq, record);
                committed.receipts.push((waiter, true));
            }
            Change::Landed(seq, side) => self.change(seq, |record| {
                record.live = record.live.without(side);
            }),
            Change::Missed(seq, side, sent) => self.change(seq, |record| {
                record.live = record.live.without(side);
                record.owes = record.owes.with(side);
                record.again = record.again.without(side);
                record.sent = if sent {
                    record.sent.with(side)
                } else {
                    record.sent.without(side)
                };
            }),
            Change::Void(seq) => drop(self.durable.remove(&seq)),
            Change::Sent(seq, side, waiter) => {
                self.change(seq, |record| {
                    if record.sent.contains(side) {
                        record.again = record.again.with(side);
                    }
                    record.sent = record.sent.with(side);
                });
                committed.receipts.push((waiter, true));
            }
            Change::Applied(seq, side) => self.change(seq, |record| {
                record.owes = record.owes.without(side);
            }),
            Change::Park(seq, side) => {
                let owed = self
                    .durable
                    .get(&seq)
                    .filter(|record| record.owes.contains(side));
                committed
                    .parked
                    .extend(owed.map(|record| (record.mutation.id, side)));
                self.change(seq, |record| record.owes = record.owes.without(side));
            }
        }
    }

    fn change(&mut self, seq: u64, how: impl FnOnce(&mut Record)) {
        if let Some(record) = self.durable.get_mut(&seq) {
            how(record);
            if record.is_gone() {
                self.durable.remove(&seq);
            }
        }
    }
}

impl Record {
    fn is_gone(&self) -> bool {
        self.owes.union(self.live).is_empty()
    }
}
