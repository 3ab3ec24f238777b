//! One debt on its way: what it has been through, and what may follow.

use std::time::{Duration, Instant};

use crate::replay::Parked;
use crate::replay::record::Repeat;

use super::{Due, Limits, Outcome};

/// Where a debt is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Being marked as sent.
    Announcing,
    /// Refused: out of its key's way until then.
    Aside(Instant),
    /// Being sent.
    InFlight,
    /// First of its key, to be sent when there is a slot.
    Ready,
    /// Failed: first of its key until then.
    Resting(Instant),
    /// Behind others of its key.
    Waiting,
}

/// What follows an outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// At once when the side is up again: the failure was the side's, not the record's.
    Again,
    /// Done.
    Applied,
    /// Slowly, out of the others' way, so long at most.
    Aside(Duration),
    /// Given up.
    Park(Parked),
    /// After a pause that grows with the failures.
    Retry(u32),
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) due: Due,
    pub(super) phase: Phase,
    pub(super) failures: u32,
    refused_since: Option<Instant>,
}

impl Item {
    pub(super) fn new(due: Due) -> Self {
        Self {
            due,
            phase: Phase::Waiting,
            failures: 0,
            refused_since: None,
        }
    }

    /// Whether any further send could apply it twice.
    pub(super) fn is_ambiguous(&self) -> bool {
        match self.due.repeat {
            Repeat::Yes => false,
            Repeat::Shifted => self.due.again,
            Repeat::No => self.due.sent,
        }
    }

    /// It is durable that it is being sent; whether that goes to the next timestamp.
    pub(super) fn announced(&mut self) -> bool {
        self.phase = Phase::InFlight;
        let shift = self.due.sent;
        self.due.again = self.due.sent;
        self.due.sent = true;
        shift
    }

    /// Remembers what may have happened. If an announced send surely had no effect, says whether
    /// an earlier one may have had: the announcement is taken back.
    pub(super) fn outcome(&mut self, outcome: Outcome) -> Option<bool> {
        match outcome {
            Outcome::Applied | Outcome::Maybe | Outcome::Unfit => None,
            Outcome::NotApplied | Outcome::Refused if self.due.repeat == Repeat::Yes => None,
            Outcome::NotApplied | Outcome::Refused => {
                self.due.sent = self.due.again;
                self.due.again = false;
                Some(self.due.sent)
            }
        }
    }

    /// What follows, after [`Item::outcome`].
    pub(super) fn next(
        &mut self,
        outcome: Outcome,
        up: bool,
        now: Instant,
        limits: &Limits,
    ) -> Step {
        match outcome {
            Outcome::Applied => Step::Applied,
            Outcome::Unfit => Step::Park(Parked::SchemaChanged),
            Outcome::Refused => {
                let since = *self.refused_since.get_or_insert(now);
                match limits
                    .grace
                    .checked_sub(now.saturating_duration_since(since))
                {
                    None | Some(Duration::ZERO) => Step::Park(Parked::Refused),
                    Some(left) => Step::Aside(left),
                }
            }
            Outcome::Maybe | Outcome::NotApplied if self.is_ambiguous() => {
                Step::Park(Parked::Ambiguous)
            }
            Outcome::Maybe | Outcome::NotApplied if !up => Step::Again,
            Outcome::Maybe | Outcome::NotApplied => {
                self.refused_since = None;
                self.failures = self.failures.saturating_add(1);
                match limits.attempts_max {
                    Some(max) if max.get() <= self.failures => Step::Park(Parked::TooManyAttempts),
                    Some(_) | None => Step::Retry(self.failures),
                }
            }
        }
    }
}

/// Random numbers from a seed, good enough to spread retries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between half of the pause and all of it, so that many do not come back at once.
    pub(super) fn soften(&mut self, pause: Duration) -> Duration {
        let half = pause / 2;
        let share = u32::try_from(self.roll() >> 54).unwrap_or(0);
        half + half * share / 1_024
    }

    /// The next number (splitmix64).
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
