//! Builds everything, owns the threads and root tasks, shuts down in order.
//!
//! ```text
//! control thread: acceptor · pulse · reporters · schema changes · admin · clock
//! replay thread:  a worker for each side, at a lower priority
//! worker threads: one Desk and its clients each, nothing shared but what `Shared` holds
//! ```

mod control;
mod files;
mod observer;
mod renewal;
mod replayer;
mod serving;
mod signals;
mod store;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::LocalSet;

use crate::cluster::{self, topology::Topology};
use crate::config::Config;
use crate::control::Access;
use crate::dispatch::clock::Clock;
use crate::dispatch::news::{SchemaNews, unseen};
use crate::dispatch::schema::Job;
use crate::dispatch::versions::Versions;
use crate::dispatch::{Registry, Shared};
use crate::pair::{Pair, Side, Sides};
use crate::policy::{Health, Policy, Report, State, View};
use crate::session::{Acceptor, Door};
use crate::telemetry::Metrics;

use signals::Signals;
use store::Store;

/// Reports of health that may wait; workers drop what does not fit.
const REPORTS_MAX: usize = 1_024;
/// Schema changes that may wait; further ones are refused.
const JOBS_MAX: usize = 64;
/// Events that a slow thread may lag behind before its clients have to read the schema anew.
const EVENTS_MAX: usize = 256;
/// For requests in flight when told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// For what those requests recorded to reach the queue.
const RECORDS_WITHIN: Duration = Duration::from_secs(4);
/// For all of the shutdown; `docker/compose.yaml` and `docs/OPERATING.md` rely on it.
const STOPS_WITHIN: Duration = Duration::from_secs(25);
/// For both clusters to be looked at before the first client is let in.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin address is not allowed as configured.
    #[error("{0}")]
    Admin(#[from] crate::control::Error),
    /// An address or a thread cannot be had.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The metrics cannot be registered.
    #[error("{0}")]
    Metrics(#[from] prometheus::Error),
    /// The replay queue cannot be opened.
    #[error("{0}")]
    Queue(#[from] crate::replay::queue::OpenError),
}

/// Serves until SIGINT or SIGTERM. A second one, or a shutdown that takes too long, ends the process
/// on the spot.
///
/// # Errors
/// Why it could not start.
pub fn run(config: &Config) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(config))
}

async fn serve(config: &Config) -> Result<(), Error> {
    let mut session = config.session;
    let clusters = config.clusters.iter().map(|(_, it)| it);
    let of = (clusters, config.dispatch.passthrough);
    session.clients_max = files::clients_max(session.clients_max, config.workers, of);
    let mut acceptor = Acceptor::bind(&session)?;
    let admin = (
        bind_admin(config).await?,
        Access::new(config.admin.listen, Vec::new(), None)?,
    );
    let store = Store::open(config)?;
    let names = Pair::from_fn(|side| config.clusters.get(side).map(|it| it.name.to_string()));
    let metrics = Arc::new(Metrics::new(names)?);
    let known = store.versions().await;
    let (shared, ends) = share(config, &store, known);
    store.begin_clock(&shared.clock).await;

    let threads = worker::start(config, &shared, &metrics, &mut acceptor, &ends)?;
    let mut control = control::start(config, &shared, &metrics, &store, admin, ends)?;
    control.first_look(FIRST_LOOK).await;
    control.let_clients_in(acceptor);
    match &config.door {
        Door::Open => {}
        Door::Clusters => tracing::info!("clients log in at the clusters, as roles of their own"),
        Door::Users(users) => {
            let users = users.path().display();
            let text = "clients log in here, and share the service account of each cluster";
            tracing::info!(%users, text);
        }
    }
    tracing::info!(listen = %config.session.listen, admin = %config.admin.listen, "serving");

    let mut signals = Signals::new()?;
    signals.next().await;
    tracing::info!("stopping: requests in flight are finished first");
    let in_order = async {
        control.stop_clients();
        worker::join(threads).await;
        control.stop_replay().await;
        store.close().await;
        control.stop().await;
    };
    tokio::select! {
        () = in_order => tracing::info!("stopped"),
        again = signals.next() => signals::leave(again.code(), "asked to stop once more"),
        () = tokio::time::sleep(STOPS_WITHIN) => signals::leave(1, "it takes too long to stop"),
    }
    Ok(())
}

async fn bind_admin(config: &Config) -> io::Result<TcpListener> {
    let address = config.admin.listen;
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {address} (admin): {error}"),
        )
    })
}

/// Tells of one cluster's nodes.
type Topologies = watch::Sender<Option<Arc<Topology>>>;

/// The ends of all channels that the control thread holds.
struct Ends {
    health: Health,
    reports: mpsc::Receiver<(Side, Report)>,
    jobs: mpsc::Receiver<Job>,
    view: watch::Sender<View>,
    renewed: watch::Sender<u64>,
    /// For all sessions of all threads.
    events: broadcast::Sender<SchemaNews>,
    /// How often a cluster served again after none had.
    returns: watch::Sender<u64>,
    states: watch::Sender<Pair<State>>,
    connected: watch::Sender<Pair<bool>>,
    versions: Versions,
    topologies: Pair<Topologies>,
    stop: watch::Sender<bool>,
}

/// `known` is what an earlier process learnt of the clusters' versions.
fn share(config: &Config, store: &Store, known: Pair<Option<u8>>) -> (Arc<Shared>, Ends) {
    let sides: Sides = config.clusters.iter().map(|(side, _)| side).collect();
    let health = Health::new(&config.policy, sides, dice(&config.instance));
    let (reports_in, reports) = mpsc::channel(REPORTS_MAX);
    let (jobs_in, jobs) = mpsc::channel(JOBS_MAX);
    let (view, view_out) = watch::channel(health.view());
    let (renewed, renewed_out) = watch::channel(0);
    let topologies = Pair::<Topologies>::default();
    let name = |side| {
        config
            .clusters
            .get(side)
            .map_or_else(String::new, |it| it.name.to_string())
    };
    let versions = Versions::new(config.dispatch.protocol_max, sides, known);
    let unseen = unseen(&config.dispatch.advertise, versions.offered());
    let shared = Shared {
        config: config.dispatch.clone(),
        instance: config.instance.clone(),
        policy: Policy::new(config.policy.clone(), sides),
        clock: Clock::new(store.clock_floor()),
        registry: Registry::new(sides != Sides::BOTH),
        queue: store.queue().filter(|_| sides == Sides::BOTH),
        untold: Default::default(),
        news: arc_swap::ArcSwap::from_pointee(unseen),
        topologies: topologies.as_ref().map(|_, it| it.subscribe()),
        view: view_out,
        renewed: renewed_out,
        reports: reports_in,
        jobs: jobs_in,
        changes: watch::Sender::new(0),
        traces: Default::default(),
        names: Pair::from_fn(name),
    };
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let (states, connected) = (watch::Sender::default(), watch::Sender::default());
    let stop = watch::Sender::new(false);
    let ends = Ends {
        health,
        reports,
        jobs,
        view,
        renewed,
        events,
        returns: watch::Sender::default(),
        states,
        connected,
        versions,
        topologies,
        stop,
    };
    (Arc::new(shared), ends)
}

/// Spreads the preference of a fleet over both clusters, the same after every restart.
fn dice(instance: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    hasher.finish()
}

fn cluster_config(config: &Config, side: Side) -> Option<Arc<cluster::Config>> {
    config.clusters.get(side).cloned().map(Arc::new)
}
