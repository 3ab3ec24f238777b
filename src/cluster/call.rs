//! Requests of our own, awaited: probes, schema changes, the replay worker.
//!
//! A [`Line`] is one cluster as the control runtime uses it: the same code as live traffic, not the
//! same sockets.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::prepare::{Id, Taught};
use super::topology::Topology;
use super::{Cluster, Config, Connection, Lost, Refused, Role, Sink, Target};
use crate::pair::Side;
use crate::socket::Buffers;
use crate::wire::request::Query;
use crate::wire::response::event::Event;
use crate::wire::response::{Prefix, error, result};
use crate::wire::{Cursor, Frame, Malformed, Opcode, Version, code};

/// An answer that was copied out of the read buffer: a whole frame but its header.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The header's flags.
    pub flags: u8,
    /// RESULT, ERROR, READY or SUPPORTED.
    pub opcode: Opcode,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    fn of(frame: &Frame<'_>) -> Self {
        let header = &frame.header;
        Self {
            flags: header.flags,
            opcode: header.opcode,
            body: frame.body.to_vec(),
        }
    }

    /// The body behind tracing id, warnings and payload.
    ///
    /// # Errors
    /// If what the flags announce is not there.
    pub fn content(&self) -> Result<Cursor<'_>, Malformed> {
        Prefix::split(self.flags, &self.body).map(|(_, content)| content)
    }

    /// Code and sentence, if it is an ERROR. One that cannot be read counts as a server's error.
    #[must_use]
    pub fn error(&self) -> Option<(i32, String)> {
        if self.opcode != Opcode::Error {
            return None;
        }
        let parsed = self.content().and_then(error::Error::parse);
        Some(parsed.map_or_else(
            |fault| (code::SERVER_ERROR, fault.to_string()),
            |error| (error.code, error.message.to_owned()),
        ))
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The connection was lost or never was.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// It was not even sent.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No answer in time.
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    /// The node refused a statement that the call needed.
    #[error("refused: {message} ({code:#06x})")]
    Unteachable {
        /// Its error code.
        code: i32,
        /// Its sentence.
        message: String,
    },
}

impl Failure {
    /// Whether the cluster may have applied the request all the same.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        match self {
            Self::Lost(lost) => lost.may_have_applied(),
            Self::Timeout(_) => true,
            Self::Refused(_) | Self::Unteachable { .. } => false,
        }
    }
}

/// What a cluster calls a prepared statement.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Its id.
    pub id: Rc<[u8]>,
    /// The types of its variables: the same bytes in all versions.
    pub bind_types: Vec<u8>,
}

#[derive(Debug)]
enum Waiter {
    Answer(oneshot::Sender<Result<Reply, Failure>>),
    Lesson(oneshot::Sender<Result<Lesson, Failure>>),
}

/// The sink of awaited calls.
#[derive(Debug, Default)]
pub struct Calls {
    waiting: RefCell<HashMap<u64, Waiter>>,
    next: Cell<u64>,
    /// Events of schema changes, as they came.
    events: RefCell<SchemaEvents>,
    /// Rings at events.
    bell: Notify,
    /// Rings when a connection ends.
    ends: watch::Sender<()>,
}

/// Events of schema changes since they were last taken.
#[derive(Debug, Default)]
pub struct SchemaEvents {
    /// EVENT bodies, the oldest first.
    pub bodies: Vec<Vec<u8>>,
    /// There were more.
    pub is_short: bool,
}

/// Events kept until somebody takes them; of more it is known only that there were.
const EVENTS_MAX: usize = 256;

impl Calls {
    fn ticket(&self, waiter: Waiter) -> u64 {
        let ticket = self.next.get();
        self.next.set(ticket + 1);
        self.waiting.borrow_mut().insert(ticket, waiter);
        ticket
    }

    fn tell(&self, ticket: u64, outcome: Result<Reply, Failure>) {
        // Whoever has left does not hear it.
        let heard = match (self.waiting.borrow_mut().remove(&ticket), outcome) {
            (Some(Waiter::Answer(to)), outcome) => to.send(outcome).is_ok(),
            (Some(Waiter::Lesson(to)), Err(failure)) => to.send(Err(failure)).is_ok(),
            (Some(Waiter::Lesson(_)), Ok(_)) | (None, _) => false,
        };
        tracing::trace!(ticket, heard, "call answered");
    }
}

impl Sink for Calls {
    type Ticket = u64;

