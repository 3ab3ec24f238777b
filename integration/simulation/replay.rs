//! The replay worker of one process: the real schedule of each side, and what obeys it.

use std::collections::BTreeMap;
use std::time::Duration;

use helix_proxy::pair::Side;
use helix_proxy::policy::Verdict;
use helix_proxy::replay::Seq;
use helix_proxy::replay::record::{Priority, Repeat};
use helix_proxy::replay::schedule::{Action, Due, Limits, Marked, Outcome, Schedule};

use super::cluster::{Kind, Mutation};
use super::queue::{Change, Kept, Waiter};
use super::settings::{Broken, DIVERGENCE_GRACE, MS, REPLAY_TIMEOUT};
use super::world::{Event, Ticket, World};

/// One side's worker.
#[derive(Debug)]
pub(crate) struct Lane {
    schedule: Schedule,
    held: BTreeMap<u64, Mutation>,
    /// Which record an answer is about.
    attempts: BTreeMap<u64, u64>,
}

impl Lane {
    pub(crate) fn new(seed: u64) -> Self {
        let limits = Limits {
            batch: 8,
            window: 32,
            concurrency: 4,
            rate: None,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_millis(800),
            attempts_max: None,
            grace: Duration::from_micros(DIVERGENCE_GRACE),
            strict: false,
        };
        Self {
            schedule: Schedule::new(limits, seed),
            held: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }
}

impl World {
    /// Time passes for a side's worker.
    pub(crate) fn work(&mut self, side: Side) {
        self.push(self.now + 40 * MS, Event::Work(side));
        let now = self.instant();
        let Some(proxy) = &mut self.proxy else { return };
        let lane = &mut proxy.lanes[side];
        lane.schedule.handle_side(!proxy.view.out.contains(side));
        lane.schedule.handle_available();
        lane.schedule.handle_timeout(now);
        self.replay(side);
    }

    fn replay(&mut self, side: Side) {
        while let Some(action) = self
            .proxy
            .as_mut()
            .and_then(|proxy| proxy.lanes[side].schedule.poll_action())
        {
            match action {
                Action::Applied(seq) => {
                    self.drop_held(side, number(seq));
                    self.queue.submit(Change::Applied(number(seq), side));
                }
                Action::Lease(max) => self.lease(side, max),
                Action::MarkSent(seq) => {
                    let seq = number(seq);
                    let waiter = Waiter::Mark(side, seq);
                    self.queue.submit(Change::Sent(seq, side, waiter));
                    if self.is_early(side, seq) {
                        self.launch(side, seq, false);
                    }
                }
                Action::Park { seq, reason } => {
                    self.say(|_| format!("{side} parks record {} as {reason:?}", seq.0));
                    self.drop_held(side, number(seq));
                    self.queue.submit(Change::Park(number(seq), side));
                }
                Action::Release(seq) => {
                    self.drop_held(side, number(seq));
                    self.queue.release(side, number(seq));
                }
                Action::Send { seq, .. } if self.is_early(side, number(seq)) => {
                    // It went out before it was announced, and its answer found nobody.
                    let now = self.instant();
                    if let Some(proxy) = &mut self.proxy {
                        let schedule = &mut proxy.lanes[side].schedule;
                        schedule.handle_outcome(seq, Outcome::Maybe, now);
                    }
                }
                Action::Send { seq, shift } => self.launch(side, number(seq), shift),
                Action::Unmark { seq, sent } => {
                    self.queue.submit(Change::Missed(number(seq), side, sent));
                }
            }
        }
    }

    /// Whether the broken worker sends this without waiting for its mark.
    fn is_early(&self, side: Side, seq: u64) -> bool {
        let held = self
            .proxy
            .as_ref()
            .and_then(|proxy| proxy.lanes[side].held.get(&seq));
        let counts = held.is_some_and(|mutation| mutation.kind == Kind::Count);
        counts && self.settings.breaks(Broken::SendsBeforeTheMark)
    }

    fn drop_held(&mut self, side: Side, seq: u64) {
        if let Some(proxy) = &mut self.proxy {
            proxy.lanes[side].held.remove(&seq);
        }
    }

