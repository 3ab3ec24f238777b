//! When to send which debt of one side, and when to give up. Decides only; the worker obeys.
//!
//! ```text
//! leased -> waiting (behind its key) -> ready -> [announcing ->] in flight -> applied
//!                                        ^                           |-> resting (backoff) -> ready
//!                                        |                           |-> aside (refused)   -> waiting
//!                                        +------- side is back -------+-> parked
//! ```
//! Call [`Schedule::poll_action`] until it gives nothing, after every `handle_*`; wake it with
//! [`Schedule::handle_timeout`] at [`Schedule::wake_at`].

mod exchange;
mod item;
mod pace;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::record::{Priority, Repeat};
use super::{Parked, Seq};

pub use exchange::{Action, Due, Limits, Marked, Outcome};
use item::{Dice, Item, Phase, Step};
use pace::Pace;

/// Records of high priority that go for one of low, while both wait.
const HIGH_FOR_LOW: u32 = 10;

/// How long a failed lease or announcement waits.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What may be done at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Down,
    Stopping,
    Up,
}

/// See the module.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    dice: Dice,
    mode: Mode,
    items: HashMap<Seq, Item>,
    /// The debts of each partition in order; the first is the one being worked on.
    keys: HashMap<u64, VecDeque<Seq>>,
    high: VecDeque<Seq>,
    low: VecDeque<Seq>,
    /// High ones sent since the last low one.
    high_run: u32,
    wakes: BinaryHeap<Reverse<(Instant, Seq)>>,
    in_flight: usize,
    leasing: bool,
    /// Whether the queue may have more.
    more: bool,
    lease_at: Option<Instant>,
    pace: Pace,
    actions: VecDeque<Action>,
}

