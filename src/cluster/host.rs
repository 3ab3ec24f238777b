//! One node as one thread uses it: its connections, what it is being taught, whether it is up.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Refused;
use super::connection::{Connection, State};
use super::heard::Tally;
use super::keyspaces::{DIALLED_MAX, Keyspaces};
use super::prepare::Waiting;
use super::sharding::Sharding;
use super::shards::{Aim, Shards};
use crate::wire::Version;

/// Names a host within one thread's cluster; never used again for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostId(pub(super) u32);

/// The connections without a keyspace, of one version.
#[derive(Debug)]
struct Plain<T> {
    /// The one that a node without shards has.
    first: Option<Rc<Connection<T>>>,
    shards: Option<Box<Shards<T>>>,
    /// There were seats before: others are filled at the next pulse, however often the node changes.
    had_shards: bool,
}

impl<T> Default for Plain<T> {
    fn default() -> Self {
        Self {
            first: None,
            shards: None,
            had_shards: false,
        }
    }
}

impl<T: Copy> Plain<T> {
    /// All of them, once each.
    fn iter(&self) -> impl Iterator<Item = &Rc<Connection<T>>> {
        let is_other = |it: &&Rc<Connection<T>>| !self.is_first(it);
        let seated = self.shards.iter().flat_map(|it| it.iter());
        self.first.iter().chain(seated.filter(is_other))
    }

    fn is_first(&self, connection: &Rc<Connection<T>>) -> bool {
        let first = self.first.as_ref();
        first.is_some_and(|it| Rc::ptr_eq(it, connection))
    }

    /// Whether it is the first one, or was dialled for a shard.
    fn holds(&self, connection: &Rc<Connection<T>>) -> bool {
        connection.is_extra.get() || self.is_first(connection)
    }

    /// Whether requests can be sent now.
    fn serves(&self) -> bool {
        let seated = self.shards.iter().flat_map(|it| it.seated());
        self.first.iter().chain(seated).any(|it| it.is_ready())
    }

    /// Whether the seats are for the node that says this at this address.
    fn is_known(&self, said: Option<(Sharding, SocketAddr)>) -> bool {
        let known = self.shards.as_ref().zip(said);
        known.is_some_and(|(shards, (said, peer))| shards.are_of(&said) && shards.peer() == peer)
    }

    /// Another node is behind the address, or it has other shards: what led to the old ones ends.
    fn replace(&mut self, shards: Option<Box<Shards<T>>>) {
        let before = std::mem::replace(&mut self.shards, shards);
        for connection in before.iter().flat_map(|it| it.iter()) {
            if !self.is_first(connection) {
                connection.outbox.close();
            }
        }
    }
}

/// One node, seen from one thread.
#[derive(Debug)]
pub(super) struct Host<T> {
    pub(super) id: HostId,
    /// `host:port`.
    pub(super) address: Box<str>,
    pub(super) tally: Rc<Tally>,
    plain: [RefCell<Plain<T>>; Version::ALL.len()],
    pub(super) bound: RefCell<Keyspaces<T>>,
    /// To be dialled for keyspaces.
    pub(super) turns: Semaphore,
    pub(super) waiting: RefCell<Waiting<T>>,
    /// It answered, and has not failed since.
    is_up: Cell<bool>,
    /// By version: it refused that one when it was last dialled.
    refuses: [Cell<bool>; Version::ALL.len()],
    /// It was silent: that it lets us in means nothing before it has answered something.
    is_suspect: Cell<bool>,
    /// Somebody dials it again in the background.
    pub(super) is_redialled: Cell<bool>,
}

impl<T: Copy> Host<T> {
    pub(super) fn new(id: HostId, address: &str, tally: Rc<Tally>) -> Rc<Self> {
        Rc::new(Self {
            id,
            address: address.into(),
            tally,
            plain: Default::default(),
            bound: RefCell::default(),
            turns: Semaphore::new(DIALLED_MAX),
            waiting: RefCell::default(),
            is_up: Cell::new(false),
            refuses: Default::default(),
            is_suspect: Cell::new(false),
            is_redialled: Cell::new(false),
        })
    }

