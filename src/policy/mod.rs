//! Where a request should go and what a failure means; no I/O.
//!
//! [`Health`] is the machine: strikes and probe results in, a [`View`] out. The view is a small
//! value that every data-plane thread holds; [`Policy`] turns it into a plan for one request.

mod config;
pub mod failover;
mod health;

use crate::pair::{Side, Sides};

pub use config::{
    Ack, Conditional, Config, Failover, Journal, OnQueueFailure, Preferred, ReadStrategy, Reads,
    WriteStrategy, Writes,
};
pub use failover::circuit_breaker::State;
pub use health::{Health, Report};

/// What the data plane knows about both clusters' health. Replaced as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct View {
    /// Sides that get no live traffic: their breaker is open. Never both (S17).
    pub out: Sides,
    /// Sides that are not healthy; both at once is possible, and then neither is out.
    pub sick: Sides,
    /// Sides of which every good answer is news: sick answers count against them, or no side is healthy.
    pub doubted: Sides,
    /// Where sticky reads go.
    pub preferred: Side,
}

impl View {
    /// Whether all sides are sick, so that each is tried (S17).
    #[must_use]
    pub const fn is_desperate(&self) -> bool {
        self.out.is_empty() && !self.sick.is_empty()
    }
}

/// Where a read goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadPlan {
    /// Asked first.
    pub first: Side,
    /// Asked when the first is sick; `None` where there is no other.
    pub then: Option<Side>,
    /// The side that would have been asked, had it not been behind.
    pub avoided: Option<Side>,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WritePlan {
    /// Sides it is sent to.
    pub send: Sides,
    /// Sides it is not sent to although they must have it: they owe it from the start.
    pub away: Sides,
    /// Whether its record must be durable before it is sent.
    pub journal: bool,
    /// With [`WriteStrategy::Sync`], who is first.
    pub first: Option<Side>,
    /// Whose answer the client gets when both have it.
    pub preferred: Side,
}

/// The operator's decisions, applied to one request at a time.
#[derive(Clone, Debug)]
pub struct Policy {
    config: Config,
    sides: Sides,
}

impl Policy {
    /// Decides over these sides: both, or one in single-cluster mode.
    #[must_use]
    pub const fn new(config: Config, sides: Sides) -> Self {
        Self { config, sides }
    }

    /// What was configured.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The sides that exist.
    #[must_use]
    pub const fn sides(&self) -> Sides {
        self.sides
    }

    /// The cluster that decides where one must.
    #[must_use]
    pub const fn home(&self) -> Side {
        self.config.conditional.home
    }

    /// Whether a side must have every write, or only one exists.
    #[must_use]
    pub fn is_dual(&self) -> bool {
        self.sides == Sides::BOTH
    }

    /// Where a read goes. `is_behind` says whether a side owes records (S20): it is chosen among
    /// the healthy sides, and where both are behind the strategy decides.
    #[inline]
    pub fn read(&self, view: View, is_behind: impl Fn(Side) -> bool) -> ReadPlan {
        let (first, then) = self.healthy(view, view.preferred);
        let Some(other) = then else {
            return ReadPlan {
                first,
                then,
                avoided: None,
            };
        };
        let prefers_other = self.config.reads.prefer_fresh && is_behind(first) && !is_behind(other);
        if prefers_other {
            return ReadPlan {
                first: other,
                then: Some(first),
                avoided: Some(first),
            };
        }
        ReadPlan {
            first,
            then,
            avoided: None,
        }
    }

    /// Home if it is up, else the other: for other system reads and PREPARE of what is not a read.
    #[must_use]
    pub fn at_home(&self, view: View) -> ReadPlan {
        let (first, then) = self.healthy(view, self.home());
        ReadPlan {
            first,
            then,
            avoided: None,
        }
    }

    fn healthy(&self, view: View, wanted: Side) -> (Side, Option<Side>) {
        let wanted = if self.sides.contains(wanted) {
            wanted
        } else {
            !wanted
        };
        if !self.is_dual() {
            return (wanted, None);
        }
        let first = if view.out.contains(wanted) {
            !wanted
        } else {
            wanted
        };
        // A side that is out is not waited for, not even as the last resort: it may be silent.
        (first, Some(!first).filter(|then| !view.out.contains(*then)))
    }

    /// Where a write goes.
    #[must_use]
    #[inline]
    pub fn write(&self, view: View) -> WritePlan {
        let away = if self.is_dual() {
            view.out
        } else {
            Sides::NONE
        };
        let send = self.sides.minus(away);
        let journal = self.is_dual()
            && match self.config.writes.journal {
                Journal::Always => true,
                Journal::Degraded => !away.union(view.sick).is_empty(),
                Journal::Off => false,
            };
        let first = match self.config.writes.strategy {
            WriteStrategy::Sync { first } if send == Sides::BOTH => Some(first),
            WriteStrategy::Sync { .. } | WriteStrategy::Concurrent => None,
        };
        let preferred = self.healthy(view, view.preferred).0;
        WritePlan {
            send,
            away,
            journal,
            first,
            preferred,
        }
    }
}

/// What one side's answer, or its absence, means for a write or a read (S13 to S16).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It was refused for a reason that does not go away: as it is, no failover, no strike.
    Definite,
    /// Sick, and it may have been applied.
    Maybe,
    /// Sick, but surely not applied.
    NotApplied,
    /// Done.
    Ok,
}

impl Verdict {
    /// Whether the other side should be asked, or a record kept.
    #[must_use]
    pub const fn is_sick(self) -> bool {
        match self {
            Self::Maybe | Self::NotApplied => true,
            Self::Definite | Self::Ok => false,
        }
    }
}

#[cfg(test)]
mod tests;
