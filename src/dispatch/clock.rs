//! The one clock that client timestamps come from: strictly increasing, never stepping back.

use std::sync::atomic::{AtomicI64, Ordering};

/// Microseconds between two timestamps: each one leaves T+1 free for the replay of a whole-list
/// assignment (S2).
const STEP: i64 = 2;

/// Shared by all threads; one atomic.
#[derive(Debug)]
pub struct Clock {
    last: AtomicI64,
    /// Reserved on disk up to here (S25).
    ceiling: AtomicI64,
    /// The wall clock is not followed to here or beyond: the ceiling, while it can be raised.
    bound: AtomicI64,
}

impl Clock {
    /// A clock whose first timestamp lies above `floor`: what an earlier process may have used.
    #[must_use]
    pub const fn new(floor: i64) -> Self {
        Self {
            last: AtomicI64::new(floor),
            ceiling: AtomicI64::new(i64::MAX),
            bound: AtomicI64::new(i64::MAX),
        }
    }

    /// The next timestamp, microseconds since 1970. `wall` is the wall clock, which may be stale, step back or
    /// leap; the answer does not step back, and leaps only once that is reserved.
    #[inline]
    pub fn next(&self, wall: i64) -> i64 {
        let wall = wall.min(self.bound.load(Ordering::Relaxed) - 1);
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = wall.max(last.saturating_add(STEP));
            match self
                .last
                .compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return next,
                Err(newer) => last = newer,
            }
        }
    }

    /// The newest timestamp given out.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Says up to where timestamps are reserved on disk.
    pub fn reserve(&self, ceiling: i64) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
        self.bound.store(ceiling, Ordering::Relaxed);
    }

    /// Nothing can be reserved for now: the wall clock is followed all the same, since timestamps that lag
    /// would lose to those of others.
    pub fn release(&self) {
        self.bound.store(i64::MAX, Ordering::Relaxed);
    }

    /// Nothing is reserved yet.
    pub fn begin(&self) {
        self.ceiling.store(self.last(), Ordering::Relaxed);
    }

    /// Whether this timestamp lies below the reserved ceiling.
    #[must_use]
    #[inline]
    pub fn is_reserved(&self, timestamp: i64) -> bool {
        timestamp < self.ceiling.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_steps_back_and_leaves_room_for_a_shifted_replay() {
        let clock = Clock::new(1_000);
        let mut last = 1_000;
        for wall in [5, 2_000, 2_000, 1_500, 0, 2_001, i64::MIN] {
            let next = clock.next(wall);
            assert!(last + 1 < next || last < wall, "{last} then {next}");
            assert!(last < next);
            last = next;
        }
    }

    #[test]
    fn a_leap_of_the_wall_clock_is_followed_once_it_is_reserved() {
        let (clock, hour) = (Clock::new(0), 3_600_000_000);
        clock.begin();
        assert!(!clock.is_reserved(clock.next(1_000)));
        clock.reserve(2_000);
        assert_eq!(clock.next(1_500), 1_500);
        let before = clock.next(1_500 + hour);
        assert!(1_500 < before && clock.is_reserved(before));
        clock.reserve(hour + 1_000_000);
        assert_eq!(clock.next(1_500 + hour), 1_500 + hour);
    }

    #[test]
    fn while_nothing_can_be_reserved_the_wall_clock_is_followed_and_that_shows() {
        let clock = Clock::new(0);
        clock.reserve(2_000);
        clock.release();
        let later = clock.next(5_000);
        assert!(later == 5_000 && !clock.is_reserved(later));
    }
}