impl Schedule {
    /// Nothing leased, the side assumed down.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            pace: Pace::new(limits.rate),
            limits,
            dice: Dice::new(seed),
            mode: Mode::Down,
            items: HashMap::new(),
            keys: HashMap::new(),
            high: VecDeque::new(),
            low: VecDeque::new(),
            high_run: 0,
            wakes: BinaryHeap::new(),
            in_flight: 0,
            leasing: false,
            more: true,
            lease_at: None,
            actions: VecDeque::new(),
        }
    }

    /// Whether the side may be replayed. Coming back it owes nothing to its bad past: what rested
    /// is ready, and failures count from zero.
    pub fn handle_side(&mut self, up: bool) {
        if self.mode == Mode::Stopping {
            return;
        }
        if up && self.mode == Mode::Down {
            let rested = |item: &Item| matches!(item.phase, Phase::Resting(_));
            let mut rested: Vec<_> = self
                .items
                .iter()
                .filter(|(_, item)| rested(item))
                .map(|(seq, _)| *seq)
                .collect();
            rested.sort_unstable();
            self.items.values_mut().for_each(|item| item.failures = 0);
            rested.into_iter().for_each(|seq| self.ready(seq));
            self.more = true;
            self.lease_at = None;
        }
        self.mode = if up { Mode::Up } else { Mode::Down };
        self.advance();
    }

    /// The queue has something that is not leased.
    pub fn handle_available(&mut self) {
        self.more = true;
        self.advance();
    }

    /// The answer to [`Action::Lease`]; none at all means that the queue has no more.
    pub fn handle_leased(&mut self, dues: impl IntoIterator<Item = Due>, now: Instant) {
        self.leasing = false;
        let mut count = 0;
        for due in dues {
            count += 1;
            if self.mode == Mode::Stopping {
                self.actions.push_back(Action::Release(due.seq));
            } else {
                self.items.insert(due.seq, Item::new(due));
                self.join(due.seq, due.partition);
            }
        }
        self.more = 0 < count;
        self.lease_at = self.pace.handle_taken(count, now);
        self.advance();
    }

    /// The queue could not lease.
    pub fn handle_lease_failed(&mut self, now: Instant) {
        self.leasing = false;
        self.lease_at = Some(now + STORE_PAUSE);
        self.advance();
    }

    /// The answer to [`Action::MarkSent`].
    pub fn handle_marked(&mut self, seq: Seq, marked: Marked, now: Instant) {
        let Some(item) = self.items.get_mut(&seq) else {
            return;
        };
        if item.phase != Phase::Announcing {
            return;
        }
        match marked {
            Marked::Durable if self.mode == Mode::Stopping => {
                item.announced();
                self.in_flight -= 1;
                if let Some(sent) = item.outcome(Outcome::NotApplied) {
                    self.actions.push_back(Action::Unmark { seq, sent });
                }
                self.give_back(seq);
            }
            Marked::Durable => {
                let shift = item.announced();
                self.actions.push_back(Action::Send { seq, shift });
            }
            Marked::Gone => self.land(seq),
            Marked::Failed => self.rest(seq, now + STORE_PAUSE),
        }
        self.advance();
    }

    /// The answer to [`Action::Send`].
    pub fn handle_outcome(&mut self, seq: Seq, outcome: Outcome, now: Instant) {
        let Some(item) = self.items.get_mut(&seq) else {
            return;
        };
        if item.phase != Phase::InFlight {
            return;
        }
        if let Some(sent) = item.outcome(outcome) {
            self.actions.push_back(Action::Unmark { seq, sent });
        }
        match item.next(outcome, self.mode == Mode::Up, now, &self.limits) {
            Step::Applied => {
                self.actions.push_back(Action::Applied(seq));
                self.land(seq);
            }
            Step::Park(reason) => self.park(seq, reason),
            Step::Retry(failures) => {
                let pause = self.backoff(failures);
                self.rest(seq, now + pause);
            }
            Step::Again => self.rest(seq, now),
            Step::Aside(left) => {
                let pause = self.dice.soften(self.limits.retry_max).min(left);
                self.aside(seq, now + pause);
            }
        }
        self.advance();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, seq))) = self.wakes.peek().copied()
            && at <= now
        {
            self.wakes.pop();
            self.wake(seq, at);
        }
        if self.lease_at.is_some_and(|at| at <= now) {
            self.lease_at = None;
        }
        self.advance();
    }

    /// Sends nothing more; gives back what is not in flight, and the rest as it comes in.
    pub fn handle_stop(&mut self) {
        self.mode = Mode::Stopping;
        let idle = |item: &Item| !matches!(item.phase, Phase::Announcing | Phase::InFlight);
        let mut idle: Vec<_> = self
            .items
            .iter()
            .filter(|(_, item)| idle(item))
            .map(|(seq, _)| *seq)
            .collect();
        idle.sort_unstable();
        self.keys.clear();
        self.high.clear();
        self.low.clear();
        self.wakes.clear();
        for seq in idle {
            self.items.remove(&seq);
            self.actions.push_back(Action::Release(seq));
        }
        self.advance();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Schedule::handle_timeout`] is next needed.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let rested = self.wakes.peek().map(|Reverse((at, _))| *at);
        rested.into_iter().chain(self.lease_at).min()
    }

    /// Whether to wait for [`Schedule::handle_available`].
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.mode == Mode::Up && !self.more
    }

    /// Whether nothing is held any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.leasing
    }

    /// Leases and sends as much as is allowed.
    fn advance(&mut self) {
        while self.mode == Mode::Up && self.in_flight < self.limits.concurrency {
            let Some(seq) = self.pick() else { break };
            self.start(seq);
        }
        let room = self.limits.window.saturating_sub(self.items.len());
        let batch = self.limits.batch.min(self.limits.window);
        let batch = self.pace.step(batch);
        let may = self.mode == Mode::Up && self.more && !self.leasing;
        if may && self.lease_at.is_none() && batch <= room {
            self.leasing = true;
            self.actions.push_back(Action::Lease(batch));
        }
        self.check();
    }

    fn pick(&mut self) -> Option<Seq> {
        let low_is_due = !self.limits.strict && HIGH_FOR_LOW <= self.high_run;
        if !self.high.is_empty() && (!low_is_due || self.low.is_empty()) {
            self.high_run += 1;
            return self.high.pop_front();
        }
        self.high_run = 0;
        self.low.pop_front()
    }

    fn start(&mut self, seq: Seq) {
        let Some(item) = self.items.get_mut(&seq) else {
            return;
        };
        if item.is_ambiguous() {
            return self.park(seq, Parked::Ambiguous);
        }
        self.in_flight += 1;
        if item.due.repeat == Repeat::Yes {
            item.phase = Phase::InFlight;
            self.actions.push_back(Action::Send { seq, shift: false });
        } else {
            item.phase = Phase::Announcing;
            self.actions.push_back(Action::MarkSent(seq));
        }
    }

    fn backoff(&mut self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let pause = self
            .limits
            .retry_min
            .saturating_mul(doubled)
            .min(self.limits.retry_max);
        self.dice.soften(pause)
    }

    /// Puts it at the end of its key, and to work if it is alone there.
    fn join(&mut self, seq: Seq, partition: u64) {
        let key = self.keys.entry(partition).or_default();
        key.push_back(seq);
        if key.len() == 1 {
            self.ready(seq);
        }
    }

    fn ready(&mut self, seq: Seq) {
        let Some(item) = self.items.get_mut(&seq) else {
            return;
        };
        item.phase = Phase::Ready;
        match item.due.priority {
            Priority::High => self.high.push_back(seq),
            Priority::Low => self.low.push_back(seq),
        }
    }

    /// Tries again at that time; its key waits.
    fn rest(&mut self, seq: Seq, until: Instant) {
        self.in_flight -= 1;
        if self.mode == Mode::Stopping {
            return self.give_back(seq);
        }
        if let Some(item) = self.items.get_mut(&seq) {
            item.phase = Phase::Resting(until);
            self.wakes.push(Reverse((until, seq)));
        }
    }

    /// Tries again at that time; its key goes on, since a refused write must not block the others (I9).
    fn aside(&mut self, seq: Seq, until: Instant) {
        self.in_flight -= 1;
        if self.mode == Mode::Stopping {
            return self.give_back(seq);
        }
        if let Some(item) = self.items.get_mut(&seq) {
            item.phase = Phase::Aside(until);
            let partition = item.due.partition;
            self.wakes.push(Reverse((until, seq)));
            self.leave(partition);
        }
    }

    fn wake(&mut self, seq: Seq, at: Instant) {
        let Some(item) = self.items.get_mut(&seq) else {
            return;
        };
        match item.phase {
            Phase::Resting(until) if until == at => self.ready(seq),
            Phase::Aside(until) if until == at => {
                item.phase = Phase::Waiting;
                let key = self.keys.entry(item.due.partition).or_default();
                // Right behind the one that is being worked on: it is older than the others.
                key.insert(key.len().min(1), seq);
                if key.len() == 1 {
                    self.ready(seq);
                }
            }
            // Woken already, by its side's return.
            Phase::Announcing
            | Phase::Aside(_)
            | Phase::InFlight
            | Phase::Ready
            | Phase::Resting(_)
            | Phase::Waiting => {}
        }
    }

    fn park(&mut self, seq: Seq, reason: Parked) {
        self.actions.push_back(Action::Park { seq, reason });
        self.land(seq);
    }

    fn give_back(&mut self, seq: Seq) {
        self.items.remove(&seq);
        self.actions.push_back(Action::Release(seq));
    }

    /// It is done with: the next of its key is due.
    fn land(&mut self, seq: Seq) {
        let Some(item) = self.items.remove(&seq) else {
            return;
        };
        if matches!(item.phase, Phase::Announcing | Phase::InFlight) {
            self.in_flight -= 1;
        }
        if self.mode != Mode::Stopping {
            self.leave(item.due.partition);
        }
    }

    /// The first of the key leaves.
    fn leave(&mut self, partition: u64) {
        let Some(key) = self.keys.get_mut(&partition) else {
            return;
        };
        key.pop_front();
        match key.front() {
            Some(&next) => self.ready(next),
            None => drop(self.keys.remove(&partition)),
        }
    }

    /// What always holds. The part that looks at every item is left out where they are many.
    fn check(&self) {
        debug_assert!(
            self.in_flight <= self.limits.concurrency,
            "more in flight than allowed"
        );
        debug_assert!(
            self.items.len() <= self.limits.window,
            "more held than allowed"
        );
        debug_assert!(self.keys.len() <= self.items.len(), "a key without a debt");
        if cfg!(debug_assertions) && self.items.len() <= 64 {
            let flying = |item: &&Item| matches!(item.phase, Phase::Announcing | Phase::InFlight);
            let flying = self.items.values().filter(flying).count();
            debug_assert!(flying == self.in_flight, "a slot is lost");
            let aside = self
                .items
                .values()
                .filter(|item| matches!(item.phase, Phase::Aside(_)));
            let keyed: usize = self.keys.values().map(VecDeque::len).sum();
            let all = keyed + aside.count();
            debug_assert!(
                self.mode == Mode::Stopping || all == self.items.len(),
                "a debt is lost"
            );
            let ready = self
                .items
                .values()
                .filter(|item| item.phase == Phase::Ready)
                .count();
            debug_assert!(
                ready == self.high.len() + self.low.len(),
                "a ready debt is lost"
            );
        }
    }
}
