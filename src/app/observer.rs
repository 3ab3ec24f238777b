//! How the proxy does, for `/status`, `/health/ready` and the gauges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::serving::Serving;
use crate::config::Config;
use crate::control::status::{Clients, Cluster, Reads, Replay, State, Status, StatusSource};
use crate::dispatch::Shared;
use crate::pair::{Pair, Side};
use crate::policy;
use crate::replay::Store;
use crate::telemetry::{BreakerState, Metrics, Sample};

/// Looks at what the other tasks publish.
#[derive(Debug)]
pub(super) struct Observer {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    seen: Seen,
    kind: &'static str,
    since: Instant,
}

/// What the other tasks publish.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) clusters: Serving,
    pub(super) releases: watch::Receiver<Pair<Option<String>>>,
    /// Whether clients are let in.
    pub(super) serving: watch::Receiver<bool>,
}

impl Observer {
    pub(super) fn new(
        config: &Config,
        shared: &Arc<Shared>,
        metrics: &Arc<Metrics>,
        seen: Seen,
    ) -> Arc<Self> {
        let kind = match config.replay.store {
            Store::Disk { .. } => "disk",
            Store::Memory { .. } => "memory",
        };
        let observer = Self {
            shared: Arc::clone(shared),
            metrics: Arc::clone(metrics),
            seen,
            kind,
            since: Instant::now(),
        };
        let (states, of) = (observer.seen.clusters.states.clone(), Arc::clone(shared));
        metrics.sample_with(move || sample(&of, *states.borrow()));
        Arc::new(observer)
    }

    fn cluster(&self, side: Side) -> Cluster {
        let state = self.seen.clusters.states.borrow()[side];
        Cluster {
            side: side.label().to_owned(),
            state: match state {
                policy::State::Closed => State::Closed,
                policy::State::HalfOpen => State::HalfOpen,
                policy::State::Open => State::Open,
            },
            behind: self.shared.is_behind(side),
            connected: self.seen.clusters.connected.borrow()[side],
            release_version: self.seen.releases.borrow()[side].clone(),
        }
    }
}

impl StatusSource for Observer {
    fn status(&self) -> Status {
        let sides = self.shared.policy.sides();
        let name = |side: Side| self.shared.names[side].clone();
        let clusters: BTreeMap<_, _> = sides
            .iter()
            .map(|side| (name(side), self.cluster(side)))
            .collect();
        let replay =
            |queue: &Arc<dyn crate::replay::Queue>| Replay::of(self.kind, &**queue, now_micros());
        Status {
            ready: self.ready().is_ok(),
            instance: self.shared.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.since.elapsed().as_secs(),
            clusters,
            reads: Reads {
                preferred: self.shared.view.borrow().preferred.label().to_owned(),
            },
            replay: self.shared.queue.as_ref().map_or_else(Replay::none, replay),
            clients: Clients {
                connections: self.metrics.client_connections(),
            },
        }
    }

    fn ready(&self) -> Result<(), String> {
        if !*self.seen.serving.borrow() {
            return Err("clients are not let in: starting or stopping".to_owned());
        }
        match self.seen.clusters.is_any() {
            true => Ok(()),
            false => Err("no cluster can be reached".to_owned()),
        }
    }
}

fn sample(shared: &Shared, states: Pair<policy::State>) -> Sample {
    let depth = shared
        .queue
        .as_ref()
        .map(|queue| queue.depth())
        .unwrap_or_default();
    let now = now_micros();
    let age = |kept: i64| {
        Duration::from_micros(u64::try_from(now.saturating_sub(kept)).unwrap_or_default())
    };
    Sample {
        owed: depth.owed,
        oldest_age: depth.oldest.map(|_, kept| kept.map(age)),
        dead_letters: depth.dead,
        queue_bytes: depth.bytes,
        breaker: states.map(|_, state| match state {
            policy::State::Closed => BreakerState::Closed,
            policy::State::HalfOpen => BreakerState::HalfOpen,
            policy::State::Open => BreakerState::Open,
        }),
        prepared_statements: u64::try_from(shared.registry.len()).unwrap_or(u64::MAX),
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell owns the clock")]
pub(super) fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
