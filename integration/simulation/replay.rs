//! The replay worker of one process: one lane a side, which takes what is owed and applies it.

use std::collections::BTreeMap;

use helix_proxy::pair::Side;
use helix_proxy::policy::Verdict;

use super::cluster::{Kind, Mutation};
use super::queue::{Change, Record, Waiter};
use super::settings::{Broken, DIVERGENCE_GRACE, MS, Micros, REPLAY_TIMEOUT};
use super::world::{Event, Ticket, World};

const LEASES_MAX: usize = 8;
const BACKOFF: Micros = 200 * MS;

#[derive(Clone, Copy, Debug)]
struct Attempt {
    number: u64,
    mutation: Mutation,
    shift: i64,
    /// It was announced, because it must not be sent twice.
    is_marked: bool,
    /// The side may have seen it before.
    was_sent: bool,
}

/// What the worker knows about one record.
#[derive(Clone, Copy, Debug, Default)]
struct Task {
    attempt: Option<Attempt>,
    not_before: Micros,
    refused_since: Option<Micros>,
    is_done: bool,
}

/// One side's worker.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    tasks: BTreeMap<u64, Task>,
}

impl Lane {
    fn is_free(&self, seq: u64, now: Micros) -> bool {
        self.tasks
            .get(&seq)
            .is_none_or(|task| task.attempt.is_none() && task.not_before <= now && !task.is_done)
    }

    fn of(&mut self, number: u64) -> Option<(u64, &mut Task, Attempt)> {
        let mut tasks = self.tasks.iter_mut();
        tasks.find_map(|(seq, task)| {
            let attempt = task.attempt.filter(|attempt| attempt.number == number)?;
            Some((*seq, task, attempt))
        })
    }
}

impl World {
    /// Takes what a side owes, unless that side is out.
    pub(crate) fn work(&mut self, side: Side) {
        self.push(self.now + 40 * MS, Event::Work(side));
        let Some(proxy) = &mut self.proxy else { return };
        if proxy.view.out.contains(side) {
            return;
        }
        let (lane, now) = (&mut proxy.lanes[side], self.now);
        let free = self
            .queue
            .owed(side)
            .filter(|(seq, _)| lane.is_free(*seq, now));
        let free: Vec<_> = free.take(LEASES_MAX).collect();
        lane.tasks.retain(|seq, _| self.queue.owes(*seq, side));
        for (seq, record) in free {
            self.attempt(side, seq, record);
        }
    }

    fn attempt(&mut self, side: Side, seq: u64, record: Record) {
        let number = self.number();
        let blind = self.settings.breaks(Broken::SentReplayedBlindly);
        let (sent, again) = (record.sent.contains(side), record.again.contains(side));
        let (is_over, needs_mark, shift) = match record.mutation.kind {
            Kind::Count => (sent && !blind, true, 0),
            Kind::List(_) => (again, true, i64::from(sent)),
            Kind::Delete(_) | Kind::Put(_) => (false, false, 0),
        };
        let shift = if self.settings.breaks(Broken::ListsKeepTheirTimestamp) {
            0
        } else {
            shift
        };
        let mut mutation = record.mutation;
        if self.settings.breaks(Broken::ReplayRestamps) {
            mutation.at += 5_000_000;
        }
        let attempt = Attempt {
            number,
            mutation,
            shift,
            is_marked: needs_mark,
            was_sent: sent,
        };
        let Some(proxy) = &mut self.proxy else { return };
        let task = proxy.lanes[side].tasks.entry(seq).or_default();
        if is_over {
            task.is_done = true;
            self.say(|_| format!("{side} parks w{} as ambiguous", record.mutation.id));
            return self.queue.submit(Change::Park(seq, side));
        }
        task.attempt = Some(attempt);
        if needs_mark {
            self.queue
                .submit(Change::Sent(seq, side, Waiter::Attempt(number)));
        }
        if !needs_mark || self.settings.breaks(Broken::SendsBeforeTheMark) {
            self.launch(side, attempt);
        }
    }

    /// A mark that it is about to be sent is durable, or was refused.
    pub(crate) fn marked(&mut self, number: u64, ok: bool) {
        let Some(proxy) = &mut self.proxy else { return };
        let early = self.settings.breaks(Broken::SendsBeforeTheMark);
        for side in Side::ALL {
            let Some((_, task, attempt)) = proxy.lanes[side].of(number) else {
                continue;
            };
            if ok && !early {
                return self.launch(side, attempt);
            }
            if !ok {
                task.attempt = None;
                task.not_before = self.now + BACKOFF;
            }
            return;
        }
    }

    fn launch(&mut self, side: Side, attempt: Attempt) {
        let Attempt {
            number,
            mutation,
            shift,
            ..
        } = attempt;
        self.say(|_| format!("{side} is replayed w{} +{shift}", mutation.id));
        let invalid = mutation.invalid;
        let fate = self.faults.fate(&mut self.dice, side, self.now, invalid);
        if let Some(at) = fate.applied_at {
            self.push(at, Event::Apply(side, mutation, shift));
        }
        if let Some((at, verdict, report)) = fate.answer {
            self.push(
                at,
                Event::Answer(Ticket::Replay(number), side, verdict, report),
            );
        }
        self.push(self.now + REPLAY_TIMEOUT, Event::GiveUp(side, number));
    }

    /// What came of an attempt.
    pub(crate) fn attempted(&mut self, side: Side, number: u64, verdict: Verdict) {
        let Some(proxy) = &mut self.proxy else { return };
        let Some((seq, task, attempt)) = proxy.lanes[side].of(number) else {
            return;
        };
        task.attempt = None;
        task.not_before = self.now + BACKOFF;
        let surely_not = matches!(verdict, Verdict::Definite | Verdict::NotApplied);
        if surely_not && attempt.is_marked {
            // The mark is taken back: what was true before the attempt is true again.
            self.queue
                .submit(Change::Missed(seq, side, attempt.was_sent));
        }
        let change = match verdict {
            Verdict::Ok => Change::Applied(seq, side),
            Verdict::Maybe | Verdict::NotApplied => return,
            Verdict::Definite => {
                let since = *task.refused_since.get_or_insert(self.now);
                if self.now - since < DIVERGENCE_GRACE {
                    return;
                }
                Change::Park(seq, side)
            }
        };
        task.is_done = true;
        self.queue.submit(change);
    }
}
