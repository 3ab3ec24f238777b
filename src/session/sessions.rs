//! The sessions of one thread: who is open, who wants which events, who has to go.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::outlet::{Outlet, Session};
use super::strangers::Strangers;
use super::{Config, Door, Requests};
use crate::socket::tls;
use crate::telemetry::Throttle;
use crate::wire::request::register::Events;
use crate::wire::response::event::put_up;
use crate::wire::{Cursor, Version, put};

/// One log line a cause and thread in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// All open sessions of one thread.
#[derive(Debug)]
pub struct Sessions {
    pub(super) config: Config,
    /// Encryption to clients, where it is wanted.
    pub(super) tls: Option<Arc<tls::Server>>,
    pub(super) door: Door,
    version_max: Cell<Version>,
    open: RefCell<Vec<Weak<Session>>>,
    strangers: RefCell<Strangers>,
    /// Told to close and asked again at the next sweep, and the one after.
    closing: RefCell<[Vec<Weak<Session>>; 2]>,
    throttle: RefCell<Throttle>,
}

impl Sessions {
    /// Nobody is here yet; clients are offered versions up to `version_max`.
    #[must_use]
    pub fn new(config: Config, version_max: Version) -> Rc<Self> {
        Self::secured(config, version_max, None, Door::Open)
    }

    /// The same, where clients must speak TLS, log in, or both.
    #[must_use]
    pub fn secured(
        config: Config,
        version_max: Version,
        tls: Option<Arc<tls::Server>>,
        door: Door,
    ) -> Rc<Self> {
        Rc::new(Self {
            config,
            tls,
            door,
            version_max: Cell::new(version_max),
            open: RefCell::default(),
            strangers: RefCell::default(),
            closing: RefCell::default(),
            throttle: RefCell::new(Throttle::new(LOG_EVERY)),
        })
    }

    /// Offers versions up to this one to clients that did not agree on any yet. Connections that
    /// speak a higher one take no more requests and close once theirs are answered, so that drivers
    /// negotiate anew.
    pub fn offer(&self, version_max: Version) {
        if self.version_max.replace(version_max) <= version_max {
            return;
        }
        self.each(|session| {
            if Some(version_max) < session.state.borrow().version {
                session.drain();
            }
        });
    }

    /// Tells the clients that registered for it of a change of the schema: `body` is a whole EVENT
    /// body as version 4 has it.
    pub fn schema_changed(&self, body: &[u8]) {
        let for_v3 = schema_for_v3(body);
        self.each_registered(
            |events| events.schema,
            |session, version| {
                let body = match version {
                    Version::V3 => &for_v3,
                    Version::V4 | Version::V5 => body,
                };
                if session.is_far_behind() {
                    return session.outbox.abort();
                }
                session.event(version, |out| out.extend_from_slice(body));
            },
        );
    }

    /// Changes of the schema were missed: who registered for them takes no more requests and closes once its own
    /// are answered. Drivers read the whole schema when they come again.
    pub fn schema_missed(&self) {
        self.each_registered(|events| events.schema, |session, _version| session.drain());
    }

    /// Tells the clients that registered for it that the one node they see is up: each under the
    /// address that it dialled, by which it knows the node. They are never told that it is down
    /// (`docs/EVENTS.md`).
    pub fn serves_again(&self) {
        self.each_registered(
            |events| events.status,
            |session, version| {
                if !session.is_far_behind() {
                    session.event(version, |out| put_up(out, session.dialled));
                }
            },
        );
    }

