//! Connections of one thread that have not said who they are yet: only so many may wait at a time.

use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::outlet::Session;

/// Strangers of one thread. Each may take a seat for ten seconds and hold a first frame of 128 KiB.
pub(super) const STRANGERS_MAX: usize = 1_024;
/// Places of those who are none any more that are not worth a tidying.
const SLACK: usize = 64;

/// Those who are not through their handshake, but for those whom somebody is asked about.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// In the order in which they came; some of them have left or are known by now.
    came: VecDeque<Weak<Session>>,
    waiting: usize,
}

impl Strangers {
    /// One more comes. If there are more than `most` now, the one that has waited longest has to go.
    pub(super) fn enter(&mut self, session: &Rc<Session>, most: usize) -> Option<Rc<Session>> {
        if 2 * self.waiting + SLACK <= self.came.len() {
            self.came.retain(|it| stranger(it).is_some());
        }
        session.is_stranger.set(true);
        self.waiting += 1;
        self.came.push_back(Rc::downgrade(session));
        if self.waiting <= most {
            return None;
        }
        let longest = loop {
            if let Some(session) = stranger(&self.came.pop_front()?) {
                break session;
            }
        };
        self.leave(&longest);
        Some(longest)
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
