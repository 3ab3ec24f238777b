//! One backend cluster as one data-plane thread sees it: connections, stream ids, prepared ids.
//!
//! A [`Cluster`] sends on behalf of opaque tickets and hands what comes back to its [`Sink`], bytes
//! still in the read buffer. It knows its own [`Side`] as a label only, and never the other one.

mod account;
pub mod call;
mod config;
pub mod connection;
mod dial;
pub mod inflight;
mod keyspaces;
pub mod prepare;
pub mod watch;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pair::Side;
use crate::socket::{Buffers, End};
use crate::wire::request::Prepare;
use crate::wire::{Frame, NodeStream, Opcode, Version};

pub use crate::wire::Compression;
pub use account::{Account, Kept};
pub use config::{Config, ContactPoint, ContactPoints, Name, ProtocolMax};
pub use connection::Connection;
use connection::{Answers, Owner, State};
use keyspaces::Keyspaces;
use prepare::{Id, Joined, Taught, Waiting};

/// Requests given up on one connection before it is replaced.
const ORPHANS_MAX: usize = 16_384;
/// How long a failed address is left alone at first, doubling up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect.
const REDIAL_MAX: Duration = Duration::from_secs(1);
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

    /// A connection that had been ready is gone; what waited on it was told before.
    fn gone(&self, _side: Side) {}
}

/// Why a connection, and what waited on it, is lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lost {
    /// It was closed or broke after it had been ready.
    #[error("the connection was lost: {0}")]
    Broken(String),
    /// It never became ready.
    #[error("no connection: {0}")]
    Dial(String),
    /// The node does not speak the version.
    #[error("no connection: {0}")]
    Version(String),
    /// The node refused the keyspace that the connection was for.
    #[error("the node refused the keyspace: {message}")]
    Keyspace {
        /// Its error code.
        code: i32,
        /// Its sentence.
        message: String,
    },
}

impl Lost {
    /// Whether the node may have applied what waited on the connection.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Dial(_) | Self::Keyspace { .. } | Self::Version(_) => false,
        }
    }
}

/// Why a request was not even put on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// All stream ids are in use, or the node does not read.
    #[error("too many requests in flight to the cluster")]
    Busy,
    /// There is no connection, and the last attempt is too recent for another.
    #[error("no connection to the cluster")]
    Down,
}

/// A connection of a sink's, and the place of one request on it.
pub type Sent<S> = (Held<S>, NodeStream);
/// A connection that carries a sink's tickets.
pub type Held<S> = Rc<Connection<<S as Sink>::Ticket>>;

/// One cluster, seen from one thread.
pub struct Cluster<S: Sink> {
    side: Side,
    config: Arc<Config>,
    buffers: Rc<Buffers>,
    sink: Weak<S>,
    itself: Weak<Self>,
    plain: [RefCell<Option<Held<S>>>; Version::ALL.len()],
    bound: RefCell<Keyspaces<S::Ticket>>,
    waiting: RefCell<Waiting<S::Ticket>>,
    tasks: RefCell<JoinSet<()>>,
    host: Cell<usize>,
    redial_at: Cell<Option<Instant>>,
    redial_after: Cell<Duration>,
}

