//! The desk itself: what one data-plane thread owns, and the loops that keep it going.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::flow::Input;
use super::journal::Unsaved;
use super::known::Texts;
use super::logins::Logins;
use super::registry::Prepared;
use super::request::Request;
use super::shared::Shared;
use super::table::{Key, Table, Term};
use super::{Client, Login};
use crate::cluster::{self, Asked, Cluster, Heard};
use crate::pair::{Pair, Side, Sides};
use crate::policy::{Report, View};
use crate::replay::record::Ids;
use crate::replay::{Change, Receipts};
use crate::socket::Buffers;
use crate::statement::Schema;
use crate::telemetry::WorkerMetrics;

/// How coarse deadlines are.
const TICK: Duration = Duration::from_millis(10);

/// One data-plane thread's world.
pub struct Desk<C: Client> {
    pub(super) shared: Arc<Shared>,
    /// Those of the service account; where clients act as roles of their own nothing is sent over them.
    pub(super) clusters: Pair<Option<Rc<Cluster<Self>>>>,
    pub(super) logins: Logins<C>,
    pub(super) table: RefCell<Table<Request<C>>>,
    pub(super) prepared: Prepared,
    pub(super) texts: Texts,
    pub(super) schema: RefCell<Arc<Schema>>,
    pub(super) view: Cell<View>,
    pub(super) now: Cell<Instant>,
    wall: Cell<i64>,
    pub(super) changes: RefCell<Vec<Change>>,
    pub(super) ids: Ids,
    pub(super) unsaved: RefCell<Unsaved>,
    pub(super) receipts: Arc<Receipts>,
    /// Rings when `changes` is no longer empty.
    pub(super) submit: Notify,
    /// Rings when the table is no longer empty.
    pub(super) busy: Notify,
    /// A failure was reported, or the side is doubted, and no success was told since.
    pub(super) struck: Pair<Cell<bool>>,
    /// Bytes of the requests in flight.
    pub(super) held: Cell<usize>,
    pub(super) metrics: Rc<WorkerMetrics>,
    pub(super) tasks: RefCell<JoinSet<()>>,
    buffers: Rc<Buffers>,
}

