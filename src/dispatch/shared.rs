//! What all desks of the process share. Nothing in it is locked on the hot path.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::config::Config;
use super::intercept::Facts;
use super::registry::Registry;
use super::schema::Job;
use super::traces::Traces;
use crate::cluster::topology::Topology;
use crate::pair::{Pair, Side, Sides};
use crate::policy::{Policy, Report, View};
use crate::replay::Queue;
use crate::statement::Schema;
use crate::wire::Version;

/// What the control runtime learnt and every desk should know; replaced as a whole.
#[derive(Debug)]
pub struct News {
    /// What the proxy says of itself.
    pub facts: Facts,
    /// The columns of all tables, of home if it is up.
    pub schema: Arc<Schema>,
    /// The highest protocol version that clients are offered.
    pub offered: Version,
}

/// What all desks of the process share.
#[derive(Debug)]
pub struct Shared {
    /// Deadlines and the advertised node.
    pub config: Config,
    /// The name of this proxy, in every record it makes.
    pub instance: String,
    /// Strategies and strictness.
    pub policy: Policy,
    /// Timestamps.
    pub clock: Clock,
    /// Prepared statements.
    pub registry: Registry,
    /// Where records wait; `None` with a single cluster.
    pub queue: Option<Arc<dyn Queue>>,
    /// What waits until that queue takes it.
    pub untold: Untold,
    /// Facts and schema.
    pub news: ArcSwap<News>,
    /// Each cluster's nodes, once they are known.
    pub topologies: Pair<watch::Receiver<Option<Arc<Topology>>>>,
    /// Health, as the control runtime sees it.
    pub view: watch::Receiver<View>,
    /// Rings when `news` was replaced.
    pub renewed: watch::Receiver<u64>,
    /// What the data plane saw of the clusters' health. Full means that the loop is busy with more
    /// than it needs to decide.
    pub reports: mpsc::Sender<(Side, Report)>,
    /// Schema changes, run one at a time.
    pub jobs: mpsc::Sender<Job>,
    /// Rings after each of them: some take rights away.
    pub changes: watch::Sender<u64>,
    /// Which cluster made which trace.
    pub traces: Traces,
    /// The operator's names of the clusters, for sentences.
    pub names: Pair<String>,
}

impl Shared {
    /// Whether writes that this side missed are still owed to it, in the queue or in memory.
    pub fn is_behind(&self, side: Side) -> bool {
        let is_told = (self.queue.as_ref()).is_some_and(|queue| queue.is_behind(side));
        is_told || self.untold.is_owed(side)
    }
}

/// Debts that are only in memory, since the queue refuses them or has not said anything of them yet: of all threads.
#[derive(Debug, Default)]
pub struct Untold(Pair<AtomicUsize>);

impl Untold {
    /// One more record that these sides owe.
    pub(super) fn add(&self, owes: Sides) {
        for side in owes.iter() {
            self.0[side].fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The queue has it, and says so itself; or it is given up.
    pub(super) fn remove(&self, owes: Sides) {
        for side in owes.iter() {
            self.0[side].fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn is_owed(&self, side: Side) -> bool {
        self.0[side].load(Ordering::Acquire) != 0
    }
}
