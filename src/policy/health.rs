//! Both clusters' health as one machine: reports in, a view and probes out.

use std::time::{Duration, Instant};

use super::failover::circuit_breaker::{Breaker, State};
use super::{Config, Failover, Preferred, ReadStrategy, View};
use crate::pair::{Pair, Side, Sides};

/// What the data plane saw of one side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Report {
    /// A sick answer to the statement of this hash.
    Sick(u64),
    /// A lost or refused connection, an overloaded node, or silence up to a deadline.
    Strike,
    /// A good answer after a failure was reported.
    Success,
}

/// The machine.
#[derive(Debug)]
pub struct Health {
    breakers: Option<Pair<Breaker>>,
    sides: Sides,
    preferred: Side,
    moved_at: Option<Instant>,
    cooldown: Duration,
}

impl Health {
    /// Both sides healthy. `dice` decides a random preference.
    #[must_use]
    pub fn new(config: &Config, sides: Sides, dice: u64) -> Self {
        let ReadStrategy::Sticky {
            preferred,
            cooldown,
        } = config.reads.strategy;
        let preferred = match preferred {
            Preferred::Side(side) => side,
            Preferred::Random if dice.is_multiple_of(2) => Side::A,
            Preferred::Random => Side::B,
        };
        let preferred = if sides.contains(preferred) {
            preferred
        } else {
            !preferred
        };
        let breakers = match config.failover {
            Failover::CircuitBreaker {
                threshold,
                reset_after,
            } => Some(Pair::from_fn(|_| Breaker::new(threshold, reset_after))),
            Failover::Active => None,
        };
        Self {
            breakers,
            sides,
            preferred,
            moved_at: None,
            cooldown,
        }
    }

    /// What was seen of one side.
    pub fn handle_report(&mut self, side: Side, report: Report, now: Instant) {
        let all_sick = self.view().is_desperate();
        if let Some(breakers) = &mut self.breakers {
            match report {
                Report::Sick(statement) => breakers[side].handle_sick(statement, now),
                Report::Strike => breakers[side].handle_strike(now),
                // Nobody is out, so it was asked as a client would: no better probe than that.
                Report::Success if all_sick => breakers[side].handle_probe(true, now),
                Report::Success => breakers[side].handle_success(),
            }
        }
        let struck = self.breakers.is_none() && report == Report::Strike;
        if side == self.preferred && (struck || self.state(side) != State::Closed) {
            self.move_preference(now);
        }
    }

    /// What came of a probe.
    pub fn handle_probe(&mut self, side: Side, ok: bool, now: Instant) {
        if let Some(breakers) = &mut self.breakers {
            breakers[side].handle_probe(ok, now);
        }
    }

    /// A side that should be probed now; each is named once.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Side> {
        let breakers = self.breakers.as_mut()?;
        self.sides
            .iter()
            .find(|side| breakers[*side].poll_probe(now))
    }

    /// When [`Health::poll_probe`] has something to say.
    #[must_use]
    pub fn probe_at(&self) -> Option<Instant> {
        let breakers = self.breakers.as_ref()?;
        self.sides
            .iter()
            .filter_map(|side| breakers[side].probe_at())
            .min()
    }

    /// One side's breaker; closed where there is none.
    #[must_use]
    pub fn state(&self, side: Side) -> State {
        self.breakers
            .as_ref()
            .map_or(State::Closed, |breakers| breakers[side].state())
    }

    /// What the data plane should go by. Both sick counts as none: every request is tried (S17).
    #[must_use]
    pub fn view(&self) -> View {
        let sick: Sides = self
            .sides
            .iter()
            .filter(|side| self.state(*side) != State::Closed)
            .collect();
        let all_sick = sick == self.sides;
        let out = if all_sick { Sides::NONE } else { sick };
        let doubted = self.sides.iter();
        let doubted = doubted.filter(|side| all_sick || self.is_suspected(*side));
        View {
            out,
            sick,
            doubted: doubted.collect(),
            preferred: self.preferred,
        }
    }

    fn is_suspected(&self, side: Side) -> bool {
        let breakers = self.breakers.as_ref();
        breakers.is_some_and(|breakers| breakers[side].is_suspected())
    }

    /// The cooldown limits how often the preference moves, never one request's failover.
    fn move_preference(&mut self, now: Instant) {
        let rested = self.moved_at.is_none_or(|at| self.cooldown <= now - at);
        let other = !self.preferred;
        if rested && self.sides.contains(other) && self.state(other) == State::Closed {
            self.preferred = other;
            self.moved_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike_out(health: &mut Health, side: Side, now: Instant) {
        for _ in 0..3 {
            health.handle_report(side, Report::Strike, now);
        }
    }

    fn health() -> (Health, Instant) {
        (
            Health::new(&Config::default(), Sides::BOTH, 0),
            Instant::now(),
        )
    }

    #[test]
    fn the_last_cluster_is_never_taken_out() {
        let (mut health, now) = health();
        strike_out(&mut health, Side::B, now);
        assert_eq!(health.view().out, Sides::only(Side::B));
        strike_out(&mut health, Side::A, now);
        assert_eq!(health.view().out, Sides::NONE);
        assert_eq!(health.view().sick, Sides::BOTH);
    }

    #[test]
    fn with_both_sick_the_first_that_answers_is_back_at_once() {
        let (mut health, now) = health();
        strike_out(&mut health, Side::B, now);
        health.handle_report(Side::B, Report::Success, now);
        assert_eq!(
            health.view().out,
            Sides::only(Side::B),
            "out, and a late answer"
        );
        strike_out(&mut health, Side::A, now);
        assert!(health.view().is_desperate());
        health.handle_report(Side::A, Report::Success, now);
        assert_eq!(health.view().sick, Sides::only(Side::B));
        assert_eq!(health.view().out, Sides::only(Side::B));
    }

    #[test]
    fn a_side_is_doubted_from_its_first_sick_answer_to_the_next_good_one() {
        let (mut health, now) = health();
        health.handle_report(Side::B, Report::Sick(7), now);
        assert_eq!(health.view().doubted, Sides::only(Side::B));
        health.handle_report(Side::B, Report::Success, now);
        assert_eq!(health.view().doubted, Sides::NONE);
        strike_out(&mut health, Side::B, now);
        assert_eq!(
            health.view().doubted,
            Sides::NONE,
            "a late answer is no news"
        );
        strike_out(&mut health, Side::A, now);
        assert_eq!(health.view().doubted, Sides::BOTH);
    }

    #[test]
    fn the_preference_moves_once_a_cooldown() {
        let (mut health, now) = health();
        strike_out(&mut health, Side::A, now);
        assert_eq!(health.view().preferred, Side::B);
        let soon = now + Duration::from_secs(40);
        assert_eq!(health.poll_probe(soon), Some(Side::A));
        health.handle_probe(Side::A, true, soon);
        strike_out(&mut health, Side::B, soon);
        assert_eq!(health.view().preferred, Side::B, "cooldown");
        assert_eq!(
            health.view().out,
            Sides::only(Side::B),
            "but reads move all the same"
        );
    }
}
