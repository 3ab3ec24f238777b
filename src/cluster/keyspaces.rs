//! The connections of one thread that are bound to a keyspace, and how many there may be.
//!
//! Clients name keyspaces as they like, also ones that do not exist. A connection counts among those
//! that are kept only once its node accepted the keyspace: no name can push out another before that.

use std::rc::Rc;

use super::connection::State;
use super::{Connection, Limit, Refused};
use crate::wire::Version;

/// Ready connections that stay when nothing waits on them; least recently used go first.
pub(super) const KEPT_MAX: usize = 8;
/// Connections of all kinds, while requests wait on them, also those that are still dialled: right after a start
/// clients of many keyspaces come at once, each of which would dial the node itself if the proxy were not there.
const BOUND_MAX: usize = 128;
/// Of these, so many are dialled at a time, and the others wait: where clients act as their own roles each costs the
/// node a slow hash.
pub(super) const DIALLED_MAX: usize = 16;

#[derive(Debug)]
struct Bound<T> {
    version: Version,
    keyspace: Box<str>,
    connection: Rc<Connection<T>>,
}

/// One connection for each version and keyspace, the most recently used last.
#[derive(Debug)]
pub(super) struct Keyspaces<T>(Vec<Bound<T>>);

impl<T> Default for Keyspaces<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Keyspaces<T> {
    /// The connection that there is.
    pub(super) fn find(&mut self, version: Version, keyspace: &str) -> Option<Rc<Connection<T>>> {
        self.0.retain(|it| it.connection.state.get() != State::Gone);
        let known = |it: &Bound<T>| it.version == version && *it.keyspace == *keyspace;
        let at = self.0.iter().position(known)?;
        let it = self.0.remove(at);
        let connection = Rc::clone(&it.connection);
        self.0.push(it);
        Some(connection)
    }

    /// Sees to it that another one may be dialled.
    ///
    /// # Errors
    /// [`Refused::Busy`] if there are too many in use.
    pub(super) fn make_room(&mut self) -> Result<(), Refused> {
        if BOUND_MAX <= self.0.len() {
            self.shrink();
        }
        match BOUND_MAX <= self.0.len() {
            true => Err(Refused::Busy(Limit::Keyspaces)),
            false => Ok(()),
        }
    }

    /// Adds one that is being dialled.
    pub(super) fn add(&mut self, keyspace: &str, connection: &Rc<Connection<T>>) {
        self.0.push(Bound {
            version: connection.version,
            keyspace: Box::from(keyspace),
            connection: Rc::clone(connection),
        });
    }

    /// Closes what is idle beyond those that are kept.
    pub(super) fn shrink(&mut self) {
        let mut surplus = self.count(State::Ready).saturating_sub(KEPT_MAX);
        self.0.retain(|it| {
            let connection = &it.connection;
            let is_idle = connection.is_ready() && connection.inflight.borrow().waiting() == 0;
            let goes = is_idle && 0 < surplus;
            if goes {
                surplus -= 1;
                connection.outbox.close();
            }
            !goes
        });
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Connection<T>>> {
        self.0.iter().map(|it| &it.connection)
    }

    fn count(&self, state: State) -> usize {
        self.iter().filter(|it| it.state.get() == state).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::HostId;
    use super::super::connection::Owner;
    use super::*;

    /// Dials this keyspace for one request.
    fn dial(keyspaces: &mut Keyspaces<u8>, name: &str) -> Result<Rc<Connection<u8>>, Refused> {
        keyspaces.make_room()?;
        let connection = Connection::new(Version::V4, HostId(0), &Rc::default());
        connection.inflight.borrow_mut().take(Owner::Request(0));
        keyspaces.add(name, &connection);
        Ok(connection)
    }

    /// What the cluster does when the node accepts the keyspace.
    fn ready(keyspaces: &mut Keyspaces<u8>, name: &str) -> Rc<Connection<u8>> {
        let connection = dial(keyspaces, name).unwrap();
        connection.state.set(State::Ready);
        keyspaces.shrink();
        connection
    }

    fn rest(connection: &Connection<u8>) {
        assert_eq!(connection.inflight.borrow_mut().drain().count(), 1);
    }

    fn knows(keyspaces: &mut Keyspaces<u8>, name: &str) -> bool {
        keyspaces.find(Version::V4, name).is_some()
    }

    #[test]
    fn names_that_the_node_refuses_push_out_nobody() {
        let mut keyspaces = Keyspaces::default();
        for at in 0..KEPT_MAX {
            rest(&ready(&mut keyspaces, &format!("ks{at}")));
        }
        for round in 0..3 {
            let bogus = |at| format!("bogus{round}_{at}");
            let dialled: Vec<_> = (0..2 * BOUND_MAX)
                .filter_map(|at| dial(&mut keyspaces, &bogus(at)).ok())
                .collect();
            assert_eq!(dialled.len(), BOUND_MAX - KEPT_MAX);
            for at in 0..KEPT_MAX {
                assert!(knows(&mut keyspaces, &format!("ks{at}")));
            }
            dialled.iter().for_each(|it| it.state.set(State::Gone));
            assert!(!knows(&mut keyspaces, &bogus(0)));
        }
        assert_eq!(keyspaces.iter().count(), KEPT_MAX);
    }

    #[test]
    fn more_are_held_only_while_all_are_in_use() {
        let mut keyspaces = Keyspaces::default();
        let names: Vec<_> = (0..BOUND_MAX).map(|at| format!("ks{at}")).collect();
        let all: Vec<_> = names.iter().map(|it| ready(&mut keyspaces, it)).collect();
        assert_eq!(keyspaces.iter().count(), BOUND_MAX);
        let refused = dial(&mut keyspaces, "late").err();
        assert_eq!(refused, Some(Refused::Busy(Limit::Keyspaces)));

        all.iter().for_each(|it| rest(it));
        assert!(knows(&mut keyspaces, "ks0"));
        assert!(dial(&mut keyspaces, "late").is_ok());
        assert_eq!(keyspaces.iter().count(), KEPT_MAX + 1);
        assert!(knows(&mut keyspaces, "ks0"), "the most recently used stays");
        assert!(!knows(&mut keyspaces, "ks1"));
        assert!(all[1].outbox.is_closed() && !all[0].outbox.is_closed());
    }
}
