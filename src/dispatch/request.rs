//! One request in flight: what the client sent, and how it is written to a node.

use std::rc::Rc;
use std::time::Instant;

use super::flow::{Actions, Chain, Input, Read, Write};
use super::known::Known;
use super::paging;
use super::registry::Entry;
use super::{Client, Login};
use crate::cluster::prepare::Id;
use crate::cluster::{Asked, Connection, HostId, Limit};
use crate::pair::{Pair, Side, Sides};
use crate::policy::Verdict;
use crate::replay::Seq;
use crate::statement::Class;
use crate::wire::request::{Batch, Child, Execute, Prepare, Query, What as Statement};
use crate::wire::{ClientStream, Consistency, Cursor, NodeStream, Opcode, Version};

use super::table::Key;

/// The machine that decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flow {
    Chain(Chain),
    Read(Read),
    Write(Write),
}

impl Flow {
    #[inline]
    pub(super) fn handle(&mut self, input: Input) -> Actions {
        match self {
            Self::Chain(chain) => chain.handle(input),
            Self::Read(read) => read.handle(input),
            Self::Write(write) => write.handle(input),
        }
    }

    /// Whether the client has been answered and nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Chain(chain) => chain.is_over(),
            Self::Read(read) => read.is_over(),
            Self::Write(write) => write.is_over(),
        }
    }

    /// A cluster says that whoever asks for it may not.
    pub(super) const fn forbid(&mut self) {
        match self {
            Self::Chain(_) | Self::Read(_) => {}
            Self::Write(write) => write.forbid(),
        }
    }

    pub(super) fn waiting(&self) -> Sides {
        match self {
            Self::Chain(chain) => chain.waiting(),
            Self::Read(read) => read.waiting(),
            Self::Write(write) => write.waiting(),
        }
    }
}

/// What the client asked for.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A batch: its prepared children by their place, and one text's keyspace needs for all.
    Batch(Rc<Batched>),
    Execute(Rc<Entry>),
    Prepare(Rc<Known>),
    Query(Rc<Known>),
}

/// What is known of a BATCH message.
#[derive(Debug)]
pub(super) struct Batched {
    /// The entry of each child that is prepared, in order.
    pub(super) entries: Vec<Option<Rc<Entry>>>,
    /// The texts of the others.
    pub(super) texts: Vec<Option<Rc<Known>>>,
    /// Some text needs the client's keyspace.
    pub(super) needs_keyspace: bool,
    pub(super) repeat: crate::replay::record::Repeat,
    pub(super) conditional: bool,
    /// Some value in it is made by each server.
    pub(super) per_server: bool,
    pub(super) hash: u64,
}

/// An answer that waits for the other side's, copied from the read buffer.
#[derive(Debug, Default)]
pub(super) enum Held {
    /// An error that a lost connection stands for.
    Error(super::Error),
    Frame {
        flags: u8,
        opcode: Opcode,
        body: Vec<u8>,
    },
    #[default]
    Nothing,
    /// A RESULT of kind VOID without anything else: what nearly every write gets.
    Void,
}

/// One side's part, as far as sockets go.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) sent: Option<Sent>,
    /// The node that was taught something for it, or is being taught.
    pub(super) host: Option<HostId>,
    /// Who was last asked.
    pub(super) asked: Option<Asked>,
    /// How often it went to another node, for one that failed.
    pub(super) hops: u8,
    /// PREPAREs that it needed.
    pub(super) lessons: u8,
    pub(super) held: Held,
    /// When this side was asked.
    pub(super) since: Option<Instant>,
    /// What it said.
    pub(super) verdict: Option<Verdict>,
    /// The cluster does not let the client's role in.
    pub(super) is_shut: bool,
    /// The cluster had too much to do to take it.
    pub(super) full: Option<Limit>,
}

