//! One backend cluster as one data-plane thread sees it: connections, stream ids, prepared ids.
//!
//! A [`Cluster`] sends on behalf of opaque tickets and hands what comes back to its [`Sink`], bytes
//! still in the read buffer. It knows its own [`Side`] as a label only, and never the other one.

mod account;
mod alive;
pub mod call;
mod config;
pub mod connection;
mod dial;
pub mod discover;
mod drive;
mod heard;
mod host;
mod hosts;
pub mod inflight;
mod keyspaces;
mod lost;
pub mod prepare;
mod roles;
mod sharding;
mod shards;
pub mod topology;
pub mod watch;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::pair::Side;
use crate::socket::Buffers;
use crate::wire::request::Prepare;
use crate::wire::{Frame, NodeStream, Opcode, Version};

pub use crate::wire::Compression;
pub use account::{Account, Kept, Role};
pub use config::{Config, ContactPoint, ContactPoints, Name, ProtocolMax};
pub use connection::Connection;
use connection::Owner;
use dial::Purpose;
pub use heard::{Asked, Heard};
use host::Host;
pub use host::HostId;
pub use hosts::Target;
use hosts::{Hosts, Use};
pub use lost::{Limit, Lost, Refused};
use prepare::{Id, Joined, Taught};
pub use roles::Ruling;
use topology::Topology;

/// Requests given up on one connection before it is replaced.
const ORPHANS_MAX: usize = 16_384;
/// The largest body accepted from a node, the server's own limit.
const FRAME_MAX: usize = 256 * 1024 * 1024;

