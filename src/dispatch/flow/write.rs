//! A write over two sides: sent, counted, and recorded for the side that missed it.

use super::{Action, Actions, Input, Leg, Reply, gave_up};
use crate::pair::{Pair, Side, Sides};
use crate::policy::{Ack, OnQueueFailure, Verdict, WritePlan};

/// What the operator and the statement decide about one write.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many sides must have it.
    pub ack: Ack,
    /// What a refused record means.
    pub on_queue_failure: OnQueueFailure,
    /// Whether it can be sent again without harm.
    pub repeatable: bool,
    /// Whether a record can be kept of it at all; not of one that goes to a single cluster.
    pub recorded: bool,
    /// Whether it is known that whoever asks for it may: nobody has a role of its own, or a cluster took
    /// the like from this role of late. Records are replayed as the service account, so one of a write
    /// that nobody knows to be allowed must not be replayed (S22).
    pub allowed: bool,
}

/// Where a write is.
///
/// ```text
///  new --journal--> Journalling --Kept--> Sending --all answered, deadline--> Keeping --Kept--> Over
///    \------------------------------------^   \-----nothing owed, or journalled--+-------------^
///                                                                     deadline --> Hanging --Kept--^
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// A record is on its way to the disk; nothing was sent.
    Journalling,
    /// The client has been answered, and the disk has not: a record that it refuses is not lost.
    Hanging(Debt),
    /// The answer is decided and waits for the record of the side that missed it.
    Keeping(Reply, Debt),
    /// The client has been answered.
    Over,
    /// Sides are being waited for.
    Sending,
}

/// What a record says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Debt {
    owes: Sides,
    sent: Sides,
}

/// The machine.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    rules: Rules,
    /// Its `first` is forgotten once that side has had its share of the time.
    plan: WritePlan,
    stage: Stage,
    legs: Pair<Leg>,
    /// A durable record exists, with the sides of `plan.send` live and those of `plan.away` owed;
    /// the queue gives out no debt of it while a side is live, for it may still be voided.
    recorded: bool,
    /// That record says of itself that it must not be replayed.
    recorded_forbidden: bool,
}

impl Write {
    /// Starts a write. `accepts` says whether the queue takes records right now.
    #[must_use]
    pub fn new(plan: WritePlan, rules: Rules, accepts: bool) -> (Self, Actions) {
        let leg = |side| {
            if plan.send.contains(side) {
                Leg::Idle
            } else {
                Leg::Away
            }
        };
        let stage = Stage::Sending;
        let mut write = Self {
            rules,
            plan,
            stage,
            legs: Pair::from_fn(leg),
            recorded: false,
            recorded_forbidden: false,
        };
        let mut actions = Actions::default();
        let must_record = rules.recorded && (plan.journal || !plan.away.is_empty());
        let strict = rules.on_queue_failure == OnQueueFailure::FailWrite;
        if must_record && strict && !accepts {
            write.reply(Reply::QueueRefused, &mut actions);
        } else if rules.recorded && plan.journal {
            write.stage = Stage::Journalling;
            write.recorded_forbidden = write.is_forbidden();
            actions.push(Action::Keep {
                owes: plan.away,
                live: plan.send,
                sent: plan.send,
            });
        } else {
            write.send(&mut actions);
        }
        write.check();
        (write, actions)
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) -> Actions {
        let mut actions = Actions::default();
        match (self.stage, input) {
            (Stage::Journalling, Input::Kept(ok)) => self.journalled(ok, &mut actions),
            (Stage::Journalling, Input::Deadline { .. }) => {
                actions.push(Action::Void);
                // Its record may become durable before it is withdrawn: a crash between the two replays it.
                let reply = match self.rules.repeatable {
                    true => Reply::Unsent,
                    false => Reply::Ambiguous,
                };
                self.reply(reply, &mut actions);
            }
            (Stage::Sending, Input::Answered(side, verdict)) => {
                self.settle(side, verdict);
                self.proceed(&mut actions);
            }
            (Stage::Sending, Input::Deadline { unsent }) => {
                for side in self.waiting().iter() {
                    self.settle(side, gave_up(unsent.contains(side)));
                }
                self.retire_idle();
                self.proceed(&mut actions);
            }
            (Stage::Sending, Input::Out { side, unsent }) if self.legs[side] == Leg::Waiting => {
                self.settle(side, gave_up(unsent));
                self.proceed(&mut actions);
            }
            (Stage::Journalling | Stage::Sending, Input::Slow) => {
                self.plan.first = None;
                if self.stage == Stage::Sending {
                    self.send(&mut actions);
                }
            }
            (Stage::Journalling | Stage::Sending, Input::Out { side, .. })
                if self.legs[side] == Leg::Idle =>
            {
                self.legs[side] = Leg::Done(Verdict::NotApplied);
            }
            (Stage::Keeping(reply, debt), Input::Kept(ok)) => {
                self.kept(reply, debt, ok, &mut actions);
            }
            // The disk hangs: the record may become durable yet, but nobody can vouch for it.
            (Stage::Keeping(reply, debt), Input::Deadline { .. }) => {
                self.reply_unvouched(reply, &mut actions);
                self.stage = Stage::Hanging(debt);
            }
            (Stage::Hanging(debt), Input::Kept(ok)) => {
                self.stage = Stage::Over;
                self.last_kept(debt, ok, &mut actions);
            }
            (
                Stage::Hanging(_)
                | Stage::Journalling
                | Stage::Keeping(..)
                | Stage::Over
                | Stage::Sending,
                Input::Answered(..)
                | Input::Deadline { .. }
                | Input::Kept(_)
                | Input::Out { .. }
                | Input::Slow,
            ) => {}
        }
        self.check();
        actions
    }