    /// The connection that there is for what needs no keyspace: that of the token's shard, if the node
    /// has shards.
    #[inline]
    pub(super) fn plain(&self, version: Version, token: Option<i64>) -> Option<Rc<Connection<T>>> {
        let place = self.plain[version.index()].borrow();
        if let Some(shards) = &place.shards
            && let Some(seated) = shards.pick(token)
        {
            return Some(seated);
        }
        let connection = place.first.as_ref()?;
        (connection.state.get() != State::Gone).then(|| Rc::clone(connection))
    }

    /// A connection without a keyspace that is being dialled.
    pub(super) fn add_plain(&self, connection: &Rc<Connection<T>>) {
        let mut place = self.plain[connection.version.index()].borrow_mut();
        place.first = Some(Rc::clone(connection));
    }

    /// Whether there is a connection of this version that needs no keyspace, or one is being dialled.
    pub(super) fn has_plain(&self, version: Version) -> bool {
        self.plain(version, None).is_some()
    }

    /// Whether it is the first connection or was dialled for a shard: others are for keyspaces.
    pub(super) fn may_seat(&self, connection: &Rc<Connection<T>>) -> bool {
        let place = self.plain[connection.version.index()].borrow();
        place.holds(connection)
    }

    /// Whether it is one of several without a keyspace, and others of them serve.
    pub(super) fn is_spare(&self, connection: &Rc<Connection<T>>) -> bool {
        let place = self.plain[connection.version.index()].borrow();
        place.holds(connection) && place.shards.is_some() && place.serves()
    }

    /// A connection's node says which of its shards it leads to, if it has any. Whether there are seats
    /// for them from now on that should be filled at once.
    pub(super) fn introduce(
        &self,
        connection: &Rc<Connection<T>>,
        said: Option<&Sharding>,
        (is_tls, seats_max): (bool, usize),
    ) -> bool {
        let mut place = self.plain[connection.version.index()].borrow_mut();
        let is_first = place.is_first(connection);
        let node = said.copied().zip(connection.peer.get());
        let is_new = is_first && !place.is_known(node);
        if is_new {
            let shards = node.and_then(|node| Shards::new(node, is_tls, seats_max));
            place.replace(shards.map(Box::new));
        }
        let is_known = connection.is_introduced.replace(true);
        let Some(shards) = &mut place.shards else {
            return false;
        };
        if is_first && !is_known {
            shards.forget_rounds();
        }
        shards.seat(connection, said, is_first);
        is_new && !std::mem::replace(&mut place.had_shards, true)
    }

    /// Connections that should be dialled for shards now.
    pub(super) fn handle_pulse(&self) -> Vec<(Version, Aim)> {
        let mut missing = Vec::new();
        for version in Version::ALL {
            let mut place = self.plain[version.index()].borrow_mut();
            if !place.serves() {
                continue;
            }
            let aims = place.shards.iter_mut().flat_map(|it| it.handle_pulse());
            missing.extend(aims.map(|aim| (version, aim)));
        }
        missing
    }

    /// A connection that is being dialled for a shard.
    pub(super) fn expect(&self, connection: &Rc<Connection<T>>) {
        let mut place = self.plain[connection.version.index()].borrow_mut();
        place.shards.iter_mut().for_each(|it| it.expect(connection));
    }

    /// Requests without an answer on the connections that one of this version could use.
    #[inline]
    pub(super) fn load(&self, version: Version) -> usize {
        let place = self.plain[version.index()].borrow();
        let waiting = |it: &Rc<Connection<T>>| it.inflight.borrow().waiting();
        match place.shards {
            None => place.first.as_ref().map_or(0, waiting),
            Some(_) => place.iter().map(waiting).sum(),
        }
    }

