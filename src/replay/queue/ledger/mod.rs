//! Who owes what: the queue's whole truth but for the bodies, about two bytes a record.
//!
//! Both queues keep one and let it decide what a [`Change`] means; the disk queue writes what it
//! says. It can be set back to [`Ledger::begin`] when that writing failed.

use std::collections::BTreeMap;

use crate::pair::{Pair, Side, Sides};
use crate::replay::{Change, Seq};

use super::seqs::SeqSet;

#[cfg(test)]
mod tests;

/// Where one record stands, as sets of sides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Replay work.
    pub owes: Sides,
    /// Being sent to by the live path.
    pub live: Sides,
    /// May have seen it already.
    pub sent: Sides,
    /// Announced once more while it may have been seen already.
    pub again: Sides,
}

impl State {
    /// Whether nobody needs the record any more.
    pub fn is_gone(self) -> bool {
        self.owes.union(self.live).is_empty()
    }

    /// The stored form: two bits a set.
    pub const fn code(self) -> u8 {
        self.owes.bits() | self.live.bits() << 2 | self.sent.bits() << 4 | self.again.bits() << 6
    }

    /// From the stored form.
    pub const fn from_code(code: u8) -> Self {
        Self {
            owes: Sides::from_bits(code),
            live: Sides::from_bits(code >> 2),
            sent: Sides::from_bits(code >> 4),
            again: Sides::from_bits(code >> 6),
        }
    }

    /// After a crash nobody knows how the live sends ended: they are owed.
    pub fn after_crash(self) -> Self {
        Self {
            owes: self.owes.union(self.live),
            live: Sides::NONE,
            ..self
        }
    }

    /// Sides that may be replayed now: none while the live path still sends, since the write may yet
    /// be refused everywhere and withdrawn.
    fn due(self) -> Sides {
        if self.live.is_empty() {
            self.owes
        } else {
            Sides::NONE
        }
    }

    fn settled(self, side: Side) -> Self {
        Self {
            owes: self.owes.without(side),
            live: self.live.without(side),
            sent: self.sent.without(side),
            again: self.again.without(side),
        }
    }

    fn owed(self, side: Side, sent: bool) -> Self {
        let settled = self.settled(side);
        let owes = settled.owes.with(side);
        Self {
            owes,
            sent: if sent {
                settled.sent.with(side)
            } else {
                settled.sent
            },
            ..settled
        }
    }
}

/// What a change asks of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The record is not needed any more.
    Forget,
    /// Nothing to store.
    Nothing,
    /// A live side landed, others remain: only the watermark tells.
    Quiet,
    /// A new record.
    Store(State),
    /// The change is about a record or a debt that is not there.
    Unknown,
    /// The record's state is another.
    Update(State),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: BTreeMap<i64, Box<Page>>,
    owed: Pair<SeqSet>,
    /// Owed and due, and with no worker.
    ready: Pair<SeqSet>,
    /// With a worker, until it gives them back or what it said of them is believed.
    leased: Pair<SeqSet>,
    /// Leases that are over once the changes since [`Ledger::begin`] are believed.
    ended: Vec<(Side, Seq)>,
    live: SeqSet,
    undo: Vec<(Seq, State)>,
}

/// The states of 64 neighbours.
#[derive(Debug)]
struct Page {
    codes: [u8; 64],
    used: u8,
}

impl Ledger {
    /// Where a record stands; the default is a record that is not there.
    pub fn state(&self, seq: Seq) -> State {
        let (page, at) = place(seq);
        self.pages
            .get(&page)
            .map_or_else(State::default, |page| State::from_code(page.codes[at]))
    }

    /// From here on changes can be taken back; those before are believed.
    pub fn begin(&mut self) {
        self.undo.clear();
        for (side, seq) in self.ended.drain(..) {
            self.leased[side].remove(seq);
        }
    }

    /// Takes back every change since [`Ledger::begin`]. A lease that they ended goes on: its worker has
    /// said what came of it, and the change comes again.
    pub fn roll_back(&mut self) {
        while let Some((seq, state)) = self.undo.pop() {
            self.set(seq, state);
        }
        self.undo.clear();
        self.ended.clear();
    }

    /// What the change means; done here, to be stored by the caller.
    pub fn apply(&mut self, change: &Change) -> Step {
        match *change {
            Change::Keep {
                seq,
                owes,
                live,
                sent,
                ..
            } => self.keep(seq, owes, live, sent),
            Change::Landed { seq, side } => {
                let state = self.state(seq);
                if !state.live.contains(side) {
                    return Step::Nothing;
                }
                self.change(
                    seq,
                    State {
                        live: state.live.without(side),
                        ..state
                    },
                    Step::Quiet,
                )
            }
            Change::Missed {
                seq, side, sent, ..
            } => {
                let state = self.state(seq);
                if !state.owes.union(state.live).contains(side) {
                    return Step::Unknown;
                }
                self.update(seq, state.owed(side, sent))
            }
            Change::Void { seq } if self.state(seq).is_gone() => Step::Nothing,
            Change::Void { seq } => self.update(seq, State::default()),
            Change::Sent { seq, side, .. } => {
                let state = self.state(seq);
                if !state.owes.contains(side) {
                    return Step::Unknown;
                }
                let again = if state.sent.contains(side) {
                    state.again.with(side)
                } else {
                    state.again
                };
                self.update(
                    seq,
                    State {
                        sent: state.sent.with(side),
                        again,
                        ..state
                    },
                )
            }
            Change::Applied { seq, side } | Change::Park { seq, side, .. } => {
                let state = self.state(seq);
                if !state.owes.contains(side) {
                    return Step::Unknown;
                }
                self.update(seq, state.settled(side))
            }
        }
    }

