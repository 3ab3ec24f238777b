//! Who of a cluster answers: a deadline alone does not tell a slow request from a silent node, nor a
//! silent node from a cluster that is away.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Refused;
use super::host::HostId;

/// How long a failed address is left alone at first, doubling up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect.
pub(super) const REDIAL_MAX: Duration = Duration::from_secs(1);
/// Addresses that are remembered though nobody uses them.
const TALLIES_MAX: usize = 4_096;

/// What a thread knows of a node, whoever it is there: its answers to requests and lessons so far (signs
/// of life that we ask for ourselves prove nothing), and until when it is left alone.
#[derive(Debug)]
pub(super) struct Tally {
    answers: Cell<u64>,
    /// Answers when it was last found silent.
    doubted_at: Cell<u64>,
    redial_at: Cell<Option<Instant>>,
    redial_after: Cell<Duration>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            answers: Cell::new(0),
            doubted_at: Cell::new(0),
            redial_at: Cell::new(None),
            redial_after: Cell::new(REDIAL_MIN),
        }
    }
}

/// What is known of a node before it is dialled, the most promising first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Standing {
    /// It answers somebody.
    Proven,
    /// Nobody has asked it, or it was silent when somebody did.
    Unproven,
    /// It could not be dialled when that was last tried.
    Failed,
}

/// The tallies of one cluster's nodes by address: all roles of a thread share them.
#[derive(Debug, Default)]
pub(super) struct Tallies(RefCell<HashMap<Box<str>, Rc<Tally>>>);

impl Tallies {
    pub(super) fn of(&self, address: &str) -> Rc<Tally> {
        let mut tallies = self.0.borrow_mut();
        if TALLIES_MAX < tallies.len() {
            tallies.retain(|_, it| 1 < Rc::strong_count(it));
        }
        let tally = tallies.entry(address.into()).or_default();
        Rc::clone(tally)
    }
}

impl Tally {
    #[inline]
    pub(super) fn answered(&self) {
        self.answers.set(self.answers.get() + 1);
    }

    #[inline]
    pub(super) fn asked(&self, host: HostId) -> Asked {
        Asked {
            host,
            answers: self.answers.get(),
        }
    }

    /// Whether anything was answered since.
    pub(super) fn has_answered(&self, asked: Asked) -> bool {
        asked.answers < self.answers.get()
    }

    pub(super) fn doubt(&self) {
        self.doubted_at.set(self.answers.get());
    }

    /// Whether it has answered anything since it was last found silent.
    pub(super) fn is_proven(&self) -> bool {
        self.doubted_at.get() < self.answers.get()
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.redial_at.get(), self.is_proven()) {
            (Some(_), _) => Standing::Failed,
            (None, true) => Standing::Proven,
            (None, false) => Standing::Unproven,
        }
    }

    /// Whether it may be dialled.
    ///
    /// # Errors
    /// [`Refused::Down`] if the last attempt is too recent.
    pub(super) fn may_dial(&self) -> Result<(), Refused> {
        match self.redial_at.get() {
            Some(at) if Instant::now() < at => Err(Refused::Down),
            Some(_) | None => Ok(()),
        }
    }

    /// How long to wait before it is dialled again.
    pub(super) fn pause(&self) -> Duration {
        let at = self.redial_at.get();
        at.map_or(Duration::ZERO, |at| at.duration_since(Instant::now()))
    }

    /// It could not be dialled: it is left alone for a while, each time longer.
    pub(super) fn failed(&self) {
        let after = self.redial_after.get();
        self.redial_at.set(Some(Instant::now() + after));
        self.redial_after.set((after * 2).min(REDIAL_MAX));
    }

    /// It let somebody in.
    pub(super) fn let_in(&self) {
        self.redial_at.set(None);
    }

    /// It may be dialled at once.
    pub(super) fn forget_pause(&self) {
        self.redial_at.set(None);
        self.redial_after.set(REDIAL_MIN);
    }
}

/// A node that was sent something, and what it had answered by then.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub(super) host: HostId,
    answers: u64,
}

impl Asked {
    /// Which node it was.
    #[must_use]
    pub const fn host(self) -> HostId {
        self.host
    }
}

/// Who answers, where something was not answered in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The node itself has since: it is slow with this request, or refuses it by silence.
    Itself,
    /// It has not, but others of its cluster are up, and have answered what they were asked last.
    Others,
    /// Nobody: as far as can be seen the cluster is away.
    Nobody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_proven_by_what_it_answered_since_it_was_silent() {
        let tally = Tally::default();
        assert!(!tally.is_proven(), "it was never asked");
        assert_eq!(tally.standing(), Standing::Unproven);
        let asked = tally.asked(HostId(0));
        assert!(!tally.has_answered(asked));
        tally.answered();
        assert!(tally.has_answered(asked) && tally.is_proven());
        assert_eq!(tally.standing(), Standing::Proven);
        tally.failed();
        assert_eq!(tally.standing(), Standing::Failed);
        tally.let_in();
        assert_eq!(tally.standing(), Standing::Proven);
        tally.doubt();
        assert!(!tally.is_proven());
        assert!(!tally.has_answered(tally.asked(HostId(0))));
    }
}
