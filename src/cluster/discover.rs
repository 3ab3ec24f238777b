//! Learns a cluster's nodes, and who of them holds what, through a session of the `scylla` driver.
//!
//! Nothing waits for it: until it knows, the contact points serve, see `docs/TOPOLOGY.md`.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::metadata::Strategy;
use scylla::cluster::{ClusterState, Node};
use scylla::frame::response::result::TableSpec;
use scylla::policies::host_filter::DcHostFilter;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::call::{Failure, Line};
use super::topology::{Ring, Topology};
use super::watch::{Local, WITHIN, local_within};
use super::{Config, Refused};
use crate::telemetry::Throttle;

/// The first pause before another session is tried, doubling up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The longest pause while no contact point answers: to ask costs little, and a cluster that is back should
/// not wait for it.
const AWAY_MAX: Duration = Duration::from_secs(5);
/// How often the session is asked whether anything changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the session reads everything anew, whatever events it got.
const READ_EVERY: Duration = Duration::from_secs(60);
/// A session without any connection for so long is replaced: names and certificates may be others.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Nodes that were told and are asked at a time whether they are still there.
const ASKED_AT_ONCE: usize = 16;
/// How often the log says that a cluster's nodes cannot be learnt.
const WARN_EVERY: Duration = Duration::from_secs(600);

type Told = watch::Sender<Option<Arc<Topology>>>;

/// Tells of the cluster's nodes, for ever. The line uses those that were told, as everybody does.
pub async fn follow(config: Arc<Config>, line: Line, to: Told) {
    let mut scout = Scout {
        config,
        line,
        to,
        datacenter: None,
        warnings: Throttle::new(WARN_EVERY),
    };
    let mut pause = RETRY_MIN;
    loop {
        let pause_max = match scout.round().await {
            Round::Over => {
                pause = RETRY_MIN;
                RETRY_MAX
            }
            Round::Away => AWAY_MAX,
            Round::Vain => RETRY_MAX,
        };
        sleep(pause.min(pause_max)).await;
        pause = (pause * 2).min(pause_max);
    }
}

/// What came of one attempt to learn of the nodes.
enum Round {
    /// No contact point answers.
    Away,
    /// A session reached them, and has lost them since.
    Over,
    /// A contact point answers, but no session reaches the nodes.
    Vain,
}

/// Who learns of the nodes.
struct Scout {
    config: Arc<Config>,
    line: Line,
    to: Told,
    /// Ours, once it was seen: another contact point may be elsewhere.
    datacenter: Option<String>,
    warnings: Throttle,
}

/// Which nodes are used, and how their tokens are made.
struct Home {
    datacenter: String,
    hashes_murmur3: bool,
}

impl Scout {
    async fn round(&mut self) -> Round {
        let side = self.line.side();
        let local = match self.ask().await {
            Ok(local) => local,
            Err(failure) => {
                tracing::debug!(%side, %failure, "no contact point answers");
                return Round::Away;
            }
        };
        let is_at_home = self.is_at_home(&local);
        let home = self.home(local);
        if is_at_home {
            self.forget_the_gone().await;
        }
        let unreached = match open(&self.config, &home).await {
            Ok(session) if watch(&session, &home, &self.line, &self.to).await => {
                self.datacenter = Some(home.datacenter);
                return Round::Over;
            }
            Ok(nobody) => unreached(&nobody.get_cluster_state(), &home),
            Err(reason) => Some(Unreached::Session(reason)),
        };
        if let Some(unreached) = unreached {
            self.warn(&home.datacenter, &unreached);
        }
        self.forget_the_gone().await;
        Round::Vain
    }

    /// What the first contact point that answers says of itself. The nodes that were told may be gone, all
    /// of them, and their successors be behind the same name.
    async fn ask(&self) -> Result<Local, Failure> {
        let mut said = Err(Failure::Refused(Refused::Down));
        for point in self.config.contact_points.iter() {
            said = self.hear(&point.to_string()).await;
            if said.is_ok() {
                break;
            }
        }
        said
    }

    /// What one node says of itself, on a line of its own: how long others take decides nothing.
    async fn hear(&self, address: &str) -> Result<Local, Failure> {
        let Own(line) = &Own(self.line.to(address));
        loop {
            let version = line.version();
            let said = local_within(line, self.config.connect_timeout + WITHIN).await;
            // One that does not speak the version is asked in the next lower one.
            if said.is_ok() || line.version() == version {
                return said;
            }
        }
    }

    /// Without any of the nodes that were told the contact points are used again: one of them answers.
    async fn forget_the_gone(&self) {
        if self.to.borrow().is_some() && !self.is_served().await {
            take_back(&self.line, &self.to, "none that was known answers");
        }
    }

