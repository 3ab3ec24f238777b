//! One connection to one node: requests out by stream id, answers back to their tickets.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::Instant;

use super::heard::{Asked, Tally};
use super::host::{Host, HostId};
use super::inflight::{Inflight, STREAMS_MAX};
use super::{Limit, Lost, Refused, Sink};
use crate::pair::Side;
use crate::socket::{Buffers, Handler, Next, Outbox};
use crate::wire::header::{
    Direction, FLAG_PAYLOAD, FLAG_TRACING, FLAG_WARNINGS, Header, HeaderFault,
};
use crate::wire::{Frame, NodeStream, Opcode, Version, put};

/// Bytes that may wait for a node that does not read. Beyond it requests are refused.
const OUTBOX_MAX: usize = 64 * 1024 * 1024;

/// For whom a stream id is in use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner<T> {
    /// Our own sign of life.
    Heartbeat,
    /// Which node it is, where its SUPPORTED does not say that.
    Identity,
    /// What the node says of itself, asked of everybody as soon as we are let in.
    Introduction,
    /// A single-flight PREPARE.
    Prepare(super::prepare::Id),
    /// A request of the sink's.
    Request(T),
}

/// Where a connection is in its life.
///
/// ```text
/// Dialing ---READY---> Ready ---lost, closed---> Gone
///    \----------------refused----------------------^
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    Dialing,
    Gone,
    Ready,
}

/// A connection, shared by the task that drives it and all requests that wait on it.
#[derive(Debug)]
pub struct Connection<T> {
    pub(super) version: Version,
    host: HostId,
    tally: Rc<Tally>,
    /// The address that was reached.
    pub(super) peer: Cell<Option<SocketAddr>>,
    pub(super) outbox: Outbox,
    pub(super) inflight: RefCell<Inflight<Owner<T>>>,
    pub(super) state: Cell<State>,
    /// Frames that wait for the dialling to end: until then each can be taken back.
    pending: RefCell<Vec<(NodeStream, Vec<u8>)>>,
    pending_bytes: Cell<usize>,
    /// Frames that have arrived.
    answered: Cell<u64>,
    /// Frames that had arrived at the last heartbeat.
    pub(super) answered_before: Cell<u64>,
    /// From when on the node could have been asked anything; `None` while it waits to be dialled.
    pub(super) asked_from: Cell<Option<Instant>>,
    /// A sign of life was asked for and has not come.
    pub(super) is_asked: Cell<bool>,
    /// Requests that were given up and whose answer has not come.
    orphans: Cell<usize>,
    /// It was dialled for a shard, beside those that the node is judged by.
    pub(super) is_extra: Cell<bool>,
    /// The node's own id, once it was asked for it.
    pub(super) identity: Cell<Option<u128>>,
    pub(super) is_identity_asked: Cell<bool>,
    /// Its node has said which shard it leads to.
    pub(super) is_introduced: Cell<bool>,
}

impl<T: Copy> Connection<T> {
    /// One to a host whose answers are counted so.
    pub(super) fn new(version: Version, host: HostId, tally: &Rc<Tally>) -> Rc<Self> {
        Rc::new(Self {
            version,
            host,
            tally: Rc::clone(tally),
            peer: Cell::new(None),
            outbox: Outbox::default(),
            inflight: RefCell::default(),
            state: Cell::new(State::Dialing),
            pending: RefCell::default(),
            pending_bytes: Cell::new(0),
            answered: Cell::new(0),
            answered_before: Cell::new(0),
            asked_from: Cell::new(Some(Instant::now())),
            is_asked: Cell::new(false),
            orphans: Cell::new(0),
            is_extra: Cell::new(false),
            identity: Cell::new(None),
            is_identity_asked: Cell::new(false),
            is_introduced: Cell::new(false),
        })
    }

    /// Which node it leads to.
    #[must_use]
    pub const fn host(&self) -> HostId {
        self.host
    }

