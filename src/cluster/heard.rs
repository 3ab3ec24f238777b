//! Who of a cluster answers: a deadline alone does not tell a slow request from a silent node, nor a
//! silent node from a cluster that is away.

use std::cell::Cell;

use super::host::HostId;

/// A node's answers to requests and lessons so far; signs of life that we ask for ourselves prove nothing.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answers: Cell<u64>,
    /// Answers when it was last found silent.
    doubted_at: Cell<u64>,
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
        let asked = tally.asked(HostId(0));
        assert!(!tally.has_answered(asked));
        tally.answered();
        assert!(tally.has_answered(asked) && tally.is_proven());
        tally.doubt();
        assert!(!tally.is_proven());
        assert!(!tally.has_answered(tally.asked(HostId(0))));
    }
}
