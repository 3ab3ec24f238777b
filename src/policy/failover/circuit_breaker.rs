//! Takes a cluster out after failures in a row, and lets it in again after a probe.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Sick answers that count as a strike together: of as many distinct statements, or over [`SICK_FOR`].
const SICK_TOGETHER: usize = 3;
/// How long fewer statements must get nothing but sick answers: what else is asked has time to be answered.
const SICK_FOR: Duration = Duration::from_secs(1);

/// Where a breaker is.
///
/// ```text
/// Closed --threshold strikes--> Open --reset_after--> HalfOpen --probe ok--> Closed
///    ^-- a success resets         ^------ probe failed ----/
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// Traffic flows.
    #[default]
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
    suspicion: Suspicion,
}

/// Sick answers since the last good one that are no strike yet.
#[derive(Debug, Default)]
struct Suspicion {
    /// Who got one, and when it last did.
    statements: [Option<(u64, Instant)>; SICK_TOGETHER],
    answers: usize,
    since: Option<Instant>,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(threshold: NonZeroU32, reset_after: Duration) -> Self {
        Self {
            threshold,
            reset_after,
            state: State::Closed,
            strikes: 0,
            last_strike: None,
            probe_at: None,
            suspicion: Suspicion::default(),
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

    /// A sick answer to one statement (S17). With no good answer between, it is a strike once three distinct
    /// statements got one within `reset_after`: a poison query alone cannot take a cluster out. Nor need an
    /// application have three statements: nothing but sick answers for a second is a strike as well.
    pub fn handle_sick(&mut self, statement: u64, now: Instant) {
        if self.state != State::Closed {
            return;
        }
        if self.suspicion.grows(statement, now, self.reset_after) {
            self.suspicion = Suspicion::default();
            self.handle_strike(now);
        }
    }

    /// Whether sick answers count against it that a good one would excuse.
    #[must_use]
    pub const fn is_suspected(&self) -> bool {
        self.suspicion.since.is_some()
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
        self.suspicion = Suspicion::default();
    }
}

impl Suspicion {
    /// One more sick answer. Whether together they are a strike.
    fn grows(&mut self, statement: u64, now: Instant, window: Duration) -> bool {
        for place in &mut self.statements {
            *place = place.filter(|(_, at)| now - *at <= window);
        }
        if self.statements.iter().all(Option::is_none) {
            *self = Self::default();
        }
        let since = *self.since.get_or_insert(now);
        self.answers += 1;
        self.note(statement, now);
        let are_many = self.statements.iter().all(Option::is_some);
        are_many || (SICK_TOGETHER <= self.answers && SICK_FOR <= now - since)
    }

    fn note(&mut self, statement: u64, now: Instant) {
        let places = &mut self.statements;
        let known = |place: &Option<(u64, Instant)>| place.is_some_and(|(it, _)| it == statement);
        let place = places.iter().position(known);
        if let Some(place) = place.or_else(|| places.iter().position(Option::is_none)) {
            places[place] = Some((statement, now));
        }
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

    /// Sick answers of so many statements in turn, a tenth of a second apart. When it opened.
    fn opens_after(statements: u64) -> Option<Duration> {
        let (mut breaker, start) = breaker();
        let beat = |number: u64| (number, Duration::from_millis(100 * number));
        let opens = (0..600).map(beat).find(|(number, after)| {
            breaker.handle_sick(number % statements, start + *after);
            breaker.state() == State::Open
        });
        opens.map(|(_, after)| after)
    }

    #[test]
    fn nothing_but_sick_answers_open_it_however_few_the_statements() {
        for statements in 1..=5 {
            let after = opens_after(statements).expect("it opens");
            assert!(after < Duration::from_secs(5), "{statements}: {after:?}");
        }
    }

    #[test]
    fn every_three_distinct_statements_are_a_strike() {
        let (mut breaker, now) = breaker();
        for answer in 0..8 {
            breaker.handle_sick(answer % 3, now);
        }
        assert_eq!(breaker.state(), State::Closed);
        breaker.handle_sick(8 % 3, now);
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn a_burst_of_one_statement_never_opens_it_whatever_was_sick_before() {
        // A ninth distinct statement would complete the third strike.
        for before in 0..8 {
            let (mut breaker, now) = breaker();
            (0..before).for_each(|statement| breaker.handle_sick(statement, now));
            (0..1_000).for_each(|_| breaker.handle_sick(before, now));
            assert_eq!(breaker.state(), State::Closed, "{before}");
        }
    }

    #[test]
    fn one_poison_statement_among_good_answers_never_opens_it() {
        let (mut breaker, start) = breaker();
        for beat in 0..1_000 {
            let now = start + Duration::from_millis(300) * beat;
            (0..50).for_each(|_| breaker.handle_sick(7, now));
            if beat % 3 == 0 {
                breaker.handle_success();
            }
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn sick_answers_far_apart_do_not_add_up() {
        for statements in [1, 2, 10] {
            let (mut breaker, now) = breaker();
            for answer in 0..100 {
                let at = now + Duration::from_secs(31) * answer;
                breaker.handle_sick(u64::from(answer) % statements, at);
            }
            assert_eq!(breaker.state(), State::Closed, "{statements}");
        }
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