impl Leg {
    const fn new() -> Self {
        Self {
            sent: None,
            host: None,
            asked: None,
            hops: 0,
            lessons: 0,
            held: Held::Nothing,
            since: None,
            verdict: None,
            is_shut: false,
            full: None,
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Request<C: Client> {
    pub(super) client: C,
    /// Whose connections it goes over, if not the service account's.
    pub(super) login: Option<Rc<Login<C>>>,
    pub(super) stream: ClientStream,
    pub(super) version: Version,
    pub(super) flags: u8,
    pub(super) keyspace: Option<Rc<str>>,
    pub(super) what: What,
    /// The client's whole body.
    pub(super) body: Vec<u8>,
    /// Bytes of `body` that are custom payload.
    pub(super) payload: usize,
    pub(super) consistency: Consistency,
    /// The timestamp that all sides and the record get.
    pub(super) timestamp: Option<i64>,
    pub(super) flow: Flow,
    /// It goes on with a paging that one side began.
    pub(super) pinned: bool,
    pub(super) since: Instant,
    pub(super) legs: Pair<Leg>,
    pub(super) seq: Option<Seq>,
    /// Sides that owe it without a word of the queue, counted as that.
    pub(super) unvouched: Sides,
}

pub(super) const fn legs() -> Pair<Leg> {
    Pair::new(Leg::new(), Leg::new())
}

/// Where a leg was sent.
#[derive(Debug)]
pub(super) struct Sent {
    connection: Rc<Connection<Key>>,
    stream: NodeStream,
    /// Frames that had arrived there by then.
    answered: u64,
}

impl Leg {
    /// Takes back what has not gone out. Whether the node surely never gets it.
    pub(super) fn withdraw(&mut self) -> bool {
        let surely = self
            .sent
            .as_ref()
            .is_none_or(|sent| sent.connection.withdraw(sent.stream));
        if surely {
            self.sent = None;
        }
        surely
    }

    /// It is on its way.
    pub(super) fn sent(&mut self, connection: Rc<Connection<Key>>, stream: NodeStream) {
        self.asked = Some(connection.asked());
        self.sent = Some(Sent {
            answered: connection.answered(),
            connection,
            stream,
        });
    }

    /// The connection that it was sent on, if nothing has arrived there since.
    pub(super) fn silent(&self) -> Option<Rc<Connection<Key>>> {
        let sent = self.sent.as_ref()?;
        let is_silent = sent.connection.answered() == sent.answered;
        is_silent.then(|| Rc::clone(&sent.connection))
    }
}

impl<C: Client> Request<C> {
    pub(super) fn opcode(&self) -> Opcode {
        match self.what {
            What::Batch(_) => Opcode::Batch,
            What::Execute(_) => Opcode::Execute,
            What::Prepare(_) => Opcode::Prepare,
            What::Query(_) => Opcode::Query,
        }
    }

    /// The client's body behind its custom payload.
    pub(super) fn content(&self) -> &[u8] {
        self.body.get(self.payload..).unwrap_or_default()
    }

    /// The keyspace that the text needs, if any.
    pub(super) fn keyspace(&self) -> Option<&str> {
        let needs = match &self.what {
            What::Batch(batch) => batch.needs_keyspace,
            What::Execute(entry) => match &entry.known.statement.class {
                Class::Use(keyspace) => return Some(keyspace),
                // They ask again when they run; what others needed PREPARE was told.
                Class::Describe | Class::Unknown => entry.known.statement.needs_keyspace,
                Class::Conditional
                | Class::Read
                | Class::Schema(_)
                | Class::System
                | Class::Topology(_)
                | Class::Traces
                | Class::Write => false,
            },
            What::Prepare(known) | What::Query(known) => {
                if let Class::Use(keyspace) = &known.statement.class {
                    return Some(keyspace);
                }
                known.statement.needs_keyspace
            }
        };
        self.keyspace.as_deref().filter(|_| needs)
    }

    /// Of the statement's text or texts: tells statements apart for the breaker.
    pub(super) fn hash(&self) -> u64 {
        match &self.what {
            What::Batch(batch) => batch.hash,
            What::Execute(entry) => entry.known.hash,
            What::Prepare(known) | What::Query(known) => known.hash,
        }
    }

    /// Whether Unavailable means that nothing was applied (S14).
    pub(super) fn single_partition(&self) -> bool {
        match &self.what {
            What::Batch(_) => false,
            What::Execute(entry) => entry.known.statement.single_partition,
            What::Query(known) => known.statement.single_partition,
            What::Prepare(_) => true,
        }
    }

    /// A prepared statement that this side must be taught before it can run this.
    pub(super) fn unknown_to(&self, side: Side) -> Option<Rc<Entry>> {
        let unknown = |entry: &&Rc<Entry>| entry.called(side).is_none();
        match &self.what {
            What::Batch(batch) => batch.entries.iter().flatten().find(unknown).cloned(),
            What::Execute(entry) => Some(entry).filter(unknown).cloned(),
            What::Prepare(_) | What::Query(_) => None,
        }
    }

    /// The prepared statement that the proxy calls `id`.
    pub(super) fn entry(&self, id: &Id) -> Option<Rc<Entry>> {
        let is_it = |entry: &&Rc<Entry>| entry.template.id == *id;
        match &self.what {
            What::Batch(batch) => batch.entries.iter().flatten().find(is_it).cloned(),
            What::Execute(entry) => Some(entry).filter(is_it).cloned(),
            What::Prepare(_) | What::Query(_) => None,
        }
    }

    /// The prepared statement that this side calls `id`.
    pub(super) fn called(&self, side: Side, id: &[u8]) -> Option<Rc<Entry>> {
        match &self.what {
            What::Batch(batch) => batch
                .entries
                .iter()
                .flatten()
                .find(|entry| entry.is_called(side, id))
                .cloned(),
            What::Execute(entry) => Some(Rc::clone(entry)),
            What::Prepare(_) | What::Query(_) => None,
        }
    }

    /// Writes the body for this side: the client's, with this side's ids, the timestamp, and
    /// without the tag of a paging state.
    #[inline]
    pub(super) fn put(&self, side: Side, out: &mut Vec<u8>) {
        out.extend_from_slice(self.body.get(..self.payload).unwrap_or_default());
        let cursor = Cursor::new(self.content());
        match &self.what {
            What::Execute(entry) => self.put_execute(entry, side, cursor, out),
            What::Query(_) => {
                if let Ok(mut query) = Query::parse(cursor, self.version) {
                    query.parameters.timestamp = self.timestamp;
                    query.parameters.paging_state = self.untagged(query.parameters.paging_state);
                    query.parameters.keyspace = self.said(query.parameters.keyspace);
                    query.put(out, self.version);
                }
            }
            What::Batch(batched) => self.put_batch(batched, side, cursor, out),
            What::Prepare(_) => {
                if let Ok(mut prepare) = Prepare::parse(cursor, self.version) {
                    prepare.keyspace = self.said(prepare.keyspace);
                    prepare.put(out, self.version);
                }
            }
        }
    }

    #[inline]
    fn put_execute(&self, entry: &Entry, side: Side, cursor: Cursor<'_>, out: &mut Vec<u8>) {
        let has_columns = Version::V5 <= self.version;
        if has_columns {
            entry.hear_columns_ids();
        }
        let (Ok(mut execute), Some(node)) =
            (Execute::parse(cursor, self.version), entry.called(side))
        else {
            return;
        };
        execute.id = node.id();
        if has_columns {
            execute.columns = entry.columns_id(side, &node, execute.columns);
        }
        execute.parameters.timestamp = self.timestamp;
        // A client that leaves the columns out would read the other cluster's wrongly.
        if execute.parameters.skip_metadata {
            execute.parameters.skip_metadata = entry.may_skip(self.version);
        }
        execute.parameters.paging_state = self.untagged(execute.parameters.paging_state);
        execute.put(out, self.version);
    }

    /// The keyspace that the connection must be in, if any: where messages cannot say it, and of what asks for
    /// it when it runs, as USE, DESCRIBE and GRANT do (Cassandra hands a message's own to the parser alone).
    pub(super) fn bound_to(&self) -> Option<&str> {
        self.keyspace().filter(|_| !self.says_its_keyspace())
    }

    /// The keyspace that the message itself says to the node: the one that the client uses, or the
    /// client's own word.
    fn said<'a>(&'a self, own: Option<&'a str>) -> Option<&'a str> {
        let used = self.keyspace().filter(|_| self.says_its_keyspace());
        used.or(own)
    }

    fn says_its_keyspace(&self) -> bool {
        let class = match &self.what {
            What::Batch(_) => &Class::Write,
            What::Execute(entry) => &entry.known.statement.class,
            What::Prepare(known) | What::Query(known) => &known.statement.class,
        };
        let is_data = matches!(class, Class::Conditional | Class::Read | Class::Write);
        self.version.has_keyspaces() && is_data
    }

    fn put_batch(&self, batched: &Batched, side: Side, cursor: Cursor<'_>, out: &mut Vec<u8>) {
        let Ok(mut batch) = Batch::parse(cursor, self.version) else {
            return;
        };
        batch.timestamp = self.timestamp;
        batch.keyspace = self.said(batch.keyspace);
        batch.put_head(out);
        for (child, entry) in batch.children().zip(&batched.entries) {
            match entry.as_ref().and_then(|entry| entry.called(side)) {
                Some(node) => {
                    Child {
                        what: Statement::Id(node.id()),
                        values: child.values,
                    }
                    .put(out);
                }
                None => child.put(out),
            }
        }
        batch.put_tail(out, self.version);
    }

    fn untagged<'a>(&self, state: Option<&'a [u8]>) -> Option<&'a [u8]> {
        state
            .and_then(|state| paging::split(state, self.version))
            .map(|(_, own)| own)
    }
}

/// Gives up on a leg whose answer has not come.
pub(super) fn orphan(leg: &Leg) {
    if let Some(sent) = &leg.sent {
        sent.connection.orphan();
    }
}
