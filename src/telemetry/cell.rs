//! What is counted: numbers and durations in atomics that need no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number with one writing thread (`add`, `sub`) or with many (`add_shared`); never both.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// One more, by the only writer: a load and a store instead of a locked add.
    pub(super) fn add(&self, more: u64) {
        self.0
            .store(self.read().wrapping_add(more), Ordering::Relaxed);
    }

    /// Less, by the only writer, for numbers that go up and down.
    pub(super) fn sub(&self, less: u64) {
        self.0
            .store(self.read().wrapping_sub(less), Ordering::Relaxed);
    }

    /// One more, by any of several writers.
    pub(super) fn add_shared(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number as it is now.
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets in nanoseconds. Each is at least twice the one before: see [`bucket`].
pub(super) const BOUNDS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Durations by bucket; the last bucket takes what is above all bounds.
#[derive(Debug, Default)]
pub(super) struct Durations {
    buckets: [Count; BOUNDS.len() + 1],
    nanos: Count,
}

impl Durations {
    /// One more, by the only writer.
    pub(super) fn add(&self, elapsed: Duration) {
        let nanos = nanos(elapsed);
        self.buckets[bucket(nanos)].add(1);
        self.nanos.add(nanos);
    }

    /// One more, by any of several writers.
    pub(super) fn add_shared(&self, elapsed: Duration) {
        let nanos = nanos(elapsed);
        self.buckets[bucket(nanos)].add_shared(1);
        self.nanos.add_shared(nanos);
    }
}

/// The sum of several [`Durations`].
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// How many fell into each bucket, not cumulated.
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    /// All of them together, in nanoseconds.
    pub(super) nanos: u64,
}

impl Spread {
    /// The same with these in it.
    pub(super) fn with(mut self, more: &Durations) -> Self {
        for (sum, count) in self.buckets.iter_mut().zip(&more.buckets) {
            *sum = sum.wrapping_add(count.read());
        }
        self.nanos = self.nanos.wrapping_add(more.nanos.read());
        self
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn nanos(elapsed: Duration) -> u64 {
    elapsed
        .as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(elapsed.subsec_nanos()))
}

/// The first bucket whose bound is not below `nanos`. Between two powers of two lies at most one
/// bound, so the bit length leaves two buckets and one comparison decides.
fn bucket(nanos: u64) -> usize {
    let first = FIRST_BY_BITS[(u64::BITS - nanos.leading_zeros()) as usize];
    match BOUNDS.get(first) {
        Some(bound) if *bound < nanos => first + 1,
        Some(_) | None => first,
    }
}

/// By bit length of a value: the first bucket that values of this length can fall into.
const FIRST_BY_BITS: [usize; 65] = first_by_bits();

const fn first_by_bits() -> [usize; 65] {
    let mut first = [0; 65];
    let mut bits = 1;
    while bits < first.len() {
        let least = 1 << (bits - 1);
        while first[bits] < BOUNDS.len() && BOUNDS[first[bits]] < least {
            first[bits] += 1;
        }
        bits += 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let by_loop = |nanos| BOUNDS.iter().filter(|bound| **bound < nanos).count();
        let edges = BOUNDS
            .iter()
            .flat_map(|bound| [bound - 1, *bound, bound + 1]);
        let powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]);
        for nanos in edges.chain(powers).chain([u64::MAX]) {
            assert_eq!(bucket(nanos), by_loop(nanos), "{nanos} ns");
        }
    }

    #[test]
    fn each_bound_is_at_least_twice_the_one_before() {
        assert!(BOUNDS.windows(2).all(|pair| 2 * pair[0] <= pair[1]));
    }

    #[test]
    fn a_sum_over_two_writers_holds_both() {
        let (one, other) = (Durations::default(), Durations::default());
        one.add(Duration::from_millis(1));
        other.add_shared(Duration::from_secs(60));

        let sum = Spread::default().with(&one).with(&other);
        assert_eq!(sum.count(), 2);
        assert_eq!(sum.nanos, 60_001_000_000);
        assert_eq!((sum.buckets[3], sum.buckets[16]), (1, 1));
    }
}
