//! Text that nobody knows: home decides, and if it accepts, the other side gets it as well. What
//! only home took is an error: nothing is recorded that could make them equal. It is told as
//! ambiguous, also where the other side refused it for good: home has done it (S15).

use super::{Action, Actions, Input, Reply, gave_up};
use crate::pair::{Side, Sides};
use crate::policy::Verdict;

/// The machine. Nothing is recorded and nothing is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    home: Side,
    then: Option<Side>,
    /// The breaker of `then` opened before it was its turn.
    then_is_out: bool,
    waiting: Sides,
    accepted: bool,
    over: bool,
}

impl Chain {
    /// Starts at home; `then` is `None` with a single cluster. With a side out it does not start:
    /// the sides would be apart.
    #[must_use]
    pub fn new(home: Side, then: Option<Side>, out: Sides) -> (Self, Actions) {
        let mut chain = Self {
            home,
            then,
            then_is_out: false,
            waiting: Sides::only(home),
            accepted: false,
            over: false,
        };
        let mut actions = Actions::default();
        if then.is_some() && !out.is_empty() {
            chain.waiting = Sides::NONE;
            chain.reply(Reply::Unsent, &mut actions);
        } else {
            actions.push(Action::Send(home));
        }
        (chain, actions)
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) -> Actions {
        let mut actions = Actions::default();
        match input {
            _ if self.over => {}
            Input::Answered(side, verdict) if self.waiting.contains(side) => {
                self.answered(side, verdict, &mut actions);
            }
            Input::Out { side, unsent } if self.waiting.contains(side) => {
                self.answered(side, gave_up(unsent), &mut actions);
            }
            Input::Out { side, .. } if self.then == Some(side) => self.then_is_out = true,
            Input::Deadline { unsent } => {
                let waited = self.waiting;
                for side in waited.iter() {
                    self.answered(side, gave_up(unsent.contains(side)), &mut actions);
                }
            }
            Input::Answered(..) | Input::Kept(_) | Input::Out { .. } | Input::Slow => {}
        }
        actions
    }

    /// Sides whose answer is waited for.
    #[must_use]
    pub const fn waiting(&self) -> Sides {
        self.waiting
    }

    /// Whether the client has been answered.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    fn answered(&mut self, side: Side, verdict: Verdict, actions: &mut Actions) {
        self.waiting = Sides::NONE;
        match (verdict, self.then.take()) {
            (Verdict::Ok, Some(_)) if self.then_is_out => self.reply(Reply::Ambiguous, actions),
            (Verdict::Ok, Some(other)) => {
                self.accepted = true;
                self.waiting = Sides::only(other);
                actions.push(Action::Send(other));
            }
            (Verdict::Ok, None) => self.reply(Reply::Of(self.home), actions),
            (Verdict::Definite, _) if !self.accepted => self.reply(Reply::Of(side), actions),
            (Verdict::NotApplied, _) if !self.accepted => self.reply(Reply::Unsent, actions),
            (Verdict::Definite | Verdict::Maybe | Verdict::NotApplied, _) => {
                self.reply(Reply::Ambiguous, actions);
            }
        }
    }

    fn reply(&mut self, reply: Reply, actions: &mut Actions) {
        self.over = true;
        actions.push(Action::Reply(reply));
    }
}