    fn each_registered(
        &self,
        wants: impl Fn(Events) -> bool,
        mut tell: impl FnMut(&Session, Version),
    ) {
        self.each(|session| {
            let (events, version) = {
                let state = session.state.borrow();
                (state.events, state.version)
            };
            if let Some(version) = version
                && wants(events)
            {
                tell(session, version);
            }
        });
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    pub(super) const fn version_max(&self) -> Version {
        self.version_max.get()
    }

    /// Takes no more requests from anybody; each closes once its own are answered.
    pub(super) fn drain(&self) {
        self.each(Session::drain);
    }

    /// Closes all at once.
    pub(super) fn abort(&self) {
        self.each(|session| session.outbox.abort());
    }

    /// Remembers a session whose last words are on their way.
    pub(super) fn expect_end(&self, session: &Rc<Session>) {
        self.closing.borrow_mut()[0].push(Rc::downgrade(session));
    }

    /// Cuts off whoever has not taken its last words since the sweep before the last.
    pub(super) fn sweep(&self) {
        let mut closing = self.closing.borrow_mut();
        let [fresh, overdue] = &mut *closing;
        for session in overdue.drain(..).filter_map(|session| session.upgrade()) {
            session.outbox.abort();
        }
        std::mem::swap(fresh, overdue);
    }

    /// Whether a line of this cause may be logged now: if so, how many were suppressed before it.
    pub(super) fn admit(&self, cause: &'static str) -> Option<u64> {
        let now = Instant::now().into_std();
        self.throttle.borrow_mut().admit(cause, now)
    }

    fn each(&self, mut tell: impl FnMut(&Session)) {
        for session in self.open.borrow().iter().filter_map(Weak::upgrade) {
            tell(&session);
        }
    }

    /// Somebody comes; of more than so many strangers the one that has waited longest is hung up on, once it
    /// has had its time.
    fn enter(&self, session: &Rc<Session>, strangers_max: usize) {
        let mut open = self.open.borrow_mut();
        session.place.set(open.len());
        open.push(Rc::downgrade(session));
        drop(open);
        let crowded = self
            .strangers
            .borrow_mut()
            .enter(session, strangers_max, Instant::now());
        let Some(longest) = crowded else { return };
        longest.outbox.abort();
        if let Some(suppressed) = self.admit("strangers") {
            tracing::warn!(
                suppressed,
                strangers_max,
                "too many clients are not through their handshake: \
                 the one that has waited longest is hung up on"
            );
        }
    }

    /// A client is through its handshake, or somebody is asked about it.
    pub(super) fn recognise(&self, session: &Session) {
        self.strangers.borrow_mut().leave(session);
    }

    fn leave(&self, session: &Session) {
        self.recognise(session);
        let mut open = self.open.borrow_mut();
        let place = session.place.get();
        open.swap_remove(place);
        if let Some(moved) = open.get(place).and_then(Weak::upgrade) {
            moved.place.set(place);
        }
    }
}

/// A client's stay among the sessions: it ends with this value, however its task does.
pub(super) struct Stay<R: Requests<Outlet>> {
    pub(super) session: Rc<Session>,
    pub(super) sessions: Rc<Sessions>,
    pub(super) requests: Rc<R>,
}

impl<R: Requests<Outlet>> Stay<R> {
    pub(super) fn new(
        sessions: &Rc<Sessions>,
        requests: &Rc<R>,
        (dialled, strangers_max): (SocketAddr, usize),
    ) -> Self {
        let session = Session::new(requests, dialled);
        sessions.enter(&session, strangers_max);
        requests.metrics().client_connected();
        Self {
            session,
            sessions: Rc::clone(sessions),
            requests: Rc::clone(requests),
        }
    }
}

impl<R: Requests<Outlet>> Drop for Stay<R> {
    fn drop(&mut self) {
        // From here on answers are dropped.
        self.session.outbox.abort();
        self.sessions.leave(&self.session);
        self.requests.metrics().client_gone();
    }
}

/// Version 3 knows neither functions nor aggregates: servers tell that the keyspace was updated.
fn schema_for_v3(body: &[u8]) -> Cow<'_, [u8]> {
    let mut cursor = Cursor::new(body);
    let mut next = || cursor.string().unwrap_or_default();
    let (_event, _change, target, keyspace) = (next(), next(), next(), next());
    if !matches!(target, "AGGREGATE" | "FUNCTION") {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::new();
    for text in ["SCHEMA_CHANGE", "UPDATED", "KEYSPACE", keyspace] {
        put::string(&mut out, text);
    }
    Cow::Owned(out)
}