    /// Whether any of the nodes that were told answers.
    async fn is_served(&self) -> bool {
        let told = self.to.borrow().clone();
        let addresses = stream::iter(told.iter().flat_map(|it| it.addresses()));
        let said = addresses.map(|it| self.hear(it));
        let mut said = said.buffer_unordered(ASKED_AT_ONCE);
        while let Some(said) = said.next().await {
            if said.is_ok() {
                return true;
            }
        }
        false
    }

    /// Whether a contact point stands for the nodes that are used: others say nothing of those.
    fn is_at_home(&self, seen: &Local) -> bool {
        self.ours().is_none_or(|it| *it == seen.datacenter)
    }

    fn ours(&self) -> Option<&String> {
        let configured = self.config.local_datacenter.as_ref();
        configured.or(self.datacenter.as_ref())
    }

    fn home(&self, seen: Local) -> Home {
        Home {
            datacenter: self.ours().cloned().unwrap_or(seen.datacenter),
            hashes_murmur3: seen.partitioner.ends_with(".Murmur3Partitioner"),
        }
    }

    fn warn(&mut self, datacenter: &str, unreached: &Unreached) {
        let side = self.line.side();
        let tls = self.config.tls.as_ref();
        let is_named = tls.is_some_and(|it| it.files().verify_hostname);
        let advice = match (unreached, is_named) {
            (Unreached::Elsewhere(_), _) => "clusters.*.local_datacenter must be one that there is",
            (Unreached::Nodes | Unreached::Session(_), true) => {
                "each node's certificate must be valid for the address that it tells drivers or for a name \
                 among contact_points, or else clusters.*.tls.verify_hostname be false"
            }
            (Unreached::Nodes | Unreached::Session(_), false) => {
                "each node must be reachable under the address that it tells drivers"
            }
        };
        if let Some(suppressed) = self.warnings.admit("nodes", Instant::now().into_std()) {
            tracing::warn!(
                %side, datacenter, reason = %unreached, advice, suppressed,
                "a contact point answers, but the cluster's nodes cannot be learnt: only contact points \
                 are used, one at a time, and no request goes to its row's replica"
            );
        }
    }
}

/// A line that ends with whoever asked on it.
struct Own(Line);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why no node was reached.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
enum Unreached {
    #[error("no node is in that datacenter, they are in: {0}")]
    Elsewhere(String),
    #[error("none answers under the address that it tells drivers")]
    Nodes,
    #[error("{0}")]
    Session(String),
}

/// Why a session reached nobody, as far as anybody need know it.
fn unreached(state: &ClusterState, home: &Home) -> Option<Unreached> {
    let nodes = state.get_nodes_info().iter();
    let datacenters: Vec<_> = nodes.filter_map(|it| it.datacenter.as_deref()).collect();
    unreached_of(datacenters, &home.datacenter)
}

/// The same by the datacenter of each node. Of a single one nothing is lost: there is no other, and the
/// contact points lead to it.
fn unreached_of(mut nodes: Vec<&str>, home: &str) -> Option<Unreached> {
    if nodes == [home] {
        return None;
    }
    if nodes.is_empty() || nodes.contains(&home) {
        return Some(Unreached::Nodes);
    }
    nodes.sort_unstable();
    nodes.dedup();
    Some(Unreached::Elsewhere(nodes.join(", ")))
}

/// The contact points are used again, if nodes were.
fn take_back(line: &Line, to: &Told, reason: &str) {
    if to.send_if_modified(|known| known.take().is_some()) {
        tracing::warn!(side = %line.side(), reason, "contact points are used again instead of nodes");
    }
}

/// A session that uses one datacenter.
async fn open(config: &Config, home: &Home) -> Result<Session, String> {
    let mut builder = SessionBuilder::new()
        .known_nodes(config.contact_points.iter().map(ToString::to_string))
        .connection_timeout(config.connect_timeout)
        .pool_size(PoolSize::PerHost(NonZeroUsize::MIN))
        .disallow_shard_aware_port(true)
        .host_filter(Arc::new(DcHostFilter::new(home.datacenter.clone())))
        .fetch_schema_metadata(false)
        .fetch_full_schema_metadata(false)
        .cluster_metadata_refresh_interval(READ_EVERY);
    if let Some(account) = &config.account {
        builder = builder.user(&account.username, &account.password);
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(tls.config()));
    }
    builder.build().await.map_err(|error| error.to_string())
}

