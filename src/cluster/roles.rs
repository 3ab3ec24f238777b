//! A cluster as a client's role sees it: the same nodes, connections of its own, and whether it is let in.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dial::{self, Dialled, Purpose, Who, Wish};
use super::host::Host;
use super::topology::Topology;
use super::{Cluster, Connection, Lost, Refused, Role, Sink, Target, drive};
use crate::socket::Buffers;
use crate::wire::Version;

/// How long a role that was refused is not tried again by requests, doubling up to [`OUT_MAX`]. Each
/// attempt costs the cluster a slow hash.
const OUT_MIN: Duration = Duration::from_secs(2);
/// The longest such pause.
const OUT_MAX: Duration = Duration::from_secs(32);
/// How long a role of which a cluster could not tell whether it is let in is left alone, doubling up to
/// [`UNSURE_MAX`].
const UNSURE_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
const UNSURE_MAX: Duration = Duration::from_secs(1);
/// Nodes that are asked at most whether a role is let in.
const ASKED_MAX: usize = 3;

/// A role at a cluster, and how that receives it.
#[derive(Debug)]
pub(super) struct Guest {
    role: Role,
    out: Pause,
    unsure: Pause,
    is_closed: Cell<bool>,
}

/// A time of rest, each time twice as long as before.
#[derive(Debug)]
struct Pause {
    until: Cell<Option<Instant>>,
    next: Cell<Duration>,
    limits: (Duration, Duration),
}

impl Guest {
    const fn new(role: Role) -> Self {
        Self {
            role,
            out: Pause::new(OUT_MIN, OUT_MAX),
            unsure: Pause::new(UNSURE_MIN, UNSURE_MAX),
            is_closed: Cell::new(false),
        }
    }

    fn may_enter(&self) -> Result<(), Refused> {
        if self.is_closed.get() || !self.out.left().is_zero() {
            Err(Refused::Role)
        } else if !self.unsure.left().is_zero() {
            Err(Refused::Unsure)
        } else {
            Ok(())
        }
    }
}

impl Pause {
    const fn new(min: Duration, max: Duration) -> Self {
        Self {
            until: Cell::new(None),
            next: Cell::new(min),
            limits: (min, max),
        }
    }

    /// How much of it is left.
    fn left(&self) -> Duration {
        let until = self.until.get();
        until.map_or(Duration::ZERO, |at| at.duration_since(Instant::now()))
    }

    fn begin(&self) {
        let next = self.next.get();
        self.until.set(Some(Instant::now() + next));
        self.next.set((next * 2).min(self.limits.1));
    }

    /// It is over, and the next one as short as the first.
    fn forget(&self) {
        self.until.set(None);
        self.next.set(self.limits.0);
    }
}

/// What a cluster says of a role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// It is let in.
    In,
    /// It is not, in the cluster's own words.
    Out(String),
    /// Nobody who could tell was reached; for the log.
    Unknown(String),
}

impl<S: Sink> Cluster<S> {
    /// The same cluster for a client's role, with connections of its own. What is known of the nodes is
    /// shared. Nothing is dialled yet.
    #[must_use]
    pub fn under(&self, role: Role) -> Rc<Self> {
        self.under_for(role, &self.buffers, Weak::clone(&self.sink))
    }

    pub(super) fn under_for(&self, role: Role, buffers: &Rc<Buffers>, sink: Weak<S>) -> Rc<Self> {
        let hosts = self.hosts.borrow().anew();
        Rc::new_cyclic(|itself| Self {
            side: self.side,
            config: Arc::clone(&self.config),
            buffers: Rc::clone(buffers),
            sink,
            itself: Weak::clone(itself),
            hosts: RefCell::new(hosts),
            version: Cell::new(self.version.get()),
            seats_max: self.seats_max,
            has_shards: Cell::new(false),
            role: Some(Guest::new(role)),
            tasks: RefCell::default(),
        })
    }

    /// Learns of the nodes without dialling any.
    pub fn know(&self, topology: Arc<Topology>) {
        self.hosts.borrow_mut().follow(topology);
    }

