//! One node as one thread uses it: its connections, what it is being taught, whether it is up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Refused;
use super::connection::{Connection, State};
use super::heard::Tally;
use super::keyspaces::Keyspaces;
use super::prepare::Waiting;
use crate::wire::Version;

/// How long a failed address is left alone at first, doubling up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect.
const REDIAL_MAX: Duration = Duration::from_secs(1);

/// Names a host within one thread's cluster; never used again for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostId(pub(super) u32);

/// One node, seen from one thread.
#[derive(Debug)]
pub(super) struct Host<T> {
    pub(super) id: HostId,
    /// `host:port`.
    pub(super) address: Box<str>,
    pub(super) tally: Rc<Tally>,
    plain: [RefCell<Option<Rc<Connection<T>>>>; Version::ALL.len()],
    pub(super) bound: RefCell<Keyspaces<T>>,
    pub(super) waiting: RefCell<Waiting<T>>,
    redial_at: Cell<Option<Instant>>,
    redial_after: Cell<Duration>,
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
    pub(super) fn new(id: HostId, address: &str) -> Rc<Self> {
        Rc::new(Self {
            id,
            address: address.into(),
            tally: Rc::default(),
            plain: Default::default(),
            bound: RefCell::default(),
            waiting: RefCell::default(),
            redial_at: Cell::new(None),
            redial_after: Cell::new(REDIAL_MIN),
            is_up: Cell::new(false),
            refuses: Default::default(),
            is_suspect: Cell::new(false),
            is_redialled: Cell::new(false),
        })
    }

    /// The connection that there is for all that need no keyspace.
    #[inline]
    pub(super) fn plain(&self, version: Version) -> Option<Rc<Connection<T>>> {
        let place = self.plain[version.index()].borrow();
        let connection = place.as_ref()?;
        (connection.state.get() != State::Gone).then(|| Rc::clone(connection))
    }

    /// A connection without a keyspace that is being dialled.
    pub(super) fn add_plain(&self, connection: &Rc<Connection<T>>) {
        *self.plain[connection.version.index()].borrow_mut() = Some(Rc::clone(connection));
    }

    /// Requests without an answer on the connection that one of this version would use.
    #[inline]
    pub(super) fn load(&self, version: Version) -> usize {
        let place = self.plain[version.index()].borrow();
        place
            .as_ref()
            .map_or(0, |it| it.inflight.borrow().waiting())
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
        match self.redial_at.get() {
            Some(at) if Instant::now() < at => Err(Refused::Down),
            Some(_) | None => Ok(()),
        }
    }

    /// How long to wait before it is dialled again.
    pub(super) fn pause(&self) -> Duration {
        let at = self.redial_at.get();
        at.map_or(Duration::ZERO, |at| at.duration_since(Instant::now()))
    }

    /// It let us in. Whether it must show that it answers, too.
    pub(super) fn let_in(&self, version: Version) -> bool {
        self.redial_at.set(None);
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
        let after = self.redial_after.get();
        self.redial_at.set(Some(Instant::now() + after));
        self.redial_after.set((after * 2).min(REDIAL_MAX));
    }

    /// It does not speak this version, maybe others.
    pub(super) fn refused(&self, version: Version) {
        self.refuses[version.index()].set(true);
    }

    /// A connection was lost; if it was the last, nobody knows whether the node is there, nor what it
    /// speaks when it is back. One that was of no use counts as not dialled: who lets us in and hangs up
    /// would be dialled without a pause.
    pub(super) fn broke(&self, connection: &Connection<T>) {
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
        self.redial_at.set(None);
        self.redial_after.set(REDIAL_MIN);
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
        let plain = self.plain.iter().filter_map(|it| it.borrow().clone());
        let bound: Vec<_> = self.bound.borrow().iter().map(Rc::clone).collect();
        plain.chain(bound).collect()
    }
}