    /// Makes this side owe the record anew, unsent; says what to store (a record if it was gone).
    pub fn requeue(&mut self, seq: Seq, side: Side) -> Step {
        let state = self.state(seq);
        let owed = state.owed(side, false);
        self.change(
            seq,
            owed,
            if state.is_gone() {
                Step::Store(owed)
            } else {
                Step::Update(owed)
            },
        )
    }

    /// Takes in a record that was stored by an earlier process.
    pub fn restore(&mut self, seq: Seq, state: State) {
        self.set(seq, state);
        self.undo.clear();
    }

    /// Moves up to `max` debts of this side, oldest first, from ready to leased.
    pub fn lease(&mut self, side: Side, max: usize, out: &mut Vec<Seq>) {
        let before = out.len();
        self.ready[side].take(max, out);
        for seq in out.iter().skip(before) {
            self.leased[side].insert(*seq);
        }
    }

    /// Makes a lease ready again if it is still owed.
    pub fn release(&mut self, side: Side, seq: Seq) {
        self.leased[side].remove(seq);
        if self.state(seq).due().contains(side) {
            self.ready[side].insert(seq);
        }
    }

    /// How many records this side owes.
    pub fn owed(&self, side: Side) -> u64 {
        self.owed[side].len()
    }

    /// The oldest record that this side owes.
    pub fn oldest(&self, side: Side) -> Option<Seq> {
        self.owed[side].first()
    }

    /// Whether something can be leased.
    pub fn is_ready(&self, side: Side) -> bool {
        !self.ready[side].is_empty()
    }

    /// The oldest record that the live path still works on.
    pub fn oldest_live(&self) -> Option<Seq> {
        self.live.first()
    }

    fn keep(&mut self, seq: Seq, owes: Sides, live: Sides, sent: Sides) -> Step {
        if !self.state(seq).is_gone() {
            return Step::Unknown;
        }
        let state = State {
            owes,
            live,
            sent,
            again: Sides::NONE,
        };
        if state.is_gone() {
            return Step::Nothing;
        }
        self.change(seq, state, Step::Store(state))
    }

    fn update(&mut self, seq: Seq, state: State) -> Step {
        self.change(seq, state, Step::Update(state))
    }

    fn change(&mut self, seq: Seq, state: State, step: Step) -> Step {
        let before = self.set(seq, state);
        self.undo.push((seq, before));
        if state.is_gone() { Step::Forget } else { step }
    }

    /// The only way in: keeps the sets in step with the states.
    fn set(&mut self, seq: Seq, state: State) -> State {
        let before = self.put(seq, state);
        for side in Side::ALL {
            match (before.owes.contains(side), state.owes.contains(side)) {
                (false, true) => drop(self.owed[side].insert(seq)),
                (true, false) => drop(self.owed[side].remove(seq)),
                (true, true) | (false, false) => {}
            }
            match (before.due().contains(side), state.due().contains(side)) {
                (false, true) if self.leased[side].contains(seq) => {}
                (false, true) => drop(self.ready[side].insert(seq)),
                (true, false) => {
                    if !self.ready[side].remove(seq) {
                        self.ended.push((side, seq));
                    }
                }
                (true, true) | (false, false) => {}
            }
        }
        match (before.live.is_empty(), state.live.is_empty()) {
            (true, false) => drop(self.live.insert(seq)),
            (false, true) => drop(self.live.remove(seq)),
            (true, true) | (false, false) => {}
        }
        before
    }

    fn put(&mut self, seq: Seq, state: State) -> State {
        let code = if state.is_gone() { 0 } else { state.code() };
        let (number, at) = place(seq);
        let page = self.pages.entry(number).or_insert_with(|| {
            Box::new(Page {
                codes: [0; 64],
                used: 0,
            })
        });
        let before = std::mem::replace(&mut page.codes[at], code);
        page.used += u8::from(code != 0);
        page.used -= u8::from(before != 0);
        if page.used == 0 {
            self.pages.remove(&number);
        }
        State::from_code(before)
    }
}

fn place(seq: Seq) -> (i64, usize) {
    (seq.0 >> 6, usize::try_from(seq.0 & 63).unwrap_or(0))
}
