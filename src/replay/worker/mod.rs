//! The worker of one side: leases debts, has them applied, tells the queue. Obeys the schedule.
//!
//! It runs on a `LocalSet`: what applies a record need not be `Send`. One worker a side, so that a
//! dead cluster never delays the other.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pair::Side;
use crate::telemetry::{Metrics, Throttle};

use super::record::{Reason, Record};
use super::schedule::{Action, Due, Limits, Marked, Outcome, Schedule};
use super::{Answer, Change, Lease, Parked, Queue, Receipt, Receipts, Refused, Seq};

/// How often the log says that records became dead letters, for each reason.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Applies a record to a cluster, through the same code as a live write.
pub trait Apply {
    /// Sends the record to this side; at its timestamp plus one if `shift`.
    fn apply(&self, side: Side, record: Rc<Record>, shift: bool) -> impl Future<Output = Applied>;
}

/// What came of applying a record; the texts are for the dead letter, without values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Applied {
    /// The side has it.
    Done,
    /// The side is sick and may have it.
    Maybe(String),
    /// The side is sick and surely does not have it.
    NotApplied(String),
    /// The side refuses it for good, and does not have it.
    Refused(String),
    /// It was not sent: the table or a bound type is not the one it was written for (S9).
    Unfit(String),
}

/// What a worker is made of; [`Worker::run`] makes it work.
#[derive(Debug)]
pub struct Worker<A> {
    /// Whose debts.
    pub side: Side,
    /// Where they wait.
    pub queue: Arc<dyn Queue>,
    /// What applies them.
    pub apply: A,
    /// How they are paced.
    pub limits: Limits,
    /// How long one try may take.
    pub timeout: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Spreads the retries.
    pub seed: u64,
}

impl<A: Apply> Worker<A> {
    /// Works while `up` says that the side may be replayed, until `stop` says so or its sender is
    /// gone. Then gives all leases back, once what was sent is answered or timed out.
    pub async fn run(self, mut up: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        let mut shell = Shell::new(&self);
        let mut sends = FuturesUnordered::new();
        let mut lease: Option<Answer<Vec<Lease>>> = None;
        let mut waiting = None;
        let mut news = true;
        shell.schedule.handle_side(*up.borrow_and_update());
        loop {
            for (seq, record, shift) in shell.obey(&mut lease) {
                sends.push(self.send(seq, record, shift));
            }
            if shell.is_done() {
                return;
            }
            if shell.schedule.is_waiting() {
                waiting.get_or_insert_with(|| self.queue.wait(self.side));
            }
            let wake = shell.schedule.wake_at().map(Instant::from_std);
            tokio::select! {
                Some((seq, applied)) = sends.next() => {
                    shell.answered(seq, applied);
                    while let Some(Some((seq, applied))) = sends.next().now_or_never() {
                        shell.answered(seq, applied);
                    }
                }
                leased = next(&mut lease) => {
                    lease = None;
                    shell.leased(leased);
                }
                () = next(&mut waiting) => {
                    waiting = None;
                    shell.schedule.handle_available();
                }
                () = shell.receipts.arrived() => shell.marked(),
                changed = up.changed(), if news => {
                    news = changed.is_ok();
                    let may = news && *up.borrow_and_update();
                    shell.schedule.handle_side(may);
                }
                _ = stop.wait_for(|stop| *stop), if !shell.stopping => shell.stop(),
                () = until(wake) => shell.schedule.handle_timeout(Instant::now().into_std()),
            }
        }
    }

    async fn send(&self, seq: Seq, record: Rc<Record>, shift: bool) -> (Seq, Applied) {
        let apply = self.apply.apply(self.side, record, shift);
        let in_time = tokio::time::timeout(self.timeout, apply).await;
        (
            seq,
            in_time.unwrap_or_else(|_| Applied::Maybe("no answer in time".into())),
        )
    }
}

/// What the worker holds while it works. Dropped, it gives its leases back.
struct Shell {
    side: Side,
    queue: Arc<dyn Queue>,
    metrics: Arc<Metrics>,
    schedule: Schedule,
    receipts: Arc<Receipts>,
    held: HashMap<Seq, Held>,
    changes: Vec<Change>,
    marks: Vec<(u64, Result<(), Refused>)>,
    throttle: Throttle,
    stopping: bool,
}

struct Held {
    record: Rc<Record>,
    error: String,
    /// It was refused before, and counted.
    refused: bool,
    sent_at: Instant,
}

impl Held {
    fn new(record: Record) -> Self {
        Self {
            record: Rc::new(record),
            error: String::new(),
            refused: false,
            sent_at: Instant::now(),
        }
    }

    fn send(&mut self) -> Rc<Record> {
        self.sent_at = Instant::now();
        Rc::clone(&self.record)
    }
}

impl Shell {
    fn new<A>(worker: &Worker<A>) -> Self {
        Self {
            side: worker.side,
            queue: Arc::clone(&worker.queue),
            metrics: Arc::clone(&worker.metrics),
            schedule: Schedule::new(worker.limits.clone(), worker.seed),
            receipts: Receipts::new(),
            held: HashMap::new(),
            changes: Vec::new(),
            marks: Vec::new(),
            throttle: Throttle::new(LOG_EVERY),
            stopping: false,
        }
    }

