//! How often the log repeats itself: a bounded limiter by cause, without a clock of its own.

use std::time::{Duration, Instant};

/// Causes told apart; those beyond share one place.
const CAUSES_MAX: usize = 64;

/// Lets one line a cause and interval through and counts the others.
///
/// ```text
/// if let Some(suppressed) = throttle.admit("dial", now) {
///     warn!(suppressed, %error, "cannot reach the cluster");
/// }
/// ```
#[derive(Debug)]
pub struct Throttle<C = &'static str> {
    every: Duration,
    places: Vec<Place<C>>,
    overflow: Place<()>,
}

#[derive(Debug)]
struct Place<C> {
    cause: C,
    admitted: Option<Instant>,
    suppressed: u64,
}

impl<C: Eq> Throttle<C> {
    /// At most one line each `every` for one cause.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            places: Vec::new(),
            overflow: Place::new(()),
        }
    }

    /// Whether a line may be written now: if so, how many were suppressed since the last one.
    pub fn admit(&mut self, cause: C, now: Instant) -> Option<u64> {
        let known = self.places.iter().position(|place| place.cause == cause);
        if let Some(at) = known {
            return self.places[at].admit(self.every, now);
        }
        if self.places.len() < CAUSES_MAX {
            self.places.push(Place::new(cause));
            return self.places.last_mut()?.admit(self.every, now);
        }
        self.overflow.admit(self.every, now)
    }
}

impl<C> Place<C> {
    const fn new(cause: C) -> Self {
        Self {
            cause,
            admitted: None,
            suppressed: 0,
        }
    }

    fn admit(&mut self, every: Duration, now: Instant) -> Option<u64> {
        let rested = |at: Instant| every <= now.saturating_duration_since(at);
        if !self.admitted.is_none_or(rested) {
            self.suppressed += 1;
            return None;
        }
        self.admitted = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_line_of_a_cause_is_written_and_the_next_ones_are_counted() {
        let (mut throttle, start) = (Throttle::new(SECOND), Instant::now());

        assert_eq!(throttle.admit("dial", start), Some(0));
        assert_eq!(throttle.admit("dial", start + SECOND / 2), None);
        assert_eq!(throttle.admit("dial", start + SECOND / 2), None);
        assert_eq!(throttle.admit("dial", start + SECOND), Some(2));
        assert_eq!(throttle.admit("dial", start + SECOND), None);
    }

    #[test]
    fn one_cause_does_not_silence_another() {
        let (mut throttle, now) = (Throttle::new(SECOND), Instant::now());

        assert_eq!(throttle.admit("dial", now), Some(0));
        assert_eq!(throttle.admit("queue", now), Some(0));
    }

    #[test]
    fn causes_beyond_the_bound_share_one_place() {
        let (mut throttle, now) = (Throttle::new(SECOND), Instant::now());
        for cause in 0..CAUSES_MAX {
            assert_eq!(throttle.admit(cause, now), Some(0));
        }

        assert_eq!(throttle.admit(CAUSES_MAX, now), Some(0));
        assert_eq!(throttle.admit(CAUSES_MAX + 1, now), None);
        assert_eq!(throttle.admit(CAUSES_MAX + 2, now + SECOND), Some(1));
        assert_eq!(throttle.places.len(), CAUSES_MAX);
    }

    #[test]
    fn a_clock_that_steps_back_suppresses_instead_of_panicking() {
        let (mut throttle, now) = (Throttle::new(SECOND), Instant::now());
        assert_eq!(throttle.admit("dial", now + SECOND), Some(0));
        assert_eq!(throttle.admit("dial", now), None);
    }
}
