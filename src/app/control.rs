//! The control thread's tasks: health, facts, schema changes, replay, admin.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::observer::{Observer, Seen};
use super::serving::Serving;
use super::store::Store;
use super::{Ends, Topologies, cluster_config, renewal, replayer, worker};
use crate::cluster::call::Line;
use crate::cluster::discover;
use crate::config::Config;
use crate::control::{Access, Admin, serve as serve_admin};
use crate::dispatch::Shared;
use crate::dispatch::news::Reporter;
use crate::dispatch::pulse::Pulse;
use crate::dispatch::schema::Changer;
use crate::pair::{Pair, Side, Sides};
use crate::session::Acceptor;
use crate::socket::Buffers;
use crate::telemetry::Metrics;

/// For the last answers of the admin address.
const ADMIN_STOPS_WITHIN: Duration = Duration::from_secs(1);

/// Everything that runs on the control thread.
pub(super) struct Control {
    tasks: JoinSet<()>,
    replay: Option<JoinHandle<()>>,
    sides: Sides,
    /// Sides that were reached, or not, at least once.
    looked: watch::Receiver<Sides>,
    connected: watch::Receiver<Pair<bool>>,
    /// Whether clients are let in.
    serving: watch::Sender<bool>,
    admin: JoinSet<()>,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    /// Dropped last: the workers' reports and jobs go nowhere without it.
    stop_replay: watch::Sender<bool>,
}

pub(super) fn start(
    config: &Config,
    shared: &Arc<Shared>,
    metrics: &Arc<Metrics>,
    store: &Store,
    admin: (TcpListener, Access),
    ends: Ends,
) -> io::Result<Control> {
    let mut tasks = JoinSet::new();
    let lines = connect(config, &ends.topologies, &mut tasks);
    look_for_nodes(config, &lines, &ends.topologies, &mut tasks);
    let (stop_replay, queue) = (watch::Sender::new(false), shared.queue.clone());
    let replay = replayer::start(config, queue, metrics, &ends, stop_replay.subscribe())?;
    tasks.spawn_local(store.keep_clock(Arc::clone(shared)));

    let clusters = Serving::of(shared.policy.sides(), &ends);
    tasks.spawn_local(clusters.clone().count(ends.returns.clone()));
    let Ends {
        health,
        reports,
        jobs,
        view,
        renewed,
        events,
        states,
        connected,
        versions,
        stop,
        ..
    } = ends;
    let serving = watch::Sender::new(false);
    let (trips, sides) = (Arc::clone(metrics), shared.policy.sides());
    let pulse = Pulse::new(health, lines.clone(), reports, view, states);
    tasks.spawn_local(pulse.run(move |side| trips.breaker_tripped(side)));
    let seen = connected.subscribe();
    let reporter = Reporter::new(
        Arc::clone(shared),
        versions,
        lines.clone(),
        connected,
        renewed,
        events,
    );
    for side in Side::ALL {
        tasks.spawn_local(Rc::clone(&reporter).follow(side));
    }
    tasks.spawn_local(store.keep_versions(reporter.versions()));
    tasks.spawn_local(renewal::follow(config.clone()));
    let published = Seen {
        clusters,
        releases: reporter.releases(),
        serving: serving.subscribe(),
    };
    let observer = Observer::new(config, shared, metrics, published);
    let looked = reporter.looked();
    let changer = Changer::new(Arc::clone(shared), lines, reporter, seen.clone());
    tasks.spawn_local(changer.run(jobs));
    let (listener, access) = admin;
    let answers = Admin {
        access,
        metrics: Arc::clone(metrics),
        queue: shared.queue.clone(),
        status: observer,
    };
    let (mut admin, stop_admin) = (JoinSet::new(), watch::Sender::new(false));
    let answering = serve_admin(listener, Arc::new(answers), stop_admin.subscribe());
    admin.spawn_local(logged("admin", answering));
    Ok(Control {
        tasks,
        replay,
        sides,
        looked,
        connected: seen,
        serving,
        admin,
        stop,
        stop_admin,
        stop_replay,
    })
}

/// Learns which nodes each cluster has.
fn look_for_nodes(
    config: &Config,
    lines: &Pair<Option<Line>>,
    topologies: &Pair<Topologies>,
    tasks: &mut JoinSet<()>,
) {
    for (side, line) in lines.iter() {
        if let (Some(line), Some(config)) = (line.clone(), cluster_config(config, side)) {
            tasks.spawn_local(discover::follow(config, line, topologies[side].clone()));
        }
    }
}

/// A thread's own line to each cluster.
pub(super) fn connect(
    config: &Config,
    topologies: &Pair<Topologies>,
    tasks: &mut JoinSet<()>,
) -> Pair<Option<Line>> {
    let buffers = Rc::new(Buffers::default());
    Pair::from_fn(|side| {
        let line = Line::new(side, cluster_config(config, side)?, Rc::clone(&buffers));
        let cluster = Rc::clone(line.cluster());
        tasks.spawn_local(async move { cluster.keep_alive().await });
        let (cluster, told) = (Rc::clone(line.cluster()), topologies[side].subscribe());
        tasks.spawn_local(async move { cluster.follow(told).await });
        Some(line)
    })
}

impl Control {
    /// Waits until every cluster was reached or refused, or for so long if one is silent.
    pub(super) async fn first_look(&mut self, within: Duration) {
        let sides = self.sides;
        let all = self.looked.wait_for(|looked| *looked == sides);
        let in_time = timeout(within, all).await.is_ok();
        let connected = *self.connected.borrow();
        if !in_time || !sides.iter().all(|side| connected[side]) {
            tracing::warn!("not all clusters could be reached; serving all the same");
        }
    }

    pub(super) fn let_clients_in(&mut self, acceptor: Acceptor) {
        self.tasks
            .spawn_local(logged("acceptor", acceptor.run(self.stop.subscribe())));
        self.serving.send_replace(true);
    }

    pub(super) fn stop_clients(&self) {
        self.serving.send_replace(false);
        self.stop.send_replace(true);
    }

    pub(super) async fn stop_replay(&mut self) {
        self.stop_replay.send_replace(true);
        worker::join(self.replay.take().into_iter().collect()).await;
    }

    /// The admin address is the last to go, so that an operator can watch the shutdown.
    pub(super) async fn stop(mut self) {
        self.stop_admin.send_replace(true);
        let all = async { while self.admin.join_next().await.is_some() {} };
        if timeout(ADMIN_STOPS_WITHIN, all).await.is_err() {
            tracing::debug!("somebody still asks the admin address");
        }
        self.tasks.shutdown().await;
    }
}

async fn logged<E: std::fmt::Display>(
    what: &'static str,
    task: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = task.await {
        tracing::error!(what, %error, "ended");
    }
}