impl<S: Sink> std::fmt::Debug for Cluster<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl<S: Sink> Cluster<S> {
    /// A cluster without connections; they are dialled when something is to be sent.
    #[must_use]
    pub fn new(side: Side, config: Arc<Config>, buffers: Rc<Buffers>, sink: Weak<S>) -> Rc<Self> {
        Rc::new_cyclic(|itself| Self {
            side,
            config,
            buffers,
            sink,
            itself: Weak::clone(itself),
            plain: Default::default(),
            bound: RefCell::default(),
            waiting: RefCell::default(),
            tasks: RefCell::default(),
            host: Cell::new(0),
            redial_at: Cell::new(None),
            redial_after: Cell::new(REDIAL_MIN),
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
        (version, keyspace): (Version, Option<&str>),
        (flags, opcode): (u8, Opcode),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Sent<S>, Refused> {
        let connection = self.connection(version, keyspace)?;
        let stream = connection.send(Owner::Request(ticket), &self.buffers, flags, opcode, body)?;
        Ok((connection, stream))
    }

    /// Teaches a node a statement that it does not know, once for all who wait.
    ///
    /// # Errors
    /// If the PREPARE cannot be sent; then the sink hears nothing.
    pub fn teach(
        &self,
        ticket: S::Ticket,
        (version, keyspace): (Version, Option<&str>),
        id: Id,
        text: &str,
    ) -> Result<(), Refused> {
        let connection = self.connection(version, keyspace)?;
        let within = self.config.connect_timeout;
        let joined = self.waiting.borrow_mut().join(id, ticket, within);
        if joined? == Joined::Others {
            return Ok(());
        }
        let body = |out: &mut Vec<u8>| {
            Prepare {
                text,
                keyspace: None,
            }
            .put(out, version);
        };
        connection.send(Owner::Prepare(id), &self.buffers, 0, Opcode::Prepare, body)?;
        self.waiting.borrow_mut().first(id, ticket, connection);
        Ok(())
    }

    fn prepared(&self, id: Id, sink: &S, frame: Frame<'_>) {
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
            return self.tell_taught(id, sink, &taught);
        }
        let nonsense = Lost::Broken("nonsense for an answer to PREPARE".to_owned());
        self.tell_taught(id, sink, &Taught::Lost(&nonsense));
    }

    fn tell_taught(&self, id: Id, sink: &S, taught: &Taught<'_>) {
        let waiting = self.waiting.borrow_mut().leave(id);
        for ticket in waiting {
            sink.taught(self.side, ticket, &id, taught);
        }
    }

    /// Forgets the pause after failed attempts: the cluster is believed to be back.
    pub fn redial_now(&self) {
        self.redial_at.set(None);
        self.redial_after.set(REDIAL_MIN);
    }

    #[inline]
    fn connection(&self, version: Version, keyspace: Option<&str>) -> Result<Held<S>, Refused> {
        let Some(keyspace) = keyspace else {
            let place = &self.plain[version.index()];
            if let Some(connection) = &*place.borrow()
                && connection.state.get() != State::Gone
            {
                return Ok(Rc::clone(connection));
            }
            let connection = self.dial(version, None)?;
            *place.borrow_mut() = Some(Rc::clone(&connection));
            return Ok(connection);
        };
        self.bound_connection(version, keyspace)
    }

    fn bound_connection(&self, version: Version, keyspace: &str) -> Result<Held<S>, Refused> {
        let mut bound = self.bound.borrow_mut();
        if let Some(connection) = bound.find(version, keyspace) {
            return Ok(connection);
        }
        bound.make_room()?;
        let connection = self.dial(version, Some(keyspace))?;
        bound.add(keyspace, &connection);
        Ok(connection)
    }

    fn dial(&self, version: Version, keyspace: Option<&str>) -> Result<Held<S>, Refused> {
        if self.redial_at.get().is_some_and(|at| Instant::now() < at) {
            return Err(Refused::Down);
        }
        let Some(itself) = self.itself.upgrade() else {
            return Err(Refused::Down);
        };
        let connection = Connection::new(version);
        let task = run(itself, Rc::clone(&connection), keyspace.map(str::to_owned));
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
        Ok(connection)
    }

    /// Contact points, at least one.
    fn points(&self) -> usize {
        self.config.contact_points.as_slice().len().max(1)
    }

    fn address(&self, host: usize) -> String {
        let points = self.config.contact_points.as_slice();
        points
            .get(host % self.points())
            .map(ContactPoint::to_string)
            .unwrap_or_default()
    }

    /// Whether connections to another node are wanted by now.
    fn has_moved(&self, from: usize) -> bool {
        self.host.get() % self.points() != from % self.points()
    }

    fn dialled(&self, host: usize, outcome: Result<(), &Lost>) {
        match outcome {
            Ok(()) => {
                self.redial_after.set(REDIAL_MIN);
                self.redial_at.set(None);
            }
            // The node is there; only the keyspace or the version is not.
            Err(Lost::Keyspace { .. } | Lost::Version(_)) => {}
            // Of several that failed there together, the first moves all on.
            Err(Lost::Dial(_) | Lost::Broken(_)) if host != self.host.get() => {}
            Err(Lost::Dial(_) | Lost::Broken(_)) => self.move_on(),
        }
    }

    /// The next contact point is tried at once; the pause comes after a whole round. All connections
    /// are to one node, as one teaches it what another asks for: those that are left of the node before
    /// go, too.
    fn move_on(&self) {
        let host = self.host.get() + 1;
        self.host.set(host);
        if 1 < self.points() {
            self.connections().iter().for_each(|it| it.outbox.abort());
        }
        if host.is_multiple_of(self.points()) {
            let after = self.redial_after.get();
            self.redial_at.set(Some(Instant::now() + after));
            self.redial_after.set((after * 2).min(REDIAL_MAX));
        }
    }

    /// Asks silent connections for a sign of life and closes those that give none, for ever.
    pub async fn keep_alive(&self) {
        let mut pulse = tokio::time::interval(self.config.heartbeat);
        loop {
            pulse.tick().await;
            self.bound.borrow_mut().shrink();
            let within = self.config.connect_timeout;
            self.waiting.borrow().abort_overdue(within);
            for connection in self.connections() {
                self.check(&connection);
            }
        }
    }

    /// Bytes that the nodes have not read yet, over all connections.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let plain = self.plain.iter().filter_map(|place| place.borrow().clone());
        let bound = self.bound.borrow();
        let bound = bound.iter().map(|it| it.unsent()).sum::<usize>();
        plain.map(|it| it.unsent()).sum::<usize>() + bound
    }

    fn connections(&self) -> Vec<Held<S>> {
        let plain = self.plain.iter().filter_map(|place| place.borrow().clone());
        let bound: Vec<_> = self.bound.borrow().iter().map(Rc::clone).collect();
        plain.chain(bound).filter(|it| it.is_ready()).collect()
    }

    /// Silent for one period: asked. Silent for another: dead.
    fn check(&self, connection: &Connection<S::Ticket>) {
        let answered = connection.answered();
        if connection.answered_before.replace(answered) != answered {
            connection.is_asked.set(false);
            return;
        }
        let sign = |_body: &mut Vec<u8>| {};
        if connection.is_asked.replace(true)
            || connection
                .send(Owner::Heartbeat, &self.buffers, 0, Opcode::Options, sign)
                .is_err()
        {
            connection.outbox.abort();
        }
    }
}

/// Drives one connection from dialling to its end.
async fn run<S: Sink>(
    cluster: Rc<Cluster<S>>,
    connection: Rc<Connection<S::Ticket>>,
    keyspace: Option<String>,
) {
    let mut ending = Ending {
        cluster: &cluster,
        connection: &connection,
        lost: None,
    };
    let lost = serve(&cluster, &connection, keyspace.as_deref()).await;
    tracing::debug!(side = %cluster.side, %lost, "connection ended");
    ending.lost = Some(lost);
}

async fn serve<S: Sink>(
    cluster: &Rc<Cluster<S>>,
    connection: &Rc<Connection<S::Ticket>>,
    keyspace: Option<&str>,
) -> Lost {
    let host = cluster.host.get();
    let address = cluster.address(host);
    let within = cluster.config.connect_timeout;
    let wish = dial::Wish {
        address: &address,
        version: connection.version,
        compression: cluster.config.compression,
        tls: cluster.config.tls.as_deref(),
        account: cluster.config.account.as_ref(),
        keyspace,
        within,
    };
    let coding = wish.coding();
    let mut socket = match dial::dial(wish, &cluster.buffers).await {
        Ok(socket) => socket,
        Err(lost) => {
            cluster.dialled(host, Err(&lost));
            return lost;
        }
    };
    if cluster.has_moved(host) {
        return Lost::Dial("another node is used by now".to_owned());
    }
    cluster.dialled(host, Ok(()));
    connection.outbox.change(coding);
    connection.ready(&cluster.buffers);
    cluster.bound.borrow_mut().shrink();
    let Some(sink) = cluster.sink.upgrade() else {
        return Lost::Broken("shutting down".to_owned());
    };
    let side = cluster.side;
    sink.opened(side);
    let mut answers = Answers {
        side,
        connection,
        cluster,
        sink: &*sink,
        fault: None,
    };
    let end = {
        // The socket may stay blocked on a node that reads nothing; a closed outbox ends it.
        socket
            .drive(&connection.outbox, &cluster.buffers, &mut answers)
            .await
    };
    answers.fault.take().unwrap_or_else(|| match end {
        End::Lost(error) => Lost::Broken(error.to_string()),
        End::Closed | End::Returned => Lost::Broken("closed by us".to_owned()),
    })
}

/// Tells everybody who waited that the connection is gone, also when its task panicked.
struct Ending<'a, S: Sink> {
    cluster: &'a Rc<Cluster<S>>,
    connection: &'a Rc<Connection<S::Ticket>>,
    lost: Option<Lost>,
}

impl<S: Sink> Drop for Ending<'_, S> {
    fn drop(&mut self) {
        let was_ready = self.connection.state.replace(State::Gone) == State::Ready;
        let Some(sink) = self.cluster.sink.upgrade() else {
            return;
        };
        let lost = self
            .lost
            .take()
            .unwrap_or_else(|| Lost::Broken("its task failed".to_owned()));
        let owners: Vec<_> = self.connection.inflight.borrow_mut().drain().collect();
        let is_fault = !matches!(lost, Lost::Keyspace { .. } | Lost::Version(_));
        let is_used = |owner: &Owner<_>| !matches!(owner, Owner::Heartbeat);
        let failed = is_fault && owners.iter().any(is_used);
        for owner in owners {
            match owner {
                Owner::Request(ticket) => sink.lost(self.cluster.side, ticket, &lost),
                Owner::Prepare(id) => {
                    self.cluster.tell_taught(id, &*sink, &Taught::Lost(&lost));
                }
                Owner::Heartbeat => {}
            }
        }
        if failed {
            sink.failed(self.cluster.side);
        }
        if was_ready {
            sink.gone(self.cluster.side);
        }
    }
}
