//! The way back to one client: frames into its outbox, and the count of what it still waits for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use super::state::State;
use super::{Requests, answer};
use crate::dispatch::{Client, Error};
use crate::socket::{LARGE, Outbox};
use crate::wire::header::{Direction, HEADER_LEN};
use crate::wire::response::{Prefix, error};
use crate::wire::{ClientStream, Opcode, Version, put};

/// Bytes put since the client had last taken everything. Beyond it nothing more is read from it
/// until it has: an outbox gives its memory back only once it is empty.
const BACKLOG_MAX: usize = 1024 * 1024;
/// Bytes of answers that may be on their way to one client, as far as they can be foreseen: what
/// waits, and the requests in flight times what its answers usually take.
const FORESEEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes that wait for one client. Beyond it the client is cut off: it asked for answers in one go
/// that it does not take. Above the largest frame, so that one answer always fits.
const OUTBOX_MAX: usize = 320 * 1024 * 1024;
/// Bytes that wait when an event comes. Beyond it a client that should hear of the schema is cut off:
/// it would go on with one that is gone. Other events it does not hear.
const OUTBOX_EVENTS_MAX: usize = 16 * 1024 * 1024;

/// One client, shared by its task, the registry and the answers on their way.
pub(super) struct Session {
    /// The address of ours that it dialled.
    pub(super) dialled: SocketAddr,
    pub(super) outbox: Outbox,
    pub(super) state: RefCell<State>,
    /// Its place in the registry.
    pub(super) place: Cell<usize>,
    /// It has not said who it is.
    pub(super) is_stranger: Cell<bool>,
    /// Bytes put since the outbox was empty.
    backlog: Cell<usize>,
    /// What its answers usually take, in bytes: the largest of late.
    usual: Cell<usize>,
    /// It was found paused since [`Session::resumes`] was last asked.
    was_paused: Cell<bool>,
    /// Weak, as its requests in flight hold outlets.
    requests: Weak<dyn Requests<Outlet>>,
}

impl Session {
    pub(super) fn new<R: Requests<Outlet>>(requests: &Rc<R>, dialled: SocketAddr) -> Rc<Self> {
        let requests: Rc<dyn Requests<Outlet>> = Rc::<R>::clone(requests);
        Rc::new(Self {
            dialled,
            outbox: Outbox::default(),
            state: RefCell::new(State::new()),
            place: Cell::new(0),
            is_stranger: Cell::new(false),
            backlog: Cell::new(0),
            usual: Cell::new(0),
            was_paused: Cell::new(false),
            requests: Rc::downgrade(&requests),
        })
    }

    /// Whether the client has to wait before more of it is read.
    #[inline]
    pub(super) fn is_paused(&self, in_flight_max: usize) -> bool {
        let state = self.state.borrow();
        let in_flight = state.in_flight();
        let is_paused = state.is_draining
            || in_flight_max <= in_flight
            || (0 < in_flight && FORESEEN_MAX < self.foreseen(in_flight))
            || (BACKLOG_MAX < self.backlog.get() && !self.outbox.is_empty());
        if is_paused {
            self.was_paused.set(true);
        }
        is_paused
    }

    fn foreseen(&self, in_flight: usize) -> usize {
        self.outbox.len() + in_flight.saturating_mul(self.usual.get())
    }

    /// Whether a pause has ended since reading stopped for it.
    pub(super) fn resumes(&self, in_flight_max: usize) -> bool {
        self.was_paused.take() && !self.is_paused(in_flight_max)
    }

    /// Takes no more requests; closes once those in flight are answered.
    pub(super) fn drain(&self) {
        if self.state.borrow_mut().handle_drain() {
            self.outbox.close();
        }
    }

    /// Whether too much waits for it to put an event behind that.
    pub(super) fn is_far_behind(&self) -> bool {
        OUTBOX_EVENTS_MAX < self.outbox.len()
    }

    /// Sends an event to a client of this version.
    pub(super) fn event(&self, version: Version, body: impl FnOnce(&mut Vec<u8>)) {
        self.put((version, -1), 0, Opcode::Event, body);
    }

