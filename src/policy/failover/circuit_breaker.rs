//! Takes a cluster out after failures in a row, and lets it in again after a probe.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Sick answers of *distinct* statements that count as a strike together (S17).
const DISTINCT_STATEMENTS: usize = 3;

/// Where a breaker is.
///
/// ```text
/// Closed --threshold strikes--> Open --reset_after--> HalfOpen --probe ok--> Closed
///    ^-- a success resets         ^------ probe failed ----/
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Traffic flows.
    Closed,
    /// A probe is on its way; traffic still does not flow.
    HalfOpen,
    /// No traffic until the moment of the next probe.
    Open,
}

/// One side's breaker.
#[derive(Debug)]
pub struct Breaker {
    threshold: NonZeroU32,
    reset_after: Duration,
    state: State,
    strikes: u32,
    last_strike: Option<Instant>,
    probe_at: Option<Instant>,
    suspects: [Option<u64>; DISTINCT_STATEMENTS],
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub const fn new(threshold: NonZeroU32, reset_after: Duration) -> Self {
        Self {
            threshold,
            reset_after,
            state: State::Closed,
            strikes: 0,
            last_strike: None,
            probe_at: None,
            suspects: [None; DISTINCT_STATEMENTS],
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When [`Breaker::poll_probe`] has something to say.
    #[must_use]
    pub const fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// A failure of the cluster itself. A failure long after the last one starts a new count.
    pub fn handle_strike(&mut self, now: Instant) {
        if self.state != State::Closed {
            return;
        }
        let stale = self
            .last_strike
            .is_some_and(|last| self.reset_after < now - last);
        self.strikes = if stale { 1 } else { self.strikes + 1 };
        self.last_strike = Some(now);
        if self.threshold.get() <= self.strikes {
            self.open(now);
        }
    }

    /// A sick answer to one statement: a strike once several distinct ones got one, so that a
    /// poison query alone cannot take a cluster out.
    pub fn handle_sick(&mut self, statement: u64, now: Instant) {
        if self.suspects.contains(&Some(statement)) {
            return;
        }
        if let Some(free) = self.suspects.iter_mut().find(|suspect| suspect.is_none()) {
            *free = Some(statement);
        }
        if self.suspects.iter().all(Option::is_some) {
            self.handle_strike(now);
        }
    }

    /// A good answer.
    pub fn handle_success(&mut self) {
        if self.state == State::Closed {
            self.reset();
        }
    }

    /// What came of the probe that [`Breaker::poll_probe`] asked for.
    pub fn handle_probe(&mut self, ok: bool, now: Instant) {
        match (self.state, ok) {
            (State::Closed, _) => {}
            (State::HalfOpen | State::Open, true) => {
                self.state = State::Closed;
                self.reset();
            }
            (State::HalfOpen | State::Open, false) => self.open(now),
        }
    }

    /// Whether a probe should be sent now; says so once.
    pub fn poll_probe(&mut self, now: Instant) -> bool {
        if self.probe_at.is_none_or(|at| now < at) {
            return false;
        }
        self.probe_at = None;
        self.state = State::HalfOpen;
        true
    }

    fn open(&mut self, now: Instant) {
        self.reset();
        self.state = State::Open;
        self.probe_at = Some(now + self.reset_after);
    }

    fn reset(&mut self) {
        self.strikes = 0;
        self.last_strike = None;
        self.probe_at = None;
        self.suspects = [None; DISTINCT_STATEMENTS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        let three = NonZeroU32::new(3).unwrap();
        (Breaker::new(three, Duration::from_secs(30)), Instant::now())
    }

    #[test]
    fn it_opens_at_the_third_strike_in_a_row() {
        let (mut breaker, now) = breaker();
        breaker.handle_strike(now);
        breaker.handle_strike(now);
        breaker.handle_success();
        breaker.handle_strike(now);
        breaker.handle_strike(now);
        assert_eq!(breaker.state(), State::Closed);
        breaker.handle_strike(now);
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn it_closes_by_a_probe_and_only_by_a_good_one() {
        let (mut breaker, now) = breaker();
        for _ in 0..3 {
            breaker.handle_strike(now);
        }
        let later = now + Duration::from_secs(30);
        assert!(!breaker.poll_probe(later - Duration::from_millis(1)));
        assert!(breaker.poll_probe(later));
        assert!(!breaker.poll_probe(later), "one probe at a time");
        breaker.handle_probe(false, later);
        assert_eq!(breaker.state(), State::Open);
        assert!(breaker.poll_probe(later + Duration::from_secs(30)));
        breaker.handle_success();
        assert_eq!(
            breaker.state(),
            State::HalfOpen,
            "late answers do not close it"
        );
        breaker.handle_probe(true, later);
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn one_poison_statement_never_opens_it() {
        let (mut breaker, now) = breaker();
        for _ in 0..1_000 {
            breaker.handle_sick(7, now);
        }
        assert_eq!(breaker.state(), State::Closed);
        for statement in 0..10 {
            breaker.handle_sick(statement, now);
        }
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn strikes_far_apart_do_not_add_up() {
        let (mut breaker, now) = breaker();
        for strike in 0..10 {
            breaker.handle_strike(now + Duration::from_secs(31) * strike);
        }
        assert_eq!(breaker.state(), State::Closed);
    }
}