    /// Asks whether the role is let in now, by a connection of its own: one that exists says only that it
    /// once was. If there was none it is kept.
    pub async fn ask_in(&self, version: Version) -> Ruling {
        let (mut asked, mut why) = (Vec::new(), "no node may be dialled now".to_owned());
        if !self.pause().is_zero() {
            return Ruling::Unknown("it could not tell a moment ago".to_owned());
        }
        while asked.len() < ASKED_MAX {
            let picked = self.hosts.borrow().pick(Target::Any, version);
            let may = |host: &Rc<Host<_>>| host.is_up() || host.may_dial().is_ok();
            let Some(host) = picked.ok().filter(may) else {
                break;
            };
            if asked.contains(&host.id) {
                break;
            }
            asked.push(host.id);
            let wish = self.wish(&host, version, &Purpose::Any);
            match dial::dial(wish, &self.buffers).await {
                Ok(dialled) if dialled.was_asked => {
                    self.keep(&host, version, dialled);
                    return Ruling::In;
                }
                Ok(_nobody) => {
                    return Ruling::Unknown("it lets everybody in without asking".to_owned());
                }
                Err(Lost::Role(sentence)) => return Ruling::Out(sentence),
                Err(lost) => {
                    self.failed(&host, (version, &Purpose::Any), &lost);
                    why = lost.to_string();
                }
            }
        }
        Ruling::Unknown(why)
    }

    fn keep(&self, host: &Rc<Host<S::Ticket>>, version: Version, dialled: Dialled) {
        self.entered();
        let Some(itself) = self.itself.upgrade() else {
            return;
        };
        if !host.has_plain(version) {
            self.version.set(version);
            let connection = Connection::new(version, host.id, &host.tally);
            host.add_plain(&connection);
            let host = Rc::clone(host);
            let run = drive::run(itself, host, connection, Purpose::Any, Some(dialled));
            self.spawn(run);
        }
    }

    /// Begins a connection where there is none, so that the first request need not wait for all of it. A role
    /// that was refused is tried at once.
    pub fn warm(&self, version: Version) {
        if let Some(guest) = &self.role {
            guest.out.until.set(None);
        }
        let reached = self.reach(Target::Any, version, None);
        tracing::trace!(is_begun = reached.is_ok(), "a role's connection");
    }

    /// Ends all connections; those of a role for good.
    pub fn close(&self) {
        if let Some(guest) = &self.role {
            guest.is_closed.set(true);
        }
        self.hosts.borrow().iter().for_each(|it| it.close());
    }

    /// Whether it may be dialled as who we are.
    ///
    /// # Errors
    /// [`Refused::Role`] if the role was refused too recently.
    pub(super) fn may_enter(&self) -> Result<(), Refused> {
        self.role.as_ref().map_or(Ok(()), Guest::may_enter)
    }

    /// The role was refused.
    pub(super) fn shut_out(&self, sentence: &str) {
        let Some(guest) = &self.role else { return };
        if let Some(sink) = self.sink.upgrade() {
            sink.turned_away(self.side, sentence);
        }
        guest.out.begin();
    }

    /// Nobody knows whether the role is let in: it is left alone for a while, and nobody else is.
    pub(super) fn wait_a_while(&self) {
        self.role.iter().for_each(|guest| guest.unsure.begin());
    }

    /// How much of that while is left.
    pub(super) fn pause(&self) -> Duration {
        let guest = self.role.as_ref();
        guest.map_or(Duration::ZERO, |guest| guest.unsure.left())
    }

    /// The role was let in.
    pub(super) fn entered(&self) {
        if let Some(guest) = &self.role {
            guest.out.forget();
            guest.unsure.forget();
        }
    }

    pub(super) fn wish<'a>(
        &'a self,
        host: &'a Host<S::Ticket>,
        version: Version,
        purpose: &'a Purpose,
    ) -> Wish<'a> {
        let who = match (&self.role, &self.config.account) {
            (Some(guest), _) => Who::Role(guest.role.credentials()),
            (None, Some(account)) => Who::Service(account.credentials()),
            (None, None) => Who::Nobody,
        };
        Wish {
            address: &host.address,
            version,
            compression: self.config.compression,
            tls: self.config.tls.as_deref(),
            who,
            purpose,
            within: self.config.connect_timeout,
        }
    }
}
