//! Text that nobody knows: home decides, and if it accepts, the other side gets it as well.

use super::{Action, Actions, Input, Reply};
use crate::pair::{Side, Sides};
use crate::policy::Verdict;

/// The machine. Nothing is recorded and nothing is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    home: Side,
    then: Option<Side>,
    waiting: Sides,
    accepted: bool,
    over: bool,
}

impl Chain {
    /// Starts at home; `then` is `None` with a single cluster.
    #[must_use]
    pub fn new(home: Side, then: Option<Side>) -> (Self, Actions) {
        let waiting = Sides::only(home);
        let mut actions = Actions::default();
        actions.push(Action::Send(home));
        (
            Self {
                home,
                then,
                waiting,
                accepted: false,
                over: false,
            },
            actions,
        )
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input) -> Actions {
        let mut actions = Actions::default();
        match input {
            _ if self.over => {}
            Input::Answered(side, verdict) if self.waiting.contains(side) => {
                self.answered(verdict, &mut actions);
            }
            Input::Out { side, unsent } if self.waiting.contains(side) => {
                let verdict = if unsent {
                    Verdict::NotApplied
                } else {
                    Verdict::Maybe
                };
                self.answered(verdict, &mut actions);
            }
            Input::Deadline { unsent } => {
                let verdict = match self.waiting.minus(unsent).is_empty() {
                    true => Verdict::NotApplied,
                    false => Verdict::Maybe,
                };
                self.then = None;
                self.answered(verdict, &mut actions);
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

    fn answered(&mut self, verdict: Verdict, actions: &mut Actions) {
        self.waiting = Sides::NONE;
        if verdict == Verdict::Ok && !self.accepted {
            self.accepted = true;
            if let Some(other) = self.then {
                self.waiting = Sides::only(other);
                return actions.push(Action::Send(other));
            }
        }
        self.over = true;
        actions.push(Action::Reply(match verdict {
            _ if self.accepted => Reply::Of(self.home),
            Verdict::Ok | Verdict::Definite => Reply::Of(self.home),
            Verdict::Maybe => Reply::Ambiguous,
            Verdict::NotApplied => Reply::Unsent,
        }));
    }
}