    /// Sends an error of the connection itself.
    pub(super) fn protest(&self, to: (Version, i16), code: i32, sentence: &str) {
        self.put(to, 0, Opcode::Error, |out| error::put(out, code, sentence));
    }

    /// Puts one frame into the outbox, unless the client is gone.
    #[inline]
    pub(super) fn put(
        &self,
        (version, stream): (Version, i16),
        flags: u8,
        opcode: Opcode,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        self.write(|requests| {
            let failed = self.outbox.put(requests.buffers(), |out| {
                let direction = Direction::Response;
                let begun = put::begin(out, (version, direction), flags, stream, opcode);
                let start = out.len();
                body(out);
                put::end(out, begun);
                let written = HEADER_LEN + out.len() - start;
                self.backlog.set(self.backlog.get() + written);
                let usual = self.usual.get();
                self.usual.set(written.max(usual - usual / 8));
                match opcode {
                    Opcode::Error => out.get(start..).and_then(|body| error_code(flags, body)),
                    _ => None,
                }
            });
            if let Some(code) = failed {
                requests.metrics().client_error(code);
            }
        });
    }

    /// Has something written into the outbox, unless the client is gone; cuts it off if too much waits.
    #[inline]
    fn write(&self, write: impl FnOnce(&dyn Requests<Outlet>)) {
        if self.outbox.is_closed() {
            return;
        }
        let Some(requests) = self.requests.upgrade() else {
            return;
        };
        if self.outbox.is_empty() {
            self.backlog.set(0);
        }
        write(&*requests);
        if OUTBOX_MAX < self.outbox.len() {
            self.outbox.abort();
        }
    }

    /// Puts a RESULT that ends with `rest` into the outbox, which copies that only if it has to.
    #[cold]
    fn put_large(
        &self,
        (version, stream): (Version, i16),
        flags: u8,
        head: impl FnOnce(&mut Vec<u8>),
        rest: &[u8],
    ) {
        self.write(|requests| {
            let (mut first, way) = (Vec::new(), (version, Direction::Response));
            let begun = put::begin(&mut first, way, flags, stream, Opcode::Result);
            head(&mut first);
            put::end_before(&mut first, begun, rest.len());
            self.outbox.pass(requests.buffers(), &first, rest);
            let written = first.len() + rest.len();
            self.backlog.set(self.backlog.get() + written);
            self.usual.set(written.max(self.usual.get()));
        });
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session")
            .field("outbox", &self.outbox.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn error_code(flags: u8, body: &[u8]) -> Option<i32> {
    let (_, mut content) = Prefix::split(flags, body).ok()?;
    content.i32().ok()
}

/// A client as answers see it. Answers to one that went away are dropped.
#[derive(Clone, Debug)]
pub struct Outlet(Rc<Session>);

impl Outlet {
    pub(super) const fn new(session: Rc<Session>) -> Self {
        Self(session)
    }

    fn answered(&self) {
        if self.0.state.borrow_mut().handle_answer() {
            self.0.outbox.close();
        }
    }
}

impl Client for Outlet {
    #[inline]
    fn answer(
        &self,
        (version, stream): (Version, ClientStream),
        flags: u8,
        opcode: Opcode,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        self.0.put((version, stream.0), flags, opcode, body);
        self.answered();
    }

    #[inline]
    fn pass(
        &self,
        to: (Version, ClientStream),
        flags: u8,
        head: impl FnOnce(&mut Vec<u8>),
        rest: &[u8],
    ) {
        if rest.len() < LARGE {
            return self.answer(to, flags, Opcode::Result, |out| {
                head(out);
                out.extend_from_slice(rest);
            });
        }
        self.0.put_large((to.0, to.1.0), flags, head, rest);
        self.answered();
    }

    fn refuse(&self, (version, stream): (Version, ClientStream), error: &Error) {
        let to = (version, stream.0);
        self.0
            .put(to, 0, Opcode::Error, |out| answer::put(out, error, version));
        self.answered();
    }

    fn use_keyspace(&self, keyspace: &str) {
        self.0.state.borrow_mut().keyspace = Some(Rc::from(keyspace));
    }
}