/// Where answers go. Implemented by whoever sends; monomorphised, so that an answer costs no box.
pub trait Sink: 'static {
    /// What names one request.
    type Ticket: Copy + std::fmt::Debug + 'static;

    /// The node's answer to a request.
    fn answer(
        &self,
        side: Side,
        ticket: Self::Ticket,
        on: &Rc<Connection<Self::Ticket>>,
        frame: Frame<'_>,
    );

    /// No answer will come.
    fn lost(&self, side: Side, ticket: Self::Ticket, lost: &Lost);

    /// What came of [`Cluster::teach`] of the statement that the proxy calls `id`.
    fn taught(&self, side: Side, ticket: Self::Ticket, id: &Id, taught: &Taught<'_>);

    /// A connection is ready for requests.
    fn opened(&self, _side: Side) {}

    /// An event of a connection that registered.
    fn event(&self, _side: Side, _frame: Frame<'_>) {}

    /// A connection was lost, or could not be opened, while requests waited on it: said once, after
    /// each of them was told.
    fn failed(&self, _side: Side) {}

    /// The cluster did not let a client's role in, and said this.
    fn turned_away(&self, _side: Side, _sentence: &str) {}

    /// A connection that had been ready is gone; what waited on it was told before.
    fn gone(&self, _side: Side) {}
}

/// A connection of a sink's, and the place of one request on it.
pub type Sent<S> = (Held<S>, NodeStream);
/// A connection that carries a sink's tickets.
pub type Held<S> = Rc<Connection<<S as Sink>::Ticket>>;
/// A node and a connection to it.
type Reached<S> = (Rc<Host<<S as Sink>::Ticket>>, Held<S>);

/// One cluster, seen from one thread.
pub struct Cluster<S: Sink> {
    side: Side,
    config: Arc<Config>,
    buffers: Rc<Buffers>,
    sink: Weak<S>,
    itself: Weak<Self>,
    hosts: RefCell<Hosts<S::Ticket>>,
    /// What was spoken last: nodes that nobody has asked for yet are dialled in it.
    version: Cell<Version>,
    /// Plain connections to a node that has shards; below 2 nobody is asked.
    seats_max: usize,
    /// A node of it was seen to have shards.
    has_shards: Cell<bool>,
    /// Who we are there, if not the service account.
    role: Option<roles::Guest>,
    tasks: RefCell<JoinSet<()>>,
}

impl<S: Sink> std::fmt::Debug for Cluster<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl<S: Sink> Cluster<S> {
    /// A cluster without connections; they are dialled when something is to be sent. Of several nodes
    /// all are used, once [`Cluster::follow`] was told of them.
    #[must_use]
    pub fn new(side: Side, config: Arc<Config>, buffers: Rc<Buffers>, sink: Weak<S>) -> Rc<Self> {
        Self::of(side, config, buffers, sink, Use::Spread)
    }

    /// The same, but one node is used as long as it serves.
    #[must_use]
    fn steady(side: Side, config: Arc<Config>, buffers: Rc<Buffers>, sink: Weak<S>) -> Rc<Self> {
        Self::of(side, config, buffers, sink, Use::One)
    }

    fn of(
        side: Side,
        config: Arc<Config>,
        buffers: Rc<Buffers>,
        sink: Weak<S>,
        usage: Use,
    ) -> Rc<Self> {
        let hosts = Hosts::new(&config.contact_points, usage);
        let seats_max = match usage {
            Use::One => 0,
            Use::Spread => config.seats_max,
        };
        Rc::new_cyclic(|itself| Self {
            side,
            config,
            buffers,
            sink,
            itself: Weak::clone(itself),
            hosts: RefCell::new(hosts),
            version: Cell::new(Version::V4),
            seats_max,
            has_shards: Cell::new(false),
            role: None,
            tasks: RefCell::default(),
        })
    }

    /// Puts one request on its way. The answer, or its loss, comes to the sink under `ticket`.
    ///
    /// # Errors
    /// If it cannot be sent at all; then the sink hears nothing.
    #[inline]
    pub fn send(
        &self,
        ticket: S::Ticket,
        target: Target<'_>,
        (version, keyspace): (Version, Option<&str>),
        (flags, opcode): (u8, Opcode),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Sent<S>, Refused> {
        let (_, connection) = self.reach(target, version, keyspace)?;
        let stream = connection.send(Owner::Request(ticket), &self.buffers, flags, opcode, body)?;
        Ok((connection, stream))
    }

    /// The node for a request, and a connection to it.
    #[inline]
    fn reach(
        &self,
        target: Target<'_>,
        version: Version,
        keyspace: Option<&str>,
    ) -> Result<Reached<S>, Refused> {
        loop {
            let host = self.hosts.borrow().pick(target, version)?;
            match self.connection(&host, target.token(), (version, keyspace)) {
                // It serves on the connections that it has and takes no more; others may.
                Err(Refused::Down) if host.is_up() && self.has_choice() => {
                    host.doubt();
                    self.redial(&host);
                }
                connection => return Ok((host, connection?)),
            }
        }
    }

    /// Teaches a node a statement of this keyspace that it does not know, once for all who wait. Which node
    /// it is.
    ///
    /// # Errors
    /// If the PREPARE cannot be sent; then the sink hears nothing.
    pub fn teach(
        &self,
        ticket: S::Ticket,
        target: Target<'_>,
        (version, keyspace): (Version, Option<&str>),
        id: Id,
        text: &str,
    ) -> Result<Asked, Refused> {
        let said = keyspace.filter(|_| version.has_keyspaces());
        let bound_to = keyspace.filter(|_| !version.has_keyspaces());
        let (host, connection) = self.reach(target, version, bound_to)?;
        let asked = connection.asked();
        let within = self.config.connect_timeout;
        let joined = host.waiting.borrow_mut().join(id, ticket, within);
        if joined? == Joined::Others {
            return Ok(asked);
        }
        let body = |out: &mut Vec<u8>| {
            Prepare {
                text,
                keyspace: said,
            }
            .put(out, version);
        };
        connection.send(Owner::Prepare(id), &self.buffers, 0, Opcode::Prepare, body)?;
        host.waiting.borrow_mut().first(id, ticket, connection);
        Ok(asked)
    }

    fn prepared(&self, host: &Host<S::Ticket>, id: Id, sink: &S, frame: Frame<'_>) {
        let taught = match (frame.header.opcode, frame.content()) {
            (Opcode::Result, Ok((_, content))) => {
                let version = frame.header.version;
                let prepared = crate::wire::response::result::Prepared::parse(content, version);
                prepared.ok().map(|it| Taught::Known(it, version))
            }
            (Opcode::Error, Ok(_)) => Some(Taught::Refused(frame)),
            _ => None,
        };
        if let Some(taught) = taught {
            return self.tell_taught(host, id, sink, &taught);
        }
        let nonsense = Lost::Broken("nonsense for an answer to PREPARE".to_owned());
        self.tell_taught(host, id, sink, &Taught::Lost(&nonsense));
    }

    fn tell_taught(&self, host: &Host<S::Ticket>, id: Id, sink: &S, taught: &Taught<'_>) {
        let waiting = host.waiting.borrow_mut().leave(id);
        for ticket in waiting {
            sink.taught(self.side, ticket, &id, taught);
        }
    }

    /// Uses the nodes that it is told of, or the contact points, until nobody can tell any more.
    pub async fn follow(&self, mut told: tokio::sync::watch::Receiver<Option<Arc<Topology>>>) {
        loop {
            let topology = told.borrow_and_update().clone();
            self.adopt(topology);
            if told.changed().await.is_err() {
                return;
            }
        }
    }

    /// Nodes that are new are dialled at once; those that are gone end when what they owe is answered.
    fn adopt(&self, topology: Option<Arc<Topology>>) {
        let is_news = match topology {
            Some(topology) => {
                self.hosts.borrow_mut().follow(topology);
                true
            }
            None => self
                .hosts
                .borrow_mut()
                .unfollow(&self.config.contact_points),
        };
        if !is_news {
            return;
        }
        self.redial_all();
        self.hosts.borrow_mut().reap();
    }

    /// Whether it matters which node a request goes to.
    #[inline]
    #[must_use]
    pub fn has_choice(&self) -> bool {
        self.hosts.borrow().has_choice()
    }

    /// Whether a token tells a better way: another node, or another shard.
    #[inline]
    #[must_use]
    pub fn heeds_tokens(&self) -> bool {
        self.has_shards.get() || self.has_choice()
    }

    /// Whether a request that was never sent may find another way.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.hosts.borrow().is_reachable()
    }

    /// Whether any of several nodes answers.
    #[must_use]
    pub fn is_served(&self) -> bool {
        let hosts = self.hosts.borrow();
        hosts.has_choice() && hosts.listed().iter().any(|it| it.is_up())
    }

    fn is_served_without(&self, host: HostId) -> bool {
        self.hosts.borrow().is_served_without(host)
    }

    /// Who answers, where this was not answered in time.
    #[must_use]
    pub fn heard(&self, asked: Asked) -> Heard {
        self.hosts.borrow().heard(asked)
    }

    /// Forgets the pause after failed attempts: the cluster is believed to be back.
    pub fn redial_now(&self) {
        let hosts = self.hosts.borrow();
        hosts.iter().for_each(|it| it.forget_pause());
    }

    #[inline]
    fn connection(
        &self,
        host: &Rc<Host<S::Ticket>>,
        token: Option<i64>,
        (version, keyspace): (Version, Option<&str>),
    ) -> Result<Held<S>, Refused> {
        let Some(keyspace) = keyspace else {
            if let Some(connection) = host.plain(version, token) {
                return Ok(connection);
            }
            let connection = self.dial(host, version, Purpose::Any)?;
            host.add_plain(&connection);
            return Ok(connection);
        };
        let mut bound = host.bound.borrow_mut();
        if let Some(connection) = bound.find(version, keyspace) {
            return Ok(connection);
        }
        bound.make_room()?;
        let connection = self.dial(host, version, Purpose::Keyspace(keyspace.to_owned()))?;
        bound.add(keyspace, &connection);
        Ok(connection)
    }

    fn dial(
        &self,
        host: &Rc<Host<S::Ticket>>,
        version: Version,
        purpose: Purpose,
    ) -> Result<Held<S>, Refused> {
        self.may_enter()?;
        host.may_dial()?;
        let itself = self.itself.upgrade().ok_or(Refused::Down)?;
        if !matches!(purpose, Purpose::Shard(_)) {
            self.version.set(version);
        }
        let connection = Connection::new(version, host.id, &host.tally);
        let (host, driven) = (Rc::clone(host), Rc::clone(&connection));
        self.spawn(drive::run(itself, host, driven, purpose, None));
        Ok(connection)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }

    /// A connection takes requests. What one node speaks the others do, too: they may have refused
    /// another version before.
    fn opened(
        &self,
        host: &Host<S::Ticket>,
        connection: &Connection<S::Ticket>,
        purpose: &Purpose,
    ) {
        match purpose {
            // Nobody knows yet whose it is.
            Purpose::Shard(_) => return self.ask_who(connection),
            Purpose::Any | Purpose::Keyspace(_) => self.redial_all(),
        }
        self.entered();
        if host.let_in(connection.version) {
            self.ask_for_life(connection);
        } else if matches!(purpose, Purpose::Any) {
            self.ask_who(connection);
        }
    }

    /// A connection could not be opened.
    fn failed(
        &self,
        host: &Rc<Host<S::Ticket>>,
        (version, purpose): (Version, &Purpose),
        lost: &Lost,
    ) {
        match (lost, purpose) {
            // The node is there; only the keyspace or another way to a shard is not.
            (Lost::Keyspace { .. }, _) | (_, Purpose::Shard(_)) => {}
            (Lost::Role(said), Purpose::Any | Purpose::Keyspace(_)) => self.shut_out(said),
            (Lost::Unsure(_), Purpose::Any | Purpose::Keyspace(_)) => {
                self.wait_a_while();
                host.doubt();
                self.hosts.borrow().move_on(host.id);
                self.redial(host);
            }
            (Lost::Version(_), Purpose::Any | Purpose::Keyspace(_)) => host.refused(version),
            (Lost::Files(_), Purpose::Any | Purpose::Keyspace(_)) => {
                self.redial_after(host, heard::REDIAL_MAX);
            }
            (Lost::Dial(_) | Lost::Broken(_), Purpose::Any | Purpose::Keyspace(_)) => {
                host.failed();
                self.hosts.borrow().move_on(host.id);
                self.redial(host);
            }
        }
    }

    /// A connection that had been ready is gone.
    fn broken(&self, host: &Rc<Host<S::Ticket>>, connection: &Held<S>) {
        host.broke(connection);
        if !host.is_up() {
            self.hosts.borrow().move_on(host.id);
        }
        self.redial(host);
    }

    fn redial_all(&self) {
        if self.has_choice() {
            let hosts = self.hosts.borrow().listed().to_vec();
            hosts.iter().for_each(|host| self.redial(host));
        }
    }

    fn is_listed(&self, host: &Host<S::Ticket>) -> bool {
        let hosts = self.hosts.borrow();
        hosts.listed().iter().any(|it| it.id == host.id)
    }

    /// Dials a node that is down while others serve: nobody's request should wait for it.
    fn redial(&self, host: &Rc<Host<S::Ticket>>) {
        self.redial_after(host, host.pause());
    }

    fn redial_after(&self, host: &Rc<Host<S::Ticket>>, pause: Duration) {
        let is_needed = !host.is_up() && self.has_choice() && self.is_listed(host);
        let is_out = self.may_enter() == Err(Refused::Role);
        if !is_needed || is_out || host.is_redialled.replace(true) {
            return;
        }
        let pause = pause.max(self.pause());
        let (itself, host) = (Weak::clone(&self.itself), Rc::clone(host));
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            host.is_redialled.set(false);
            let cluster = itself.upgrade().filter(|_| !host.is_up());
            let Some(cluster) = cluster else { return };
            match cluster.connection(&host, None, (cluster.version.get(), None)) {
                Ok(connection) if connection.is_ready() => cluster.ask_for_life(&connection),
                Ok(_dialled) => {}
                Err(refused) => {
                    tracing::trace!(%refused, "not dialled yet");
                    cluster.redial(&host);
                }
            }
        });
    }

    /// Bytes that the nodes have not read yet, over all connections.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let hosts = self.hosts.borrow();
        hosts.iter().map(|it| it.unsent()).sum()
    }
}
