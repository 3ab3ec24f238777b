//! The thread that replays: its own connections, and less of the processor than live traffic gets.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::control::connect;
use super::{Ends, Topologies, dice};
use crate::config::Config;
use crate::pair::Pair;
use crate::policy::State;
use crate::replay::apply::Applier;
use crate::replay::schedule::Limits;
use crate::replay::worker::Worker;
use crate::replay::{self, Queue};
use crate::telemetry::Metrics;

/// For replay to give its leases back.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// Steps of niceness: where processors are short, live requests go first.
const NICENESS: i32 = 10;

/// What the thread takes with it.
struct Luggage {
    config: Config,
    queue: Arc<dyn Queue>,
    metrics: Arc<Metrics>,
    connected: watch::Receiver<Pair<bool>>,
    states: watch::Receiver<Pair<State>>,
    topologies: Pair<Topologies>,
    stop: watch::Receiver<bool>,
}

/// Starts the thread, if there is a second cluster that can owe anything.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn start(
    config: &Config,
    queue: Option<Arc<dyn Queue>>,
    metrics: &Arc<Metrics>,
    ends: &Ends,
    stop: watch::Receiver<bool>,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(queue) = queue.filter(|_| config.clusters.b.is_some()) else {
        return Ok(None);
    };
    let luggage = Luggage {
        config: config.clone(),
        queue,
        metrics: Arc::clone(metrics),
        connected: ends.connected.subscribe(),
        states: ends.states.subscribe(),
        topologies: ends.topologies.clone(),
        stop,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = move || LocalSet::new().block_on(&runtime, work(luggage));
    let thread = thread::Builder::new().name("replay".to_owned());
    thread.spawn(work).map(Some)
}

async fn work(luggage: Luggage) {
    // On Linux niceness is a thread's own.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "replay runs at the priority of live traffic");
    }
    let (mut upkeep, mut workers) = (JoinSet::new(), JoinSet::new());
    let lines = connect(&luggage.config, &luggage.topologies, &mut upkeep);
    for (side, line) in lines.iter() {
        let Some(line) = line.clone() else { continue };
        let (may_replay, open) = watch::channel(false);
        let gate = gate(
            side,
            luggage.connected.clone(),
            luggage.states.clone(),
            may_replay,
            luggage.stop.clone(),
        );
        upkeep.spawn_local(gate);
        let config = &luggage.config.replay.worker;
        let worker = Worker {
            side,
            queue: Arc::clone(&luggage.queue),
            apply: Applier::new(line, config.timeout),
            limits: limits(config),
            timeout: config.timeout,
            metrics: Arc::clone(&luggage.metrics),
            seed: dice(&luggage.config.instance),
        };
        workers.spawn_local(worker.run(open, luggage.stop.clone()));
    }
    let mut stop = luggage.stop;
    // An error means that whoever could say so is gone.
    let _asked = stop.wait_for(|stop| *stop).await.is_ok();
    let all = async { while workers.join_next().await.is_some() {} };
    if timeout(STOPS_WITHIN, all).await.is_err() {
        tracing::warn!("replay waits for a silent cluster: what it sent is cut off");
        workers.shutdown().await;
    }
    upkeep.shutdown().await;
}

fn limits(worker: &replay::Worker) -> Limits {
    Limits {
        batch: worker.batch.get(),
        concurrency: worker.concurrency.get(),
        rate: worker.rate,
        retry_min: worker.retry_min,
        retry_max: worker.retry_max,
        attempts_max: worker.attempts_max,
        grace: worker.divergence_grace,
        ..Limits::default()
    }
}

/// A side is replayed while it is connected and its breaker is closed.
async fn gate(
    side: crate::pair::Side,
    mut connected: watch::Receiver<Pair<bool>>,
    mut states: watch::Receiver<Pair<State>>,
    may_replay: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let may = connected.borrow_and_update()[side]
            && states.borrow_and_update()[side] == State::Closed;
        may_replay.send_if_modified(|before| std::mem::replace(before, may) != may);
        tokio::select! {
            changed = connected.changed() => if changed.is_err() { return },
            changed = states.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