    fn answer(&self, _side: Side, ticket: u64, _on: &Rc<Connection<u64>>, frame: Frame<'_>) {
        self.tell(ticket, Ok(Reply::of(&frame)));
    }

    fn lost(&self, _side: Side, ticket: u64, lost: &Lost) {
        self.tell(ticket, Err(Failure::Lost(lost.clone())));
    }

    fn taught(&self, _side: Side, ticket: u64, _id: &Id, taught: &Taught<'_>) {
        let lesson = match taught {
            Taught::Known(prepared, _) => Ok(Lesson {
                id: prepared.id.into(),
                bind_types: prepared.bind_types(),
            }),
            Taught::Refused(frame) => {
                let (code, message) = Reply::of(frame).error().unwrap_or_default();
                Err(Failure::Unteachable { code, message })
            }
            Taught::Lost(lost @ (Lost::Keyspace { .. } | Lost::Role(_) | Lost::Version(_))) => {
                Err(Failure::Lost((*lost).clone()))
            }
            Taught::Lost(Lost::Broken(_) | Lost::Dial(_) | Lost::Files(_) | Lost::Unsure(_)) => {
                Err(Failure::Refused(Refused::Down))
            }
        };
        if let Some(Waiter::Lesson(to)) = self.waiting.borrow_mut().remove(&ticket) {
            let heard = to.send(lesson).is_ok();
            tracing::trace!(ticket, heard, "statement taught");
        }
    }

    fn event(&self, _side: Side, frame: Frame<'_>) {
        let mut events = self.events.borrow_mut();
        let parsed = Event::parse(Cursor::new(frame.body));
        if matches!(parsed, Ok(Event::Schema { .. })) {
            let is_full = EVENTS_MAX <= events.bodies.len();
            events.is_short |= is_full;
            if !is_full {
                events.bodies.push(frame.body.to_vec());
            }
        }
        self.bell.notify_one();
    }

    fn gone(&self, _side: Side) {
        self.ends.send_replace(());
    }
}

/// One cluster as the control runtime uses it.
#[derive(Clone)]
pub struct Line {
    side: Side,
    version: Rc<Cell<Version>>,
    cluster: Rc<Cluster<Calls>>,
    calls: Rc<Calls>,
}

