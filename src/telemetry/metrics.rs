//! The process's metrics: who counts, and the page that a scrape gets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{Registry, TextEncoder};

use super::exposition::Exposition;
use super::sample::Sample;
use super::worker::{Cells, SideCells, WorkerMetrics};
use crate::pair::{Pair, Side};

/// The content type of [`Metrics::text`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Reasons of dead letters that are shown from the start; others appear with their first one.
const PARKED: [&str; 5] = [
    "ambiguous",
    "malformed",
    "refused",
    "schema_changed",
    "too_many_attempts",
];

/// All metrics of the process. Its own methods are for the control plane, from any thread; the
/// data plane counts through the [`WorkerMetrics`] of each thread.
pub struct Metrics {
    registry: Registry,
    sources: Arc<Sources>,
}

/// Everything that a scrape reads.
pub(super) struct Sources {
    /// The configured names; a side that is not configured has no metrics.
    pub(super) clusters: Pair<Option<String>>,
    /// What the control plane counts, by several writers.
    pub(super) shared: Cells,
    /// What the workers count; one entry a thread, for the life of the process.
    pub(super) workers: Mutex<Vec<Arc<Cells>>>,
    /// Dead letters by reason; the reasons are fixed labels, so it stays small.
    pub(super) parked: Mutex<BTreeMap<&'static str, u64>>,
    /// Takes a look at what is not counted.
    pub(super) sampler: OnceLock<Box<dyn Fn() -> Sample + Send + Sync>>,
}

impl Metrics {
    /// Metrics of these clusters, by their configured names; `None` where a side is not configured.
    ///
    /// # Errors
    /// If the registry does not accept the set of names, which would be our own mistake.
    pub fn new(clusters: Pair<Option<String>>) -> Result<Self, prometheus::Error> {
        let sources = Arc::new(Sources {
            clusters,
            shared: Cells::default(),
            workers: Mutex::default(),
            parked: Mutex::new(PARKED.map(|reason| (reason, 0)).into()),
            sampler: OnceLock::new(),
        });
        let registry = Registry::new();
        registry.register(Box::new(Exposition::new(Arc::clone(&sources))?))?;
        Ok(Self { registry, sources })
    }

    /// Counters for one more thread, to be called once for each.
    #[must_use]
    pub fn worker(&self) -> WorkerMetrics {
        let cells = Arc::new(Cells::default());
        let mut workers = self
            .sources
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&cells));
        WorkerMetrics::new(cells)
    }

    /// How a scrape looks at what is not counted. The first call counts; before it, all is zero.
    pub fn sample_with(&self, sampler: impl Fn() -> Sample + Send + Sync + 'static) {
        self.sources.sampler.get_or_init(|| Box::new(sampler));
    }

    /// The page that a scrape gets.
    ///
    /// # Errors
    /// If a metric cannot be written, which would be our own mistake.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Client connections that are open now.
    #[must_use]
    pub fn client_connections(&self) -> u64 {
        self.sources.sum(|cells| cells.connections.read())
    }

    /// A breaker opened.
    pub fn breaker_tripped(&self, side: Side) {
        self.side(side).trips.add_shared(1);
    }

    /// A record was applied by the replay worker.
    pub fn replay_applied(&self, side: Side, elapsed: Duration) {
        self.side(side).replays.add_shared(elapsed);
    }

    /// The replay worker tried a record in vain.
    pub fn replay_failed(&self, side: Side) {
        self.side(side).replay_errors.add_shared(1);
    }

    /// A record became a dead letter; the reason is a fixed label.
    pub fn parked(&self, reason: &'static str) {
        let mut parked = self
            .sources
            .parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *parked.entry(reason).or_default() += 1;
    }

    /// This cluster refused for good a record of what the other one accepted.
    pub fn diverged(&self, side: Side) {
        self.side(side).divergences.add_shared(1);
    }

    fn side(&self, side: Side) -> &SideCells {
        &self.sources.shared.sides[side]
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("clusters", &self.sources.clusters)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// One number, summed over all who count it.
    pub(super) fn sum(&self, read: impl Fn(&Cells) -> u64) -> u64 {
        self.fold(0, |sum: u64, cells| sum.wrapping_add(read(cells)))
    }

    /// One value, gathered from all who count it.
    pub(super) fn fold<T>(&self, start: T, gather: impl Fn(T, &Cells) -> T) -> T {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let start = gather(start, &self.shared);
        workers
            .iter()
            .fold(start, |so_far, cells| gather(so_far, cells))
    }
}
