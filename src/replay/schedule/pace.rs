//! How many records a second one side is given.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A second's records are taken in so many steps or more, so that none of them is a burst.
const STEPS: usize = 10;

/// What a late step may make up for: timers are coarser than the pace of a fast cluster.
const LAG: Duration = Duration::from_millis(10);

/// Paces the leases, as what is leased is sent as soon as it may be.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<NonZeroU32>,
    /// What was taken so far is worth the time until then.
    used_until: Option<Instant>,
}

impl Pace {
    /// So many records a second; as fast as they go without a rate.
    pub(super) const fn new(rate: Option<NonZeroU32>) -> Self {
        Self {
            rate,
            used_until: None,
        }
    }

    /// How many to take at a time, of at most so many.
    pub(super) fn step(&self, most: usize) -> usize {
        let Some(rate) = self.rate else { return most };
        let rate = usize::try_from(rate.get()).unwrap_or(usize::MAX);
        most.min((rate / STEPS).max(1))
    }

    /// So many were taken: when the next may be, if not at once.
    pub(super) fn handle_taken(&mut self, count: usize, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let worth = Duration::from_secs_f64(count as f64 / f64::from(rate.get()));
        let earliest = now.checked_sub(LAG).unwrap_or(now);
        let from = self.used_until.map_or(now, |until| until.max(earliest));
        let until = from + worth;
        self.used_until = Some(until);
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until so many were taken, by timers that are late by `late` each time.
    fn taken(rate: u32, count: usize, late: Duration) -> f64 {
        let mut pace = Pace::new(NonZeroU32::new(rate));
        let start = Instant::now();
        let (mut now, mut left) = (start, count);
        while 0 < left {
            let step = pace.step(100).min(left);
            left -= step;
            if let Some(at) = pace.handle_taken(step, now) {
                now = at + late;
            }
        }
        (now - start).as_secs_f64()
    }

    #[test]
    fn so_many_a_second_and_no_more() {
        let near = |found: f64, wanted: f64| (found - wanted).abs() < wanted * 0.02;
        assert!(near(taken(1, 5, Duration::ZERO), 5.0));
        assert!(near(taken(250, 1_000, Duration::ZERO), 4.0));
        let late = Duration::from_millis(1);
        assert!(near(taken(50_000, 100_000, late), 2.0), "timers are coarse");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut pace = Pace::new(NonZeroU32::new(10));
        let start = Instant::now();
        assert_eq!(pace.step(100), 1);
        pace.handle_taken(1, start);
        let later = start + Duration::from_secs(60);
        let next = pace.handle_taken(1, later).unwrap();
        assert_eq!(next - later, Duration::from_millis(90));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.step(100), 100);
        assert_eq!(pace.handle_taken(100, Instant::now()), None);
    }
}
