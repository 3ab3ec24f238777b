//! What is looked at when somebody asks, instead of being counted.

use std::time::Duration;

use crate::pair::Pair;

/// A look at the queue, the breakers and the registry of prepared statements, taken at a scrape.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Records owed by each side.
    pub owed: Pair<u64>,
    /// Age of the oldest of them.
    pub oldest_age: Pair<Option<Duration>>,
    /// Dead letters.
    pub dead_letters: u64,
    /// Bytes held by the queue.
    pub queue_bytes: u64,
    /// The breaker of each side.
    pub breaker: Pair<BreakerState>,
    /// Statements in the registry of prepared statements.
    pub prepared_statements: u64,
}

/// A breaker as a metric: 0 closed, 1 half-open, 2 open.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BreakerState {
    /// Requests go there.
    #[default]
    Closed,
    /// A probe is under way.
    HalfOpen,
    /// Requests do not go there.
    Open,
}

impl BreakerState {
    /// The metric's value.
    #[must_use]
    pub const fn gauge(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}
