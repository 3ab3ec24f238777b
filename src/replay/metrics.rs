//! What replay counts; read by whoever exports it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pair::{Pair, Side};

use super::Parked;

/// Counters of replay, for both sides.
#[derive(Debug, Default)]
pub struct Metrics {
    sides: Pair<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    kept: AtomicU64,
    refused: AtomicU64,
    applied: AtomicU64,
    retried: AtomicU64,
    parked: [AtomicU64; Parked::ALL.len()],
}

impl Metrics {
    /// A record that this side owes was stored.
    pub fn count_kept(&self, side: Side) {
        count(&self.sides[side].kept);
    }

    /// A record that this side would owe could not be stored.
    pub fn count_refused(&self, side: Side) {
        count(&self.sides[side].refused);
    }

    /// A debt was paid.
    pub fn count_applied(&self, side: Side) {
        count(&self.sides[side].applied);
    }

    /// A try failed and another will follow.
    pub fn count_retried(&self, side: Side) {
        count(&self.sides[side].retried);
    }

    /// A debt became a dead letter.
    pub fn count_parked(&self, side: Side, reason: Parked) {
        count(&self.sides[side].parked[place(reason)]);
    }

    /// Records stored that this side owed.
    #[must_use]
    pub fn kept(&self, side: Side) -> u64 {
        read(&self.sides[side].kept)
    }

    /// Records that could not be stored.
    #[must_use]
    pub fn refused(&self, side: Side) -> u64 {
        read(&self.sides[side].refused)
    }

    /// Debts paid.
    #[must_use]
    pub fn applied(&self, side: Side) -> u64 {
        read(&self.sides[side].applied)
    }

    /// Tries that failed.
    #[must_use]
    pub fn retried(&self, side: Side) -> u64 {
        read(&self.sides[side].retried)
    }

    /// Dead letters made for this reason.
    #[must_use]
    pub fn parked(&self, side: Side, reason: Parked) -> u64 {
        read(&self.sides[side].parked[place(reason)])
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

const fn place(reason: Parked) -> usize {
    match reason {
        Parked::Ambiguous => 0,
        Parked::Malformed => 1,
        Parked::Refused => 2,
        Parked::SchemaChanged => 3,
        Parked::TooManyAttempts => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let metrics = Metrics::default();
        for (at, reason) in Parked::ALL.into_iter().enumerate() {
            assert_eq!(place(reason), at);
            metrics.count_parked(Side::B, reason);
            assert_eq!(
                (
                    metrics.parked(Side::B, reason),
                    metrics.parked(Side::A, reason)
                ),
                (1, 0)
            );
        }
    }
}
