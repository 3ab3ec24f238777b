//! A read: one side, and the other when that one is sick.

use super::{Action, Actions, Input, Leg, Reply, gave_up};
use crate::pair::{Pair, Side, Sides};
use crate::policy::{ReadPlan, Verdict};

/// The machine. Also for what is asked of one side only: `then` is `None` for conditionals.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    plan: ReadPlan,
    legs: Pair<Leg>,
    over: bool,
}

impl Read {
    /// Starts a read.
    #[must_use]
    pub fn new(plan: ReadPlan) -> (Self, Actions) {
        let mut read = Self {
            plan,
            legs: Pair::new(Leg::Idle, Leg::Idle),
            over: false,
        };
        let mut actions = Actions::default();
        read.send(plan.first, &mut actions);
        (read, actions)
    }

    /// A read that the only side which could answer it is too sick for: answered at once.
    #[must_use]
    pub fn unsent(plan: ReadPlan) -> (Self, Actions) {
        let legs = Pair::new(Leg::Away, Leg::Away);
        let mut read = Self {
            plan,
            legs,
            over: false,
        };
        let mut actions = Actions::default();
        read.reply(Reply::Unsent, &mut actions);
        (read, actions)
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) -> Actions {
        let mut actions = Actions::default();
        if self.over {
            return actions;
        }
        match input {
            Input::Answered(side, verdict) if self.legs[side] == Leg::Waiting => {
                self.legs[side] = Leg::Done(verdict);
                self.proceed(side, verdict, &mut actions);
            }
            Input::Out { side, unsent } if self.legs[side] == Leg::Waiting => {
                let verdict = gave_up(unsent);
                self.legs[side] = Leg::Done(verdict);
                self.proceed(side, verdict, &mut actions);
            }
            Input::Out { side, .. } if self.legs[side] == Leg::Idle => {
                self.legs[side] = Leg::Away;
            }
            Input::Slow => self.ask_other(&mut actions),
            Input::Deadline { unsent } => {
                let never_sent = self.waiting().minus(unsent).is_empty();
                let reply = if never_sent {
                    Reply::Unsent
                } else {
                    Reply::Ambiguous
                };
                self.reply(reply, &mut actions);
            }
            Input::Answered(..) | Input::Kept(_) | Input::Out { .. } => {}
        }
        debug_assert!(
            self.over || !self.waiting().is_empty(),
            "a read that waits for nobody must be over: {self:?}"
        );
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

    /// The side that alone could answer it, if it was for one.
    #[must_use]
    pub fn only(&self) -> Option<Side> {
        self.plan.then.is_none().then_some(self.plan.first)
    }

    /// Whether the client has been answered.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    fn proceed(&mut self, side: Side, verdict: Verdict, actions: &mut Actions) {
        if !verdict.is_sick() {
            return self.reply(Reply::Of(side), actions);
        }
        self.ask_other(actions);
        if self.waiting().is_empty() {
            self.give_up(actions);
        }
    }

    fn ask_other(&mut self, actions: &mut Actions) {
        if let Some(other) = self.plan.then
            && self.legs[other] == Leg::Idle
        {
            self.send(other, actions);
        }
    }

    fn give_up(&mut self, actions: &mut Actions) {
        let maybe = Side::ALL
            .into_iter()
            .any(|side| self.legs[side] == Leg::Done(Verdict::Maybe));
        let reply = if maybe {
            Reply::Ambiguous
        } else {
            Reply::Unsent
        };
        self.reply(reply, actions);
    }

    fn send(&mut self, side: Side, actions: &mut Actions) {
        self.legs[side] = Leg::Waiting;
        actions.push(Action::Send(side));
    }

    fn reply(&mut self, reply: Reply, actions: &mut Actions) {
        self.over = true;
        actions.push(Action::Reply(reply));
    }
}
