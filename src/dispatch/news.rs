//! What the clusters say of themselves becomes what every desk knows: facts and schema.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};

use super::config::Advertise;
use super::intercept::{self, Facts};
use super::shared::{News, Shared};
use super::versions::Versions;
use crate::cluster::Refused;
use crate::cluster::call::{Failure, Line};
use crate::cluster::watch::{Column, Local, columns, local, register, version_max};
use crate::pair::{Pair, Side, Sides};
use crate::statement::{Schema, schema};
use crate::wire::Version;

/// Between two looks at a cluster that says nothing by itself.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two tries at a cluster that cannot be reached.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Several events in a row are looked at once.
const SETTLE: Duration = Duration::from_millis(50);

/// What is known of one side.
#[derive(Clone, Debug, Default)]
struct Seen {
    connected: bool,
    local: Option<Local>,
    columns: Vec<Column>,
}

/// What clients should hear of the schema.
#[derive(Clone, Debug)]
pub enum SchemaNews {
    /// It changed: a whole EVENT body.
    Changed(Arc<[u8]>),
    /// It changed more often than anybody could note.
    Missed,
}

/// The reporter: watches both clusters from the control runtime and publishes.
#[derive(Debug)]
pub struct Reporter {
    shared: Arc<Shared>,
    seen: RefCell<Pair<Seen>>,
    lines: Pair<Option<Line>>,
    connected: watch::Sender<Pair<bool>>,
    renewed: watch::Sender<u64>,
    /// For all sessions of all threads.
    events: broadcast::Sender<SchemaNews>,
    /// Asks a side's loop to look now.
    nudges: Pair<Notify>,
    releases: watch::Sender<Pair<Option<String>>>,
    looked: watch::Sender<Sides>,
    versions: watch::Sender<Versions>,
}

impl Reporter {
    /// Publishes through these; nothing is asked before [`Reporter::follow`] runs.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        versions: Versions,
        lines: Pair<Option<Line>>,
        connected: watch::Sender<Pair<bool>>,
        renewed: watch::Sender<u64>,
        events: broadcast::Sender<SchemaNews>,
    ) -> Rc<Self> {
        let (seen, nudges) = (RefCell::default(), Pair::default());
        let releases = watch::Sender::default();
        let looked = watch::Sender::default();
        Rc::new(Self {
            shared,
            seen,
            lines,
            connected,
            renewed,
            events,
            nudges,
            releases,
            looked,
            versions: watch::Sender::new(versions),
        })
    }

    /// Follows one side for ever: registers, looks at every event and now and then, publishes.
    pub async fn follow(self: Rc<Self>, side: Side) {
        let Some(line) = self.lines[side].clone() else {
            return;
        };
        let mut told = None;
        loop {
            let outcome = self.watch(&line).await;
            if self.seen.borrow()[side].connected {
                told = None;
            }
            if let Err(failure) = outcome {
                tell(side, &failure, &mut told);
            }
            self.set_connected(side, false);
            self.has_looked(side);
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                () = self.nudges[side].notified() => {}
            }
        }
    }

    async fn watch(&self, line: &Line) -> Result<(), Failure> {
        let side = line.side();
        line.cluster().redial_now();
        let mut ends = line.ends();
        register(line).await?;
        loop {
            self.look_at_version(line).await?;
            self.look(line).await?;
            self.set_connected(side, true);
            self.has_looked(side);
            tokio::select! {
                () = line.event() => tokio::time::sleep(SETTLE).await,
                () = self.nudges[side].notified() => {}
                // It may be the one that registered: its successor has to, if there can be one.
                _ = ends.changed() => {
                    self.set_connected(side, false);
                    register(line).await?;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.pass_events(line);
        }
    }

    /// Sessions hear of a change once: from home if it is up.
    fn pass_events(&self, line: &Line) {
        let home = self.shared.policy.home();
        let is_voice = line.side() == home || !self.connected.borrow()[home];
        let events = line.take_events();
        if !is_voice {
            return;
        }
        let changes = events.bodies.into_iter();
        let changes = changes.map(|body| SchemaNews::Changed(body.into()));
        for news in changes.chain(events.is_short.then_some(SchemaNews::Missed)) {
            // Nobody listening is fine: no session has registered.
            let listeners = self.events.send(news).unwrap_or(0);
            tracing::trace!(listeners, "schema event");
        }
    }

    /// Looks at one side now and publishes what changed.
    ///
    /// # Errors
    /// If the side cannot be asked.
    pub async fn look(&self, line: &Line) -> Result<(), Failure> {
        let side = line.side();
        let now = local(line).await?;
        let before = self.seen.borrow()[side].local.clone();
        if before.as_ref() != Some(&now) {
            let columns = columns(line).await?;
            let mut seen = self.seen.borrow_mut();
            seen[side].columns = columns;
            seen[side].local = Some(now);
            drop(seen);
            self.publish();
        }
        Ok(())
    }

    /// A node that was replaced may speak another version than the one before it (S21).
    async fn look_at_version(&self, line: &Line) -> Result<(), Failure> {
        let (side, version) = (line.side(), version_max(line).await?);
        let before = self.versions.borrow().offered();
        let is_news = self
            .versions
            .send_if_modified(|versions| versions.learn(side, version));
        if is_news {
            let offered = self.versions.borrow().offered();
            tracing::info!(%side, version = version.number(), "highest protocol version");
            if offered != before {
                tracing::info!(
                    version = offered.number(),
                    "clients are offered this protocol version"
                );
            }
            self.publish();
        }
        Ok(())
    }

    /// The highest version that each side speaks, as it is learnt.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    fn set_connected(&self, side: Side, connected: bool) {
        let before = std::mem::replace(&mut self.seen.borrow_mut()[side].connected, connected);
        if before == connected {
            return;
        }
        match connected {
            true => tracing::info!(%side, "cluster connected"),
            false => tracing::warn!(%side, "cluster disconnected"),
        }
        self.connected.send_modify(|pair| pair[side] = connected);
        self.publish();
    }

    fn has_looked(&self, side: Side) {
        self.looked
            .send_if_modified(|looked| std::mem::replace(looked, looked.with(side)) != *looked);
    }

    /// The sides that were reached, or not, at least once.
    #[must_use]
    pub fn looked(&self) -> watch::Receiver<Sides> {
        self.looked.subscribe()
    }

    /// What each side last said it runs.
    #[must_use]
    pub fn releases(&self) -> watch::Receiver<Pair<Option<String>>> {
        self.releases.subscribe()
    }

    fn publish(&self) {
        let seen = self.seen.borrow();
        let home = self.shared.policy.home();
        let teller = if seen[home].local.is_some() {
            home
        } else {
            !home
        };
        let offered = self.versions.borrow().offered();
        let facts = facts(&self.shared.config.advertise, &seen, teller, offered);
        let schema = schema_of(&seen[teller].columns);
        let release = |side: Side| {
            seen[side]
                .local
                .as_ref()
                .map(|it| it.release_version.clone())
        };
        self.releases.send_replace(Pair::from_fn(release));
        let before = self.shared.news.load();
        let schema = if *before.schema == schema {
            Arc::clone(&before.schema)
        } else {
            schema.into()
        };
        let news = News {
            facts,
            schema,
            offered,
        };
        self.shared.news.store(Arc::new(news));
        self.renewed.send_modify(|count| *count += 1);
    }
}