/// Returns when the session has lost the cluster for good; whether it ever reached a node.
async fn watch(session: &Session, home: &Home, line: &Line, to: &Told) -> bool {
    let mut before: Option<Arc<ClusterState>> = None;
    let mut seen_at = Instant::now();
    while seen_at.elapsed() < DEAD_AFTER {
        let state = session.get_cluster_state();
        let nodes = nodes_of(&state, &home.datacenter);
        if nodes.iter().any(|it| it.is_connected()) {
            seen_at = Instant::now();
            if !before.as_ref().is_some_and(|it| Arc::ptr_eq(it, &state)) {
                tell(&state, &nodes, home, line, to);
                before = Some(state);
            }
        }
        sleep(LOOK_EVERY).await;
    }
    before.is_some()
}

/// One node alone is what the contact points are already, maybe under a name that is reached better.
fn tell(state: &ClusterState, nodes: &[&Arc<Node>], home: &Home, line: &Line, to: &Told) {
    let topology = topology(state, nodes, home);
    let mut addresses = topology.addresses().to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() < nodes.len() {
        tracing::debug!(side = %line.side(), "several nodes tell one address: contact points are used");
        take_back(line, to, "several nodes tell one address");
        return;
    }
    let datacenter = &home.datacenter;
    to.send_if_modified(|known| {
        let is_alone = known.is_none() && nodes.len() < 2;
        let is_same = known.as_deref() == Some(&topology);
        if is_alone || is_same {
            return false;
        }
        let nodes = topology.addresses().join(" ");
        tracing::info!(side = %line.side(), datacenter, nodes, "the cluster's nodes");
        *known = Some(Arc::new(topology));
        true
    });
}

/// The datacenter's nodes, in an order that stays.
fn nodes_of<'a>(state: &'a ClusterState, datacenter: &str) -> Vec<&'a Arc<Node>> {
    let nodes = state.get_nodes_info().iter();
    let mut nodes: Vec<_> = nodes
        .filter(|it| it.datacenter.as_deref() == Some(datacenter))
        .collect();
    nodes.sort_unstable_by_key(|it| it.host_id);
    nodes
}

fn topology(state: &ClusterState, nodes: &[&Arc<Node>], home: &Home) -> Topology {
    let addresses = nodes.iter().map(|it| it.address.to_string().into());
    let mut strategies: Vec<&Strategy> = Vec::new();
    let mut keyspaces = Vec::new();
    for (name, keyspace) in state.keyspaces_iter() {
        if !home.hashes_murmur3
            || keyspace.tablet_based
            || keyspace.strategy == Strategy::LocalStrategy
        {
            continue;
        }
        let known = strategies.iter().position(|it| **it == keyspace.strategy);
        let at = known.unwrap_or_else(|| {
            strategies.push(&keyspace.strategy);
            strategies.len() - 1
        });
        keyspaces.push((name.into(), at));
    }
    let rings = strategies
        .iter()
        .map(|it| ring(state, it, nodes, &home.datacenter));
    Topology::new(addresses.collect(), rings.collect(), keyspaces)
}

/// Who holds what, by one strategy.
fn ring(state: &ClusterState, strategy: &Strategy, nodes: &[&Arc<Node>], datacenter: &str) -> Ring {
    let places: HashMap<_, _> = nodes.iter().map(|it| it.host_id).zip(0_u16..).collect();
    let locator = state.replica_locator();
    let any = TableSpec::borrowed("", "");
    let tokens = locator.ring().iter().map(|(token, _)| {
        let replicas = locator.replicas_for_token(*token, strategy, Some(datacenter), &any);
        let places = replicas
            .into_iter()
            .filter_map(|(node, _shard)| places.get(&node.host_id).copied());
        (token.value(), places.collect())
    });
    Ring {
        tokens: tokens.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_one_is_not_complained_about_and_a_datacenter_that_is_not_there_is_named() {
        assert_eq!(unreached_of(vec!["dc1"], "dc1"), None);
        let several = unreached_of(vec!["dc1", "dc1"], "dc1");
        assert_eq!(several, Some(Unreached::Nodes));
        let one_of_two = unreached_of(vec!["dc2", "dc1"], "dc1");
        assert_eq!(one_of_two, Some(Unreached::Nodes));
        assert_eq!(unreached_of(vec![], "dc1"), Some(Unreached::Nodes));
        let elsewhere = unreached_of(vec!["dc2", "dc1", "dc2"], "DC1").unwrap();
        assert!(elsewhere.to_string().ends_with(": dc1, dc2"), "{elsewhere}");
        assert!(unreached_of(vec!["dc1"], "DC1").is_some());
    }
}
