//! Connections of one thread that have not said who they are yet: only so many may wait at a time.

use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::outlet::Session;

/// Strangers of one thread. Each may take a seat for ten seconds and hold a first frame of 128 KiB.
pub(super) const STRANGERS_MAX: usize = 1_024;
/// So many may always wait, as when a small house is restarted.
pub(super) const STRANGERS_LEAST: usize = 64;
/// Who came later than this is not hung up on: it may be about to be known.
const PATIENCE: Duration = Duration::from_secs(1);
/// Places of those who are none any more that are not worth a tidying.
const SLACK: usize = 64;

/// Those who are not through their handshake, but for those whom somebody is asked about.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// In the order in which they came; some of them have left or are known by now.
    came: VecDeque<(Instant, Weak<Session>)>,
    waiting: usize,
}

impl Strangers {
    /// One more comes. If there are more than `most` now, the one that has waited longest has to go, unless it
    /// has not waited for long either.
    pub(super) fn enter(
        &mut self,
        session: &Rc<Session>,
        most: usize,
        now: Instant,
    ) -> Option<Rc<Session>> {
        if 2 * self.waiting + SLACK <= self.came.len() {
            self.came.retain(|(_, it)| stranger(it).is_some());
        }
        session.is_stranger.set(true);
        self.waiting += 1;
        self.came.push_back((now, Rc::downgrade(session)));
        if self.waiting <= most {
            return None;
        }
        while let Some((since, it)) = self.came.front() {
            let longest = stranger(it);
            if longest.is_some() && now < *since + PATIENCE {
                return None;
            }
            self.came.pop_front();
            if let Some(longest) = longest {
                self.leave(&longest);
                return Some(longest);
            }
        }
        None
    }

    /// It is known, asked about, or gone.
    pub(super) fn leave(&mut self, session: &Session) {
        if session.is_stranger.take() {
            self.waiting -= 1;
        }
    }
}

fn stranger(session: &Weak<Session>) -> Option<Rc<Session>> {
    session.upgrade().filter(|it| it.is_stranger.get())
}