    /// What is asked on it now.
    #[inline]
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.tally.asked(self.host)
    }

    /// Frames that have arrived so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// Whether requests reach the node now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.get() == State::Ready
    }

    /// Whether it takes one more request.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.inflight.borrow().waiting();
        let is_open = self.is_ready() && !self.outbox.is_closed();
        is_open && waiting < STREAMS_MAX && self.unsent() <= OUTBOX_MAX
    }

    /// The last answer is not to count: who says only what everybody is asked was of no use yet.
    fn uncount(&self) {
        self.answered.set(self.answered.get().saturating_sub(1));
    }

    /// The node takes requests from now on: what waited for that goes out.
    pub(super) fn ready(&self, buffers: &Buffers) {
        self.state.set(State::Ready);
        self.pending_bytes.set(0);
        for (_, frame) in self.pending.take() {
            self.outbox
                .put(buffers, |out| out.extend_from_slice(&frame));
        }
    }

    /// Bytes that the node has not read yet.
    pub(super) fn unsent(&self) -> usize {
        self.outbox.len() + self.pending_bytes.get()
    }

    /// Takes a request back that has not gone out. True if it never will; false if the node may
    /// have it.
    #[must_use]
    pub fn withdraw(&self, stream: NodeStream) -> bool {
        let mut pending = self.pending.borrow_mut();
        let Some(at) = pending.iter().position(|(of, _)| *of == stream) else {
            return false;
        };
        let (_, frame) = pending.remove(at);
        self.pending_bytes
            .set(self.pending_bytes.get() - frame.len());
        self.inflight.borrow_mut().answer(stream).is_some()
    }

    /// Says that a request on this connection was given up. Its stream id stays in use until the
    /// answer comes; a connection with too many such ids is replaced.
    pub fn orphan(&self) {
        self.orphans.set(self.orphans.get() + 1);
        if super::ORPHANS_MAX <= self.orphans.get() {
            self.outbox.abort();
        }
    }

    /// Says that the answer of such a request came after all.
    pub fn adopt(&self) {
        self.orphans.set(self.orphans.get().saturating_sub(1));
    }

    /// Puts one request on its way. While the connection is being dialled it waits, see
    /// [`Connection::withdraw`].
    ///
    /// # Errors
    /// If it cannot be taken; then nothing was sent.
    #[inline]
    pub(super) fn send(
        &self,
        owner: Owner<T>,
        buffers: &Buffers,
        flags: u8,
        opcode: Opcode,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<NodeStream, Refused> {
        if OUTBOX_MAX < self.unsent() {
            return Err(Refused::Busy(Limit::Unread));
        }
        let stream = self
            .inflight
            .borrow_mut()
            .take(owner)
            .ok_or(Refused::Busy(Limit::Streams))?;
        let write = |out: &mut Vec<u8>| {
            let of = (self.version, Direction::Request);
            let begun = put::begin(out, of, flags, stream.0, opcode);
            body(out);
            put::end(out, begun);
        };
        if self.state.get() == State::Dialing {
            let mut frame = Vec::new();
            write(&mut frame);
            self.pending_bytes
                .set(self.pending_bytes.get() + frame.len());
            self.pending.borrow_mut().push((stream, frame));
        } else {
            self.outbox.put(buffers, write);
        }
        Ok(stream)
    }
}

/// Flags that an answer may carry.
const FLAGS_KNOWN: u8 = FLAG_PAYLOAD | FLAG_TRACING | FLAG_WARNINGS;

/// What is wrong with the header of an answer on a connection of this version.
#[inline]
fn stray(header: &Header, version: Version) -> Option<String> {
    if header.version == version && header.flags & !FLAGS_KNOWN == 0 {
        return None;
    }
    Some(format!(
        "an answer of version {} with flags {:#04x}, where version {} is spoken",
        header.version.number(),
        header.flags,
        version.number()
    ))
}

/// The answer side of one connection.
pub(super) struct Answers<'a, S: Sink> {
    pub(super) side: Side,
    pub(super) connection: &'a Rc<Connection<S::Ticket>>,
    pub(super) cluster: &'a super::Cluster<S>,
    pub(super) host: &'a Rc<Host<S::Ticket>>,
    pub(super) sink: &'a S,
    pub(super) fault: Option<Lost>,
}

impl<S: Sink> Handler for Answers<'_, S> {
    const DIRECTION: Direction = Direction::Response;

    #[inline]
    fn frame(&mut self, frame: Frame<'_>) -> Next {
        let connection = self.connection;
        if let Some(fault) = stray(&frame.header, connection.version) {
            self.fault = Some(Lost::Broken(fault));
            return Next::Close;
        }
        connection.answered.set(connection.answered.get() + 1);
        if frame.header.stream < 0 {
            if frame.header.opcode == Opcode::Event {
                self.sink.event(self.side, frame);
            }
            return Next::Continue;
        }
        let owner = connection
            .inflight
            .borrow_mut()
            .answer(NodeStream(frame.header.stream));
        match owner {
            Some(Owner::Request(ticket)) => {
                connection.tally.answered();
                self.sink.answer(self.side, ticket, connection, frame);
            }
            Some(Owner::Prepare(id)) => {
                connection.tally.answered();
                self.cluster.prepared(self.host, id, self.sink, frame);
            }
            Some(Owner::Heartbeat) => {
                self.cluster.introduced(self.host, connection, &frame);
                // One that was closed for what it said leads to another node.
                if !connection.outbox.is_closed() {
                    self.host.answered();
                }
            }
            Some(Owner::Introduction) => {
                connection.uncount();
                self.cluster.introduced(self.host, connection, &frame);
            }
            Some(Owner::Identity) => {
                connection.uncount();
                self.cluster.identified(connection, &frame);
            }
            None => {
                let stream = frame.header.stream;
                self.fault = Some(Lost::Broken(format!("answer on unused stream {stream}")));
                return Next::Close;
            }
        }
        if connection.outbox.is_closed() {
            Next::Close
        } else {
            Next::Continue
        }
    }

    fn fault(&mut self, fault: HeaderFault) {
        self.fault = Some(Lost::Broken(fault.to_string()));
    }

    fn limit(&self) -> usize {
        super::FRAME_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_answers_that_never_come_cost_the_connection() {
        let connection = Connection::<u8>::new(Version::V4, HostId(0), &Rc::default());
        for _ in 0..super::super::ORPHANS_MAX {
            connection.orphan();
            connection.adopt();
            connection.orphan();
        }
        assert!(connection.outbox.is_closed());
        let connection = Connection::<u8>::new(Version::V4, HostId(0), &Rc::default());
        for _ in 0..2 * super::super::ORPHANS_MAX {
            connection.orphan();
            connection.adopt();
        }
        assert!(!connection.outbox.is_closed(), "they came");
    }
}
