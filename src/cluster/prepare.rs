//! Teaching a node a statement: one PREPARE at a time for each, whoever waits for it.

use std::collections::HashMap;

use crate::wire::Frame;
use crate::wire::response::result::Prepared;

/// The proxy's own id of a prepared statement.
pub type Id = [u8; 16];

/// What came of a PREPARE that a request needed.
#[derive(Debug)]
pub enum Taught<'a> {
    /// The node knows the statement under this id now.
    Known(Prepared<'a>),
    /// The node refused it: the answer is its ERROR.
    Refused(Frame<'a>),
    /// The node is gone, or answered nonsense: nothing was applied.
    Lost,
}

/// Who waits for which statement. Bounded by the requests in flight.
#[derive(Debug)]
pub(super) struct Waiting<T>(HashMap<Id, Vec<T>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Waiting<T> {
    /// Adds one who waits; true if a PREPARE must be sent, false if one is on its way.
    pub(super) fn join(&mut self, id: Id, ticket: T) -> bool {
        let waiting = self.0.entry(id).or_default();
        waiting.push(ticket);
        waiting.len() == 1
    }

    /// Everybody who waited for this statement.
    pub(super) fn leave(&mut self, id: Id) -> Vec<T> {
        self.0.remove(&id).unwrap_or_default()
    }
}