    fn lease(&mut self, side: Side, max: usize) {
        let leases = self.queue.lease(side, max);
        self.say(|_| format!("{side} leases {leases:?}"));
        let twice = leases.iter().find(|(seq, ..)| {
            let proxy = self.proxy.as_ref();
            proxy.is_some_and(|proxy| proxy.lanes[side].held.contains_key(seq))
        });
        if let Some((seq, ..)) = twice {
            return self.fail(format!("record {seq} was leased twice"));
        }
        let bold = self.settings.breaks(Broken::ForbiddenReplayed);
        let is_forbidden = |(seq, ..): &(u64, _, _)| !bold && self.queue.is_forbidden(*seq);
        let (forbidden, leases): (Vec<_>, Vec<_>) = leases.into_iter().partition(is_forbidden);
        for (seq, ..) in &forbidden {
            self.say(|_| format!("{side} parks record {seq} as forbidden"));
            self.queue.submit(Change::Park(*seq, side));
        }
        let blind = self.settings.breaks(Broken::SentReplayedBlindly);
        let now = self.instant();
        let Some(proxy) = &mut self.proxy else { return };
        let lane = &mut proxy.lanes[side];
        let due = |(seq, state, mutation): &(u64, _, Mutation)| {
            let (partition, repeat) = match mutation.kind {
                Kind::Count => (0, Repeat::No),
                Kind::List(list) => (1_000 + u64::from(list), Repeat::Shifted),
                Kind::Delete(cell) | Kind::Put(cell) => (2_000 + u64::from(cell), Repeat::Yes),
            };
            let state: &helix_proxy::replay::queue::ledger::State = state;
            Due {
                seq: Seq(i64::try_from(*seq).expect("small")),
                partition,
                priority: Priority::High,
                repeat,
                sent: state.sent.contains(side) && !(blind && repeat == Repeat::No),
                again: state.again.contains(side),
            }
        };
        let dues: Vec<Due> = leases.iter().map(due).collect();
        lane.held
            .extend(leases.into_iter().map(|(seq, _, mutation)| (seq, mutation)));
        let none_fit = dues.is_empty() && !forbidden.is_empty();
        lane.schedule.handle_leased(dues, now);
        if none_fit {
            lane.schedule.handle_available();
        }
    }

    /// A mark that it is about to be sent is durable, or was refused.
    pub(crate) fn marked(&mut self, side: Side, seq: u64, kept: Kept) {
        let marked = match kept {
            Kept::Durable => Marked::Durable,
            Kept::Gone => Marked::Gone,
            Kept::Refused => Marked::Failed,
        };
        let now = self.instant();
        let Some(proxy) = &mut self.proxy else { return };
        let seq = Seq(i64::try_from(seq).expect("small"));
        proxy.lanes[side].schedule.handle_marked(seq, marked, now);
        self.replay(side);
    }

    fn launch(&mut self, side: Side, seq: u64, shift: bool) {
        let attempt = self.number();
        let Some(proxy) = &mut self.proxy else { return };
        let lane = &mut proxy.lanes[side];
        let Some(mut mutation) = lane.held.get(&seq).copied() else {
            return self.fail(format!("record {seq} was sent without a lease"));
        };
        lane.attempts.insert(attempt, seq);
        if self.settings.breaks(Broken::ReplayRestamps) {
            mutation.at += 5_000_000;
        }
        let shift = i64::from(shift && !self.settings.breaks(Broken::ListsKeepTheirTimestamp));
        self.say(|_| format!("{side} is replayed w{} +{shift}", mutation.id));
        let invalid = mutation.invalid;
        let fate = self.faults.fate(&mut self.dice, side, self.now, invalid);
        if let Some(at) = fate.applied_at {
            self.push(at, Event::Apply(side, mutation, shift));
        }
        if let Some((at, verdict, report)) = fate.answer {
            let ticket = Ticket::Replay(attempt);
            self.push(at, Event::Answer(ticket, side, verdict, report));
        }
        self.push(self.now + REPLAY_TIMEOUT, Event::GiveUp(side, attempt));
    }

    /// What came of an attempt.
    pub(crate) fn attempted(&mut self, side: Side, attempt: u64, verdict: Verdict) {
        let now = self.instant();
        let Some(proxy) = &mut self.proxy else { return };
        let lane = &mut proxy.lanes[side];
        let Some(seq) = lane.attempts.remove(&attempt) else {
            return;
        };
        let outcome = match verdict {
            Verdict::Ok => Outcome::Applied,
            Verdict::Maybe => Outcome::Maybe,
            Verdict::NotApplied => Outcome::NotApplied,
            Verdict::Definite => Outcome::Refused,
        };
        let seq = Seq(i64::try_from(seq).expect("small"));
        lane.schedule.handle_outcome(seq, outcome, now);
        self.replay(side);
    }
}

fn number(seq: Seq) -> u64 {
    u64::try_from(seq.0).expect("positive")
}