/// Our own requests need nothing of version 5, and all that speak it speak version 4.
const VERSION_MAX: Version = Version::V4;

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// A line to this cluster; nothing is dialled before the first call.
    #[must_use]
    pub fn new(side: Side, config: Arc<Config>, buffers: Rc<Buffers>) -> Self {
        let calls = Rc::<Calls>::default();
        let version = config.protocol_max.version().min(VERSION_MAX);
        let version = Rc::new(Cell::new(version));
        let cluster = Cluster::steady(side, config, buffers, Rc::downgrade(&calls));
        Self {
            side,
            version,
            cluster,
            calls,
        }
    }

    /// A line of its own for a client's role, to be closed by [`Line::close`].
    #[must_use]
    pub fn under(&self, role: Role) -> Self {
        let calls = Rc::<Calls>::default();
        let sink = Rc::downgrade(&calls);
        Self {
            side: self.side,
            version: Rc::new(Cell::new(self.version())),
            cluster: self.cluster.under_for(role, &self.cluster.buffers, sink),
            calls,
        }
    }

    /// A line of its own to the node at this address, whatever nodes this one was told of, to be closed by
    /// [`Line::close`].
    #[must_use]
    pub(super) fn to(&self, address: &str) -> Self {
        let (calls, cluster) = (Rc::<Calls>::default(), &self.cluster);
        let (config, sink) = (Arc::clone(&cluster.config), Rc::downgrade(&calls));
        let cluster = Cluster::steady(self.side, config, Rc::clone(&cluster.buffers), sink);
        let only = Topology::new(vec![address.into()], Vec::new(), Vec::new());
        cluster.adopt(Some(Arc::new(only)));
        Self {
            side: self.side,
            version: Rc::new(Cell::new(self.version())),
            cluster,
            calls,
        }
    }

    /// Ends what [`Line::under`] or that to one node began.
    pub fn close(&self) {
        self.cluster.close();
    }

    /// Which side it leads to.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The version that our own requests use; a node that does not speak it is spoken to in the next
    /// lower one from then on.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version.get()
    }

    /// The cluster behind it.
    #[must_use]
    pub const fn cluster(&self) -> &Rc<Cluster<Calls>> {
        &self.cluster
    }

    /// Sends one request and waits for its answer, an ERROR included.
    ///
    /// # Errors
    /// A [`Failure`] if there is none within this time.
    pub async fn call(
        &self,
        way: (Version, Option<&str>),
        kind: (u8, Opcode),
        body: impl FnOnce(&mut Vec<u8>),
        within: Duration,
    ) -> Result<Reply, Failure> {
        let (to, answer) = oneshot::channel();
        let ticket = self.calls.ticket(Waiter::Answer(to));
        let sent = self.cluster.send(ticket, Target::Any, way, kind, body);
        let outcome = self.wait(ticket, sent, answer, within).await;
        outcome.inspect_err(|failure| self.step_down(way.0, failure))
    }

    fn step_down(&self, from: Version, failure: &Failure) {
        if let (Failure::Lost(Lost::Version(_)), Some(lower)) = (failure, from.lower()) {
            self.version.set(lower.min(self.version()));
        }
    }

    /// Has a statement prepared, and learns what the cluster calls it.
    ///
    /// # Errors
    /// A [`Failure`]; nothing was applied.
    pub async fn teach(
        &self,
        way: (Version, Option<&str>),
        id: Id,
        text: &str,
        within: Duration,
    ) -> Result<Lesson, Failure> {
        let (to, lesson) = oneshot::channel();
        let ticket = self.calls.ticket(Waiter::Lesson(to));
        if let Err(refused) = self.cluster.teach(ticket, Target::Any, way, id, text) {
            self.calls.waiting.borrow_mut().remove(&ticket);
            return Err(refused.into());
        }
        let lesson = timeout(within, lesson).await;
        self.calls.waiting.borrow_mut().remove(&ticket);
        match lesson {
            Ok(Ok(lesson)) => lesson.inspect_err(|failure| self.step_down(way.0, failure)),
            // A PREPARE applies nothing, however it ends.
            Ok(Err(_)) | Err(_) => Err(Failure::Refused(Refused::Down)),
        }
    }

    async fn wait<T>(
        &self,
        ticket: u64,
        sent: Result<super::Sent<Calls>, Refused>,
        answer: oneshot::Receiver<Result<T, Failure>>,
        within: Duration,
    ) -> Result<T, Failure> {
        let (connection, stream) = sent.inspect_err(|_| {
            self.calls.waiting.borrow_mut().remove(&ticket);
        })?;
        match timeout(within, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::Lost(Lost::Broken("shutting down".to_owned()))),
            Err(_elapsed) => {
                self.calls.waiting.borrow_mut().remove(&ticket);
                if connection.withdraw(stream) {
                    return Err(Failure::Refused(Refused::Down));
                }
                connection.orphan();
                Err(Failure::Timeout(within))
            }
        }
    }

    /// Asks for something of our own, in no keyspace.
    ///
    /// # Errors
    /// A [`Failure`], also where the node answers with an ERROR.
    pub(super) async fn ask(
        &self,
        opcode: Opcode,
        body: impl FnOnce(&mut Vec<u8>),
        within: Duration,
    ) -> Result<Reply, Failure> {
        let way = (self.version(), None);
        let reply = self.call(way, (0, opcode), body, within).await?;
        match reply.error() {
            Some((code, message)) => Err(Failure::Unteachable { code, message }),
            None => Ok(reply),
        }
    }

    /// Runs a text of our own at consistency ONE and returns its rows' cells.
    ///
    /// # Errors
    /// A [`Failure`], also where the node answered with an error or with no rows.
    pub async fn rows(&self, text: &str, within: Duration) -> Result<Vec<Row>, Failure> {
        let body = |out: &mut Vec<u8>| Query::plain(text).put(out, self.version());
        let reply = self.ask(Opcode::Query, body, within).await?;
        let rows = reply.content().and_then(result::Rows::parse);
        let rows = rows.map_err(|fault| Lost::Broken(fault.to_string()))?;
        Ok(rows
            .iter()
            .map(|cells| cells.iter().map(|cell| cell.map(<[u8]>::to_vec)).collect())
            .collect())
    }

    /// Waits for an event of a connection that registered.
    pub async fn event(&self) {
        self.calls.bell.notified().await;
    }

    /// Tells of connections that are lost from now on.
    #[must_use]
    pub fn ends(&self) -> watch::Receiver<()> {
        self.calls.ends.subscribe()
    }

    /// Takes the schema events that came.
    #[must_use]
    pub fn take_events(&self) -> SchemaEvents {
        self.calls.events.take()
    }
}

/// The cells of one row; null is `None`.
pub type Row = Vec<Option<Vec<u8>>>;