    /// Whether requests may be given to it while others are up, too.
    #[inline]
    pub(super) fn is_up(&self) -> bool {
        self.is_up.get()
    }

    /// The same for requests of this version.
    #[inline]
    pub(super) fn serves(&self, version: Version) -> bool {
        self.is_up() && !self.refuses[version.index()].get()
    }

    /// Whether it may be dialled.
    ///
    /// # Errors
    /// [`Refused::Down`] if the last attempt is too recent.
    pub(super) fn may_dial(&self) -> Result<(), Refused> {
        self.tally.may_dial()
    }

    /// How long to wait before it is dialled again.
    pub(super) fn pause(&self) -> Duration {
        self.tally.pause()
    }

    /// It let us in. Whether it must show that it answers, too.
    pub(super) fn let_in(&self, version: Version) -> bool {
        self.tally.let_in();
        self.refuses[version.index()].set(false);
        let is_suspect = self.is_suspect.get();
        self.is_up.set(!is_suspect);
        is_suspect
    }

    /// It answered.
    pub(super) fn answered(&self) {
        self.is_suspect.set(false);
        self.is_up.set(true);
    }

    /// It could not be dialled: it is left alone for a while, each time longer, also if it still has
    /// connections. One that takes no more of them would be waited for in vain.
    pub(super) fn failed(&self) {
        self.is_up.set(false);
        self.tally.failed();
    }

    /// It does not speak this version, maybe others.
    pub(super) fn refused(&self, version: Version) {
        self.refuses[version.index()].set(true);
    }

    /// A connection was lost; if it was the last, nobody knows whether the node is there, nor what it
    /// speaks when it is back. One that was of no use counts as not dialled: who lets us in and hangs up
    /// would be dialled without a pause. One of several to the node's shards says nothing.
    pub(super) fn broke(&self, connection: &Rc<Connection<T>>) {
        if self.is_spare(connection) {
            return;
        }
        self.refuses.iter().for_each(|it| it.set(false));
        let by_us = connection.outbox.is_closed();
        if connection.answered() == 0 && !by_us {
            return self.failed();
        }
        self.forget_pause();
        self.is_up
            .set(self.is_up() && !self.connections().is_empty());
    }

    /// It is left alone until it answers again.
    pub(super) fn doubt(&self) {
        self.is_up.set(false);
    }

    /// It may be dialled at once.
    pub(super) fn forget_pause(&self) {
        self.tally.forget_pause();
    }

    /// All connections that take requests.
    pub(super) fn connections(&self) -> Vec<Rc<Connection<T>>> {
        let ready = |it: &Rc<Connection<T>>| it.is_ready();
        self.all().into_iter().filter(ready).collect()
    }

    /// Bytes that the node has not read yet, over all connections.
    pub(super) fn unsent(&self) -> usize {
        self.all().iter().map(|it| it.unsent()).sum()
    }

