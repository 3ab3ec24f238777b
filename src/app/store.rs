//! The replay queue and what hangs on it: the clock's ceiling and the workers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Ends;
use super::observer::now_micros;
use crate::cluster::call::Line;
use crate::config::Config;
use crate::dispatch::Shared;
use crate::pair::Pair;
use crate::policy::State;
use crate::replay::apply::Applier;
use crate::replay::queue::{Disk, Memory, OpenError, Options};
use crate::replay::schedule::Limits;
use crate::replay::worker::Worker;
use crate::replay::{self, Queue};
use crate::telemetry::Metrics;

/// How far ahead of the newest timestamp the clock is reserved (S25), microseconds.
const AHEAD: i64 = 1_000_000;
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where records wait.
pub(super) struct Store {
    queue: Arc<dyn Queue>,
    disk: Option<Arc<Disk>>,
}

impl Store {
    pub(super) fn open(config: &Config) -> Result<Self, OpenError> {
        match &config.replay.store {
            replay::Store::Memory { capacity } => Ok(Self {
                queue: Arc::new(Memory::new(*capacity, now_micros)),
                disk: None,
            }),
            replay::Store::Disk { .. } if config.clusters.b.is_none() => {
                // Nothing is ever owed with a single cluster: no file is needed.
                let few = const { std::num::NonZeroUsize::new(1).expect("not zero") };
                Ok(Self {
                    queue: Arc::new(Memory::new(few, now_micros)),
                    disk: None,
                })
            }
            replay::Store::Disk { path, max_bytes } => {
                let options = Options::new(path.clone(), max_bytes.get(), now_micros);
                let disk = Arc::new(Disk::open(options)?);
                let queue = Arc::clone(&disk);
                Ok(Self {
                    queue,
                    disk: Some(disk),
                })
            }
        }
    }

    pub(super) fn queue(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::clone(&self.queue))
    }

    /// No timestamp at or below it may be given out: an earlier process may have used it.
    pub(super) fn clock_floor(&self) -> i64 {
        self.disk.as_ref().map_or(0, |disk| disk.clock_ceiling())
    }

    /// Keeps the clock's ceiling ahead on disk, for ever. Without a disk the wall clock must do.
    pub(super) fn keep_clock(&self, shared: Arc<Shared>) -> impl Future<Output = ()> + 'static {
        let disk = self.disk.clone();
        async move {
            let Some(disk) = disk else { return };
            let mut reserved = 0;
            loop {
                let newest = shared.clock.last().max(now_micros());
                if reserved < newest + AHEAD / 2 {
                    let until = newest + AHEAD;
                    match disk.reserve_clock(until).await {
                        Ok(()) => {
                            reserved = until;
                            shared.clock.reserve(until);
                        }
                        Err(refused) => tracing::warn!(%refused, "the clock cannot be reserved"),
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Starts a replay worker for each side.
    pub(super) fn start_replay(
        &self,
        config: &Config,
        lines: &Pair<Option<Line>>,
        metrics: &Arc<Metrics>,
        ends: &Ends,
        stop: &watch::Sender<bool>,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if config.clusters.b.is_none() {
            return tasks;
        }
        for (side, line) in lines.iter() {
            let Some(line) = line.clone() else { continue };
            let applier = Applier::new(line, config.replay.worker.timeout);
            let (may_replay, open) = watch::channel(false);
            let (connected, states) = (ends.connected.subscribe(), ends.states.subscribe());
            tasks.spawn_local(gate(side, connected, states, may_replay, stop.subscribe()));
            let worker = Worker {
                side,
                queue: Arc::clone(&self.queue),
                apply: applier,
                limits: limits(&config.replay.worker),
                timeout: config.replay.worker.timeout,
                metrics: Arc::clone(metrics),
                seed: super::dice(&config.instance),
            };
            tasks.spawn_local(worker.run(open, stop.subscribe()));
        }
        tasks
    }

    /// Everything submitted becomes durable.
    pub(super) async fn close(&self) {
        if let Err(refused) = self.queue.close().await {
            tracing::error!(%refused, "the replay queue was not closed cleanly");
        }
    }
}

fn limits(worker: &replay::Worker) -> Limits {
    Limits {
        batch: worker.batch.get(),
        concurrency: worker.concurrency.get(),
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