/// Says why a cluster cannot be asked, each reason in a row once. That the last attempt is too recent for
/// another is none.
fn tell(side: Side, failure: &Failure, told: &mut Option<Failure>) {
    let is_pause = matches!(failure, Failure::Refused(Refused::Down));
    if !is_pause && told.as_ref() != Some(failure) {
        tracing::warn!(%side, %failure, "the cluster cannot be asked");
        *told = Some(failure.clone());
    }
}

fn facts(advertise: &Advertise, seen: &Pair<Seen>, teller: Side, offered: Version) -> Facts {
    let local = seen[teller].local.clone().unwrap_or_default();
    let or = |own: &Option<String>, theirs: String, default: &str| match (own, theirs) {
        (Some(own), _) => own.clone(),
        (None, theirs) if theirs.is_empty() => default.to_owned(),
        (None, theirs) => theirs,
    };
    let release = |side: Side| {
        seen[side]
            .local
            .as_ref()
            .map(|it| it.release_version.as_str())
    };
    let version = |side: Side| seen[side].local.as_ref().map(|it| it.schema_version);
    let lower = intercept::lower_release(release(Side::A), release(Side::B));
    Facts {
        cluster_name: or(&advertise.cluster_name, local.cluster_name, "helix"),
        datacenter: or(&advertise.datacenter, local.datacenter, "datacenter1"),
        rack: or(&advertise.rack, local.rack, "rack1"),
        host_id: advertise.host_id,
        release_version: or(&None, lower.unwrap_or_default().to_owned(), "4.0.0"),
        schema_version: intercept::schema_version(Pair::from_fn(version)),
        cql_version: or(&None, local.cql_version, "3.4.5"),
        partitioner: or(
            &None,
            local.partitioner,
            "org.apache.cassandra.dht.Murmur3Partitioner",
        ),
        native_protocol: offered.number(),
    }
}

/// Facts and schema before any cluster was asked.
#[must_use]
pub fn unseen(advertise: &Advertise, offered: Version) -> News {
    let seen = Pair::<Seen>::default();
    News {
        facts: facts(advertise, &seen, Side::A, offered),
        schema: Arc::default(),
        offered,
    }
}

fn schema_of(columns: &[Column]) -> Schema {
    Schema::new(columns.iter().map(|column| schema::Row {
        keyspace: &column.keyspace,
        table: &column.table,
        column: &column.name,
        kind: &column.kind,
        position: column.position,
        type_text: &column.type_text,
    }))
}
