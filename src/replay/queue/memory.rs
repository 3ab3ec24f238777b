//! The queue in memory: for tests and demonstrations. Durable as long as the process lives.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::pair::{Pair, Side, Sides};
use crate::replay::{
    Answer, Change, DeadLetter, Depth, Lease, Parked, Queue, Refused, Seq, record,
};

use super::board::{Board, Outbox};
use super::ledger::{Ledger, Step};
use super::{Clock, shortened};

/// See the module.
#[derive(Debug)]
pub struct Memory {
    store: Mutex<Store>,
    next: AtomicI64,
    board: Arc<Board>,
    clock: Clock,
}

#[derive(Debug)]
struct Store {
    ledger: Ledger,
    bodies: BTreeMap<Seq, Bytes>,
    dead: BTreeMap<i64, (Seq, DeadLetter)>,
    last_letter: i64,
    bytes: usize,
    capacity: usize,
    closed: bool,
}

impl Memory {
    /// An empty queue for so many records, dead letters included.
    #[must_use]
    pub fn new(capacity: NonZeroUsize, clock: Clock) -> Self {
        let board = Board::new();
        board.set_accepts(true);
        let store = Store {
            ledger: Ledger::default(),
            bodies: BTreeMap::new(),
            dead: BTreeMap::new(),
            last_letter: 0,
            bytes: 0,
            capacity: capacity.get(),
            closed: false,
        };
        Self {
            store: Mutex::new(store),
            next: AtomicI64::new(1),
            board,
            clock,
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the store, shows what came of it, and answers.
    fn answer<T: Send + 'static>(&self, work: impl FnOnce(&mut Store) -> T) -> Answer<T> {
        let mut store = self.store();
        let answer = if store.closed {
            Err(Refused::Closed)
        } else {
            Ok(work(&mut store))
        };
        store.show(&self.board);
        drop(store);
        Box::pin(std::future::ready(answer))
    }
}

impl Queue for Memory {
    fn next_seq(&self) -> Seq {
        Seq(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn submit(&self, changes: &mut Vec<Change>) {
        let mut outbox = Outbox::default();
        let mut store = self.store();
        for change in changes.drain(..) {
            let receipt = change.receipt().cloned();
            outbox.put(receipt.as_ref(), store.take(change, self.clock));
        }
        store.show(&self.board);
        drop(store);
        outbox.deliver();
    }

    fn accepts(&self) -> bool {
        self.board.accepts()
    }

    fn is_behind(&self, side: Side) -> bool {
        self.board.is_behind(side)
    }

    fn lease(&self, side: Side, max: usize) -> Answer<Vec<Lease>> {
        self.answer(|store| {
            let mut seqs = Vec::new();
            store.ledger.lease(side, max, &mut seqs);
            seqs.into_iter()
                .filter_map(|seq| store.lease(side, seq))
                .collect()
        })
    }

    fn release(&self, side: Side, seqs: Vec<Seq>) {
        drop(self.answer(|store| {
            seqs.into_iter()
                .for_each(|seq| store.ledger.release(side, seq));
        }));
    }

    fn wait(&self, side: Side) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Arc::clone(&self.board).wait(side))
    }

    fn depth(&self) -> Depth {
        self.board.depth()
    }

    fn dead_letters(&self, after: i64, max: usize) -> Answer<Vec<DeadLetter>> {
        self.answer(|store| {
            let above = store.dead.range(after.saturating_add(1)..);
            above
                .take(max)
                .map(|(_, (_, letter))| letter.clone())
                .collect()
        })
    }

    fn requeue(&self, numbers: Vec<i64>) -> Answer<u64> {
        self.answer(|store| count(&numbers, |number| store.requeue(number)))
    }

    fn purge(&self, numbers: Vec<i64>) -> Answer<u64> {
        self.answer(|store| count(&numbers, |number| store.bury(number).is_some()))
    }

    fn close(&self) -> Answer<()> {
        self.answer(|store| store.closed = true)
    }
}

impl Store {
    fn take(&mut self, change: Change, clock: Clock) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if matches!(change, Change::Keep { .. }) && self.capacity <= self.held() {
            return Err(Refused::Full);
        }
        let step = self.ledger.apply(&change);
        self.ledger.begin();
        if step == Step::Unknown {
            return Err(Refused::Unknown);
        }
        let seq = change.seq();
        match change {
            Change::Keep { body, .. } if matches!(step, Step::Store(_)) => {
                self.bytes += body.len();
                self.bodies.insert(seq, body.into());
            }
            Change::Park {
                side,
                reason,
                error,
                ..
            } => {
                let body = self.bodies.get(&seq).cloned().unwrap_or_default();
                self.park(seq, side, (reason, &error), body, clock);
            }
            Change::Applied { .. }
            | Change::Keep { .. }
            | Change::Landed { .. }
            | Change::Missed { .. }
            | Change::Sent { .. }
            | Change::Void { .. } => {}
        }
        self.forget(seq, step);
        Ok(())
    }

    fn held(&self) -> usize {
        self.bodies.len() + self.dead.len()
    }

    fn forget(&mut self, seq: Seq, step: Step) {
        if step == Step::Forget
            && let Some(body) = self.bodies.remove(&seq)
        {
            self.bytes -= body.len();
        }
    }

    fn park(&mut self, seq: Seq, side: Side, why: (Parked, &str), body: Bytes, clock: Clock) {
        self.last_letter += 1;
        self.bytes += body.len();
        let letter = DeadLetter {
            number: self.last_letter,
            side,
            reason: why.0,
            error: shortened(why.1).to_owned(),
            parked_at: clock(),
            body,
        };
        self.dead.insert(self.last_letter, (seq, letter));
    }

    fn bury(&mut self, number: i64) -> Option<(Seq, DeadLetter)> {
        let (seq, letter) = self.dead.remove(&number)?;
        self.bytes -= letter.body.len();
        Some((seq, letter))
    }

    fn requeue(&mut self, number: i64) -> bool {
        let Some((seq, letter)) = self.bury(number) else {
            return false;
        };
        let vouched = record::vouch(&letter.body).map(Bytes::from);
        let is_vouched = vouched.is_some();
        let body = vouched.unwrap_or(letter.body);
        if matches!(self.ledger.requeue(seq, letter.side), Step::Store(_)) {
            self.bytes += body.len();
            self.bodies.insert(seq, body);
        } else if is_vouched {
            // Of the same length.
            self.bodies.insert(seq, body);
        }
        true
    }

    fn lease(&self, side: Side, seq: Seq) -> Option<Lease> {
        let (state, body) = (self.ledger.state(seq), self.bodies.get(&seq)?.clone());
        let (sent, again) = (state.sent.contains(side), state.again.contains(side));
        Some(Lease {
            seq,
            side,
            sent,
            again,
            body,
        })
    }

    fn show(&self, board: &Board) {
        let oldest =
            Pair::from_fn(|side| record::enqueued_at(self.bodies.get(&self.ledger.oldest(side)?)?));
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        board.show(
            (&self.ledger, Sides::NONE),
            oldest,
            number(self.dead.len()),
            number(self.bytes),
        );
        board.set_accepts(!self.closed && self.held() < self.capacity);
    }
}

fn count(numbers: &[i64], mut done: impl FnMut(i64) -> bool) -> u64 {
    numbers.iter().map(|&number| u64::from(done(number))).sum()
}