    /// Does what the schedule says; returns what to send.
    fn obey(&mut self, lease: &mut Option<Answer<Vec<Lease>>>) -> Vec<(Seq, Rc<Record>, bool)> {
        let (mut sends, mut released, side) = (Vec::new(), Vec::new(), self.side);
        while let Some(action) = self.schedule.poll_action() {
            match action {
                Action::Applied(seq) => {
                    let since = self.held.remove(&seq).map(|held| held.sent_at.elapsed());
                    self.metrics.replay_applied(side, since.unwrap_or_default());
                    self.changes.push(Change::Applied { seq, side });
                }
                Action::Lease(max) => *lease = Some(self.queue.lease(side, max)),
                Action::MarkSent(seq) => {
                    let ticket = seq.0.cast_unsigned();
                    let receipt = Some(Receipt {
                        to: Arc::clone(&self.receipts),
                        ticket,
                    });
                    self.changes.push(Change::Sent { seq, side, receipt });
                }
                Action::Park { seq, reason } => {
                    let error = self.held.remove(&seq).map(|held| held.error);
                    self.park(seq, reason, error.unwrap_or_default());
                }
                Action::Release(seq) => {
                    self.held.remove(&seq);
                    released.push(seq);
                }
                Action::Send { seq, shift } => {
                    let held = self.held.get_mut(&seq);
                    sends.extend(held.map(|held| (seq, held.send(), shift)));
                }
                Action::Unmark { seq, sent } => {
                    self.changes.push(Change::Missed {
                        seq,
                        side,
                        sent,
                        receipt: None,
                    });
                }
            }
        }
        if !self.changes.is_empty() {
            self.queue.submit(&mut self.changes);
        }
        if !released.is_empty() {
            self.queue.release(side, released);
        }
        sends
    }

    fn leased(&mut self, leased: Result<Vec<Lease>, Refused>) {
        match leased {
            Ok(leases) => {
                let more = !leases.is_empty();
                let dues: Vec<_> = leases
                    .into_iter()
                    .filter_map(|lease| self.due(&lease))
                    .collect();
                let none_fit = more && dues.is_empty();
                self.schedule.handle_leased(dues, Instant::now().into_std());
                if none_fit {
                    self.schedule.handle_available();
                }
            }
            Err(error) => {
                tracing::debug!(side = %self.side, %error, "no lease");
                self.schedule.handle_lease_failed(Instant::now().into_std());
            }
        }
    }

    /// What the schedule needs to know; what is malformed or must not be replayed is parked and never
    /// reaches it.
    fn due(&mut self, lease: &Lease) -> Option<Due> {
        let seq = lease.seq;
        match Record::decode(&lease.body) {
            Ok(record) if record.reason == Reason::Unproven => {
                let why = "no cluster has said that the client's role may do it";
                self.park(seq, Parked::Forbidden, why.to_owned());
                None
            }
            Ok(record) => {
                let (partition, priority, repeat) =
                    (record.partition, record.priority, record.repeat);
                self.held.insert(seq, Held::new(record));
                let (sent, again) = (lease.sent, lease.again);
                Some(Due {
                    seq,
                    partition,
                    priority,
                    repeat,
                    sent,
                    again,
                })
            }
            Err(malformed) => {
                self.park(seq, Parked::Malformed, malformed.to_string());
                None
            }
        }
    }

    fn park(&mut self, seq: Seq, reason: Parked, error: String) {
        let (side, label) = (self.side, reason.label());
        let now = Instant::now().into_std();
        // What a node says may quote values: the error is for the dead letter only.
        if let Some(suppressed) = self.throttle.admit(label, now) {
            tracing::warn!(%side, reason = label, suppressed, "a record became a dead letter");
        }
        self.metrics.parked(label);
        self.changes.push(Change::Park {
            seq,
            side,
            reason,
            error,
            receipt: None,
        });
    }

    fn answered(&mut self, seq: Seq, applied: Applied) {
        let (outcome, error) = match applied {
            Applied::Done => (Outcome::Applied, None),
            Applied::Maybe(error) => (Outcome::Maybe, Some(error)),
            Applied::NotApplied(error) => (Outcome::NotApplied, Some(error)),
            Applied::Refused(error) => (Outcome::Refused, Some(error)),
            Applied::Unfit(error) => (Outcome::Unfit, Some(error)),
        };
        if let (Some(error), Some(held)) = (error, self.held.get_mut(&seq)) {
            held.error = error;
            self.metrics.replay_failed(self.side);
            // Tried again for `divergence_grace`; counted once.
            if outcome == Outcome::Refused && !std::mem::replace(&mut held.refused, true) {
                self.metrics.diverged(self.side);
            }
        }
        self.schedule
            .handle_outcome(seq, outcome, Instant::now().into_std());
    }

    fn marked(&mut self) {
        self.receipts.take(&mut self.marks);
        for (ticket, answer) in self.marks.drain(..) {
            let marked = match answer {
                Ok(()) => Marked::Durable,
                Err(Refused::Unknown) => Marked::Gone,
                Err(Refused::Closed | Refused::Full | Refused::Store(_)) => Marked::Failed,
            };
            let seq = Seq(ticket.cast_signed());
            if marked == Marked::Gone {
                self.held.remove(&seq);
            }
            self.schedule
                .handle_marked(seq, marked, Instant::now().into_std());
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.schedule.handle_stop();
    }

    fn is_done(&self) -> bool {
        self.stopping && self.schedule.is_empty()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let held: Vec<_> = self.held.keys().copied().collect();
        if !held.is_empty() {
            self.queue.release(self.side, held);
        }
    }
}

/// What is under way, if anything is.
async fn next<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