    /// Sides whose answer is waited for.
    #[must_use]
    pub fn waiting(&self) -> Sides {
        Side::ALL
            .into_iter()
            .filter(|side| self.legs[*side] == Leg::Waiting)
            .collect()
    }

    /// Whether the client has been answered and nothing is left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether the answer waits for the queue and not for a side.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        matches!(self.stage, Stage::Journalling | Stage::Keeping(..))
    }

    /// Sides that owe it, where the queue has not said anything of the record.
    #[must_use]
    pub const fn unvouched(&self) -> Sides {
        match self.stage {
            Stage::Hanging(debt) | Stage::Keeping(_, debt) => debt.owes,
            Stage::Journalling | Stage::Over | Stage::Sending => Sides::NONE,
        }
    }

    /// Whether the client has been answered and the queue has not said anything of the record.
    #[must_use]
    pub const fn is_hanging(&self) -> bool {
        matches!(self.stage, Stage::Hanging(_))
    }

    /// Whether the queue took a record before anything was sent.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Whether this side was never to be sent to.
    #[must_use]
    pub fn is_away(&self, side: Side) -> bool {
        self.legs[side] == Leg::Away
    }

    /// Whether this side has said that it has the write.
    #[must_use]
    pub fn has(&self, side: Side) -> bool {
        self.legs[side] == Leg::Done(Verdict::Ok)
    }

    /// A cluster says that whoever asks for it may not: what was known before counts no more.
    pub const fn forbid(&mut self) {
        self.rules.allowed = false;
    }

    /// Whether nobody knows that it is allowed, so that a record of it must not be replayed. A cluster that
    /// took it knows.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        !self.rules.allowed && self.with(Verdict::Ok).is_empty()
    }

    fn journalled(&mut self, ok: bool, actions: &mut Actions) {
        self.recorded = ok;
        if ok || self.rules.on_queue_failure == OnQueueFailure::AckAnyway {
            self.send(actions);
        } else {
            self.reply(Reply::QueueRefused, actions);
        }
    }

    fn send(&mut self, actions: &mut Actions) {
        self.stage = Stage::Sending;
        for side in self.plan.first.map_or(self.plan.send, Sides::only).iter() {
            if self.legs[side] == Leg::Idle {
                self.legs[side] = Leg::Waiting;
                actions.push(Action::Send(side));
            }
        }
        self.proceed(actions);
    }

    fn settle(&mut self, side: Side, verdict: Verdict) {
        if self.legs[side] == Leg::Waiting {
            self.legs[side] = Leg::Done(verdict);
        }
    }

    /// What is still to be sent when all time is over never will be.
    fn retire_idle(&mut self) {
        for side in Side::ALL {
            if self.legs[side] == Leg::Idle {
                self.legs[side] = Leg::Done(Verdict::NotApplied);
            }
        }
    }

    fn proceed(&mut self, actions: &mut Actions) {
        if !self.waiting().is_empty() {
            return;
        }
        match Side::ALL
            .into_iter()
            .find(|side| self.legs[*side] == Leg::Idle)
        {
            Some(next) => {
                self.legs[next] = Leg::Waiting;
                actions.push(Action::Send(next));
            }
            None => self.conclude(actions),
        }
    }

    /// The outcome rule (DESIGN: outcome of a write; S13, S15).
    fn conclude(&mut self, actions: &mut Actions) {
        let ok = self.with(Verdict::Ok);
        let maybe = self.with(Verdict::Maybe);
        let owed = self.plan.send.union(self.plan.away).minus(ok);
        if ok.is_empty() && maybe.is_empty() {
            return self.refused(actions);
        }
        let reply = match self.rules.ack {
            Ack::Any if !ok.is_empty() => Reply::Of(self.voice(ok)),
            Ack::All if owed.is_empty() => Reply::Of(self.voice(ok)),
            Ack::All | Ack::Any => Reply::Ambiguous,
        };
        // Nobody knows what a not-repeatable write did: its other side may not run it either.
        let blind = ok.is_empty() && !self.rules.repeatable;
        let sent = if blind { owed } else { maybe };
        // What a record says of rights cannot be changed in it: another takes its place.
        let stands = owed.is_empty() || self.recorded_forbidden == self.is_forbidden();
        if self.recorded && stands {
            self.tell_record(owed, sent, actions);
        } else if !owed.is_empty() && self.rules.recorded {
            let owes = owed;
            self.stage = Stage::Keeping(reply, Debt { owes, sent });
            return actions.push(Action::Keep {
                owes: owed,
                live: Sides::NONE,
                sent,
            });
        }
        self.reply(reply, actions);
    }

    /// Nothing was applied anywhere: of a refusal for good and a failure the failure is told, since the
    /// client may try again and then hear the truth (S15).
    fn refused(&mut self, actions: &mut Actions) {
        if self.recorded {
            actions.push(Action::Void);
        }
        let definite = self.with(Verdict::Definite);
        let failed = self.with(Verdict::NotApplied);
        let reply = match (definite.is_empty(), failed.is_empty()) {
            (true, _) => Reply::Unsent,
            (false, true) => Reply::Of(self.voice(definite)),
            (false, false) => Reply::Of(self.voice(failed)),
        };
        self.reply(reply, actions);
    }

    fn tell_record(&self, owed: Sides, sent: Sides, actions: &mut Actions) {
        for side in self.plan.send.iter() {
            actions.push(match owed.contains(side) {
                true => Action::Missed(side, sent.contains(side)),
                false => Action::Landed(side),
            });
        }
        for side in self.plan.away.iter().filter(|side| sent.contains(*side)) {
            actions.push(Action::Missed(side, true));
        }
    }

    fn kept(&mut self, reply: Reply, debt: Debt, ok: bool, actions: &mut Actions) {
        self.last_kept(debt, ok, actions);
        if ok {
            return self.reply(reply, actions);
        }
        self.reply_unvouched(reply, actions);
    }

    /// The queue has failed a write that is decided.
    fn reply_unvouched(&mut self, reply: Reply, actions: &mut Actions) {
        let reply = match self.rules.on_queue_failure {
            OnQueueFailure::AckAnyway => reply,
            OnQueueFailure::FailWrite => Reply::Ambiguous,
        };
        self.reply(reply, actions);
    }

    /// The queue took the last record, or refused it. If it was to take another's place, that one goes;
    /// one that is not replayed stays for operators until its heir is durable.
    fn last_kept(&self, debt: Debt, ok: bool, actions: &mut Actions) {
        let Debt { owes, sent } = debt;
        match (self.recorded, ok || !self.recorded_forbidden) {
            (true, true) => actions.push(Action::Void),
            (true, false) => self.tell_record(owes, sent, actions),
            (false, _) => {}
        }
        if !ok {
            actions.push(Action::KeepTrying { owes, sent });
        }
    }

    fn reply(&mut self, reply: Reply, actions: &mut Actions) {
        self.stage = Stage::Over;
        actions.push(Action::Reply(reply));
    }

    fn with(&self, verdict: Verdict) -> Sides {
        Side::ALL
            .into_iter()
            .filter(|side| self.legs[*side] == Leg::Done(verdict))
            .collect()
    }

    /// Which of these sides speaks: the one that reads prefer, if it can.
    fn voice(&self, among: Sides) -> Side {
        let preferred = self.plan.preferred;
        if among.contains(preferred) {
            preferred
        } else {
            !preferred
        }
    }

    fn check(&self) {
        debug_assert!(
            self.stage != Stage::Sending || !self.waiting().is_empty(),
            "a write that waits for nobody must be over: {self:?}"
        );
        debug_assert!(
            self.plan
                .away
                .iter()
                .all(|side| self.legs[side] == Leg::Away),
            "a side that is away is never sent to: {self:?}"
        );
    }
}