    /// Whether it owes no answer on any connection.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |it: &Rc<Connection<T>>| {
            it.state.get() == State::Gone || it.inflight.borrow().waiting() == 0
        };
        self.all().iter().all(idle)
    }

    /// Ends all connections, once what is on its way out is out.
    pub(super) fn close(&self) {
        self.all().iter().for_each(|it| it.outbox.close());
    }

    /// It is silent, and gets no more requests until it answers something. False if that was known.
    pub(super) fn suspect(&self) -> bool {
        self.doubt();
        self.tally.doubt();
        !self.is_suspect.replace(true)
    }

    /// Ends all connections on the spot, if it was suspected and has not answered since.
    pub(super) fn convict(&self) {
        if self.is_suspect.get() {
            self.all().iter().for_each(|it| it.outbox.abort());
        }
    }

    fn all(&self) -> Vec<Rc<Connection<T>>> {
        let mut all: Vec<_> = self.bound.borrow().iter().map(Rc::clone).collect();
        for place in &self.plain {
            all.extend(place.borrow().iter().map(Rc::clone));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: (bool, usize) = (false, 8);

    fn ready(host: &Host<u8>, peer: &str) -> Rc<Connection<u8>> {
        let connection = Connection::new(Version::V4, host.id, &host.tally);
        connection.state.set(State::Ready);
        connection.peer.set(Some(peer.parse().unwrap()));
        connection
    }

    /// The first connection to a node, and what it says of its shard. Whether seats are filled at once.
    fn first(host: &Host<u8>, peer: &str, shards: u16) -> (Rc<Connection<u8>>, bool) {
        let connection = ready(host, peer);
        host.add_plain(&connection);
        let said = Sharding::told(0, shards, [19_042, 0]);
        let fills = host.introduce(&connection, Some(&said), LIMITS);
        (connection, fills)
    }

    fn seated(host: &Host<u8>, shard: u16) -> Rc<Connection<u8>> {
        let connection = ready(host, PEER);
        host.expect(&connection);
        let said = Sharding::told(shard, 4, [19_042, 0]);
        host.introduce(&connection, Some(&said), LIMITS);
        connection
    }

    const PEER: &str = "10.0.0.1:9042";

    #[tokio::test(start_paused = true)]
    async fn one_of_several_connections_to_shards_says_nothing_of_the_node_when_it_breaks() {
        let host = Host::new(HostId(0), PEER, Rc::default());
        let (first, _) = first(&host, PEER, 4);
        host.let_in(Version::V4);
        let break_ = |connection: &Rc<Connection<u8>>| {
            connection.state.set(State::Gone);
            host.broke(connection);
        };
        // It never answered anything: a node would be left alone for that.
        break_(&seated(&host, 1));
        assert!(host.is_up() && host.may_dial().is_ok());
        let last = seated(&host, 2);
        break_(&first);
        assert!(host.is_up() && host.may_dial().is_ok(), "another serves");
        break_(&last);
        assert!(!host.is_up(), "nobody does");
        assert_eq!(host.may_dial(), Err(Refused::Down));
    }

    #[test]
    fn without_a_connection_nobody_is_dialled_for_shards_and_a_new_one_begins_at_once() {
        let host = Host::new(HostId(0), PEER, Rc::default());
        let (before, fills) = first(&host, PEER, 4);
        assert!(fills);
        for pulse in 0..100 {
            let is_round = !host.handle_pulse().is_empty();
            assert_eq!(is_round, [0, 2, 5, 10, 19, 36, 69].contains(&pulse));
        }
        before.state.set(State::Gone);
        assert!((0..100).all(|_| host.handle_pulse().is_empty()));

        let (now, fills) = first(&host, PEER, 4);
        assert!(!fills, "at the next pulse");
        assert_eq!(host.handle_pulse().len(), 3);
        let said = Sharding::told(0, 4, [19_042, 0]);
        host.introduce(&now, Some(&said), LIMITS);
        assert!(host.handle_pulse().is_empty(), "a heartbeat begins nothing");
    }

    #[test]
    fn a_node_that_always_has_other_shards_is_filled_at_once_only_once() {
        let host = Host::new(HostId(0), PEER, Rc::default());
        let (connection, fills) = first(&host, PEER, 4);
        assert!(fills);
        for shards in [5, 6, 4, 5] {
            let said = Sharding::told(0, shards, [19_042, 0]);
            assert!(!host.introduce(&connection, Some(&said), LIMITS));
            assert!(!host.introduce(&connection, None, LIMITS), "no shards");
            assert!(!host.introduce(&connection, Some(&said), LIMITS));
            assert_eq!(host.handle_pulse().len(), usize::from(shards) - 1);
        }
        let (_, fills) = first(&host, "10.0.0.2:9042", 4);
        assert!(!fills);
    }
}