impl<C: Client> std::fmt::Debug for Desk<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl<C: Client> Desk<C> {
    /// A desk over these clusters, whose connections are its own.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        configs: &Pair<Option<Arc<cluster::Config>>>,
        metrics: Rc<WorkerMetrics>,
    ) -> Rc<Self> {
        let buffers = Rc::new(Buffers::default());
        let schema = Arc::clone(&shared.news.load().schema);
        let view = *shared.view.borrow();
        Rc::new_cyclic(|itself| {
            let clusters = configs.as_ref().map(|side, config| {
                let config = config.as_ref().map(Arc::clone)?;
                Some(Cluster::new(
                    side,
                    config,
                    Rc::clone(&buffers),
                    Weak::clone(itself),
                ))
            });
            Self {
                shared,
                clusters,
                logins: Logins::default(),
                table: RefCell::default(),
                prepared: Prepared::default(),
                texts: Texts::default(),
                schema: RefCell::new(schema),
                view: Cell::new(view),
                now: Cell::new(Instant::now()),
                wall: Cell::new(wall()),
                changes: RefCell::default(),
                ids: Ids::default(),
                unsaved: RefCell::default(),
                receipts: Receipts::new(),
                submit: Notify::new(),
                busy: Notify::new(),
                struck: Pair::default(),
                held: Cell::new(0),
                metrics,
                tasks: RefCell::default(),
                buffers,
            }
        })
    }

    /// What the thread's sockets share.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// What the thread counts.
    #[must_use]
    pub fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Requests without an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.table.borrow().len()
    }

    /// Renews the thread's idea of now. Called once a wake-up of each socket.
    #[inline]
    pub fn wake(&self) {
        self.now.set(Instant::now());
        self.wall.set(wall());
    }

    /// The next timestamp, microseconds since 1970.
    #[inline]
    pub(super) fn timestamp(&self) -> i64 {
        let timestamp = self.shared.clock.next(self.wall.get());
        if !self.shared.clock.is_reserved(timestamp) {
            self.metrics.clock_unreserved();
        }
        timestamp
    }

    /// The wall clock as of this wake-up, microseconds since 1970.
    pub(super) fn wall(&self) -> i64 {
        self.wall.get()
    }

    /// Starts the desk's own loops: deadlines, receipts, submissions, news, signs of life. They end
    /// when the returned set is dropped.
    #[must_use]
    pub fn start(self: &Rc<Self>) -> JoinSet<()> {
        let mut loops = JoinSet::new();
        loops.spawn_local(Rc::clone(self).watch_deadlines());
        loops.spawn_local(Rc::clone(self).take_receipts());
        loops.spawn_local(Rc::clone(self).submit_changes());
        loops.spawn_local(Rc::clone(self).follow_view());
        loops.spawn_local(Rc::clone(self).follow_news());
        if self.shared.config.passthrough {
            loops.spawn_local(Rc::clone(self).sweep_logins());
            loops.spawn_local(Rc::clone(self).follow_changes());
            return loops;
        }
        for (side, cluster) in self.clusters.iter() {
            let Some(cluster) = cluster else { continue };
            let (kept, follower) = (Rc::clone(cluster), Rc::clone(cluster));
            let told = self.shared.topologies[side].clone();
            loops.spawn_local(async move { kept.keep_alive().await });
            loops.spawn_local(async move { follower.follow(told).await });
        }
        loops
    }

    /// The connections that a request of this client goes over.
    #[inline]
    pub(super) fn cluster<'a>(
        &'a self,
        login: Option<&'a Rc<Login<C>>>,
        side: Side,
    ) -> Option<&'a Rc<Cluster<Self>>> {
        let clusters = login.map_or(&self.clusters, |it| &it.clusters);
        clusters[side].as_ref()
    }

    /// Waits until no request is in flight and nothing waits for the queue, at most so long.
    pub async fn drain(&self, within: Duration) {
        let until = Instant::now() + within;
        let busy = || self.in_flight() != 0 || !self.unsaved.borrow().is_empty();
        while (busy() || !self.changes.borrow().is_empty()) && Instant::now() < until {
            tokio::time::sleep(TICK).await;
        }
    }

    async fn watch_deadlines(self: Rc<Self>) {
        loop {
            if self.table.borrow().is_empty() && self.unsaved.borrow().is_empty() {
                self.busy.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.wake();
            self.save_again();
            loop {
                let due = self.table.borrow_mut().due(self.now.get());
                let Some((key, term)) = due else { break };
                self.expired(key, term);
            }
        }
    }

    fn expired(&self, key: Key, term: Term) {
        let rest = match term {
            Term::ReadFirst => {
                self.strike_silent(key);
                Term::ReadRest
            }
            Term::WriteFirst => Term::WriteRest,
            Term::Keep | Term::Read | Term::ReadRest | Term::Write | Term::WriteRest => {
                return self.give_up(key);
            }
        };
        let until = self.now.get() + self.wait(rest);
        self.table.borrow_mut().arm(key, rest, until);
        self.advance(key, Input::Slow, None);
    }

    /// A point read has waited long enough: a side that has said nothing since gets a strike. A node that
    /// answers others may only be slow with this one, and one of many is not the cluster.
    fn strike_silent(&self, key: Key) {
        let (login, heard) = match self.table.borrow_mut().get_mut(key) {
            Some(request) => {
                let waiting = request.flow.waiting();
                let heard = waiting
                    .iter()
                    .map(|side| (side, self.heard(request, side)))
                    .collect::<Vec<_>>();
                (request.login.clone(), heard)
            }
            None => return,
        };
        for (side, (heard, asked)) in heard {
            if heard == Heard::Nobody {
                self.report(side, Report::Strike);
            }
            self.suspect(login.as_ref(), side, (heard, asked));
        }
    }

    /// Time is up. The sides that were waited for in vain are reported once the machine knows.
    fn give_up(&self, key: Key) {
        let mut unsent = Sides::NONE;
        let mut silent = Pair::new(None, None);
        let (login, statement) = {
            let mut table = self.table.borrow_mut();
            let Some(request) = table.get_mut(key) else {
                return;
            };
            for side in request.flow.waiting().iter() {
                silent[side] = Some(self.heard(request, side));
                if request.legs[side].withdraw() {
                    unsent = unsent.with(side);
                }
            }
            (request.login.clone(), request.hash())
        };
        self.advance(key, Input::Deadline { unsent }, None);
        for side in Side::ALL {
            let Some((heard, asked)) = silent[side] else {
                continue;
            };
            match heard {
                Heard::Itself => self.report(side, Report::Sick(statement)),
                Heard::Others => {}
                Heard::Nobody => self.report(side, Report::Strike),
            }
            self.suspect(login.as_ref(), side, (heard, asked));
        }
    }

    /// Who of the side answers, where this leg was not answered in time. A connection that alone is
    /// silent is asked whether it is still there.
    fn heard(&self, request: &Request<C>, side: Side) -> (Heard, Option<Asked>) {
        let (leg, cluster) = (
            &request.legs[side],
            self.cluster(request.login.as_ref(), side),
        );
        let (Some(cluster), Some(asked)) = (cluster, leg.asked) else {
            return (Heard::Nobody, None);
        };
        let heard = cluster.heard(asked);
        if let (Heard::Itself, Some(connection)) = (heard, leg.silent()) {
            cluster.question(&connection);
        }
        (heard, Some(asked))
    }

    /// A node that said nothing gets no more requests while there are others.
    fn suspect(
        &self,
        login: Option<&Rc<Login<C>>>,
        side: Side,
        (heard, asked): (Heard, Option<Asked>),
    ) {
        if let (Some(cluster), Some(asked)) = (self.cluster(login, side), asked)
            && heard != Heard::Itself
        {
            cluster.suspect(asked);
        }
    }

    async fn take_receipts(self: Rc<Self>) {
        let mut arrived = Vec::new();
        loop {
            self.receipts.arrived().await;
            self.wake();
            self.receipts.take(&mut arrived);
            for (ticket, outcome) in arrived.drain(..) {
                if let Err(refused) = &outcome {
                    tracing::debug!(%refused, "a record was refused");
                }
                if !self.offered(ticket, outcome.is_ok()) {
                    self.advance(Key::from_number(ticket), Input::Kept(outcome.is_ok()), None);
                }
            }
        }
    }

    /// Runs after all sockets that were ready: what they kept goes to the queue in one piece.
    async fn submit_changes(self: Rc<Self>) {
        let Some(queue) = self.shared.queue.clone() else {
            return;
        };
        loop {
            self.submit.notified().await;
            queue.submit(&mut self.changes.borrow_mut());
        }
    }

    async fn follow_view(self: Rc<Self>) {
        let mut view = self.shared.view.clone();
        while view.changed().await.is_ok() {
            let (before, after) = (self.view.get(), *view.borrow_and_update());
            self.view.set(after);
            self.wake();
            for side in after.out.minus(before.out).iter() {
                self.release(side);
            }
            for side in before.out.minus(after.out).iter() {
                self.struck[side].set(false);
                if let Some(cluster) = &self.clusters[side] {
                    cluster.redial_now();
                }
                self.logins.redial_now(side);
                // What it could not be asked while it was away may be asked now.
                self.prepared.clear();
            }
            // Of a side that is doubted every worker says so, whoever reported the failure.
            for side in after.doubted.iter() {
                self.struck[side].set(true);
            }
        }
    }

    /// The breaker opened: nobody waits for that side any longer, nor goes to it later (S18).
    fn release(&self, side: Side) {
        let keys: Vec<Key> = self.table.borrow().keys().collect();
        for key in keys {
            let unsent = {
                let mut table = self.table.borrow_mut();
                let Some(request) = table.get_mut(key) else {
                    continue;
                };
                let is_waited_for = request.flow.waiting().contains(side);
                !is_waited_for || request.legs[side].withdraw()
            };
            self.advance(key, Input::Out { side, unsent }, None);
        }
    }

    async fn follow_news(self: Rc<Self>) {
        let mut renewed = self.shared.renewed.clone();
        let mut version = self.shared.news.load().facts.schema_version;
        while renewed.changed().await.is_ok() {
            renewed.borrow_and_update();
            let news = self.shared.news.load_full();
            if version != news.facts.schema_version {
                version = news.facts.schema_version;
                // What bears a table's name may be another one.
                self.logins.forget_rights();
            }
            let schema = Arc::clone(&news.schema);
            if !Arc::ptr_eq(&schema, &self.schema.borrow()) {
                *self.schema.borrow_mut() = schema;
                // Classes depend on column types (S3).
                self.texts.clear();
                self.prepared.clear();
            }
        }
    }

    /// A change through this proxy may have taken rights away.
    async fn follow_changes(self: Rc<Self>) {
        let mut changes = self.shared.changes.subscribe();
        while changes.changed().await.is_ok() {
            changes.borrow_and_update();
            self.logins.forget_rights();
        }
    }

    /// Tells the health loop what was seen. A full channel already holds more than it needs.
    pub(super) fn report(&self, side: Side, report: Report) {
        let is_told = self.shared.reports.try_send((side, report)).is_ok();
        // A success that did not fit is told with the next good answer.
        self.struck[side].set(report != Report::Success || !is_told);
        if !is_told {
            tracing::trace!(%side, "the health loop has enough reports");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell owns the clock")]
fn wall() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
