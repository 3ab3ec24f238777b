//! Learns a cluster's nodes, and who of them holds what, through a session of the `scylla` driver.
//!
//! Nothing waits for it: until it knows, the contact points serve, see `docs/TOPOLOGY.md`.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

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
use super::watch::{Local, local};
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
        let home = self.home(local);
        let reason = match open(&self.config, &home).await {
            Ok(session) if watch(&session, &home, &self.line, &self.to).await => {
                self.datacenter = Some(home.datacenter);
                return Round::Over;
            }
            Ok(_nobody) => "none answers under the address that it tells drivers".to_owned(),
            Err(reason) => reason,
        };
        self.warn(&home.datacenter, &reason);
        if !self.is_served().await && self.to.send_if_modified(|known| known.take().is_some()) {
            tracing::warn!(%side, "the nodes that were known are gone: contact points are used again");
        }
        Round::Vain
    }

    /// What the first contact point that answers says of itself. The nodes that were told may be gone, all
    /// of them, and their successors be behind the same name.
    async fn ask(&self) -> Result<Local, Failure> {
        let line = self.line.to_contact_points();
        let mut said = Err(Failure::Refused(Refused::Down));
        for _ in self.config.contact_points.iter() {
            said = local(&line).await;
            if said.is_ok() {
                break;
            }
        }
        line.close();
        said
    }

    fn home(&self, seen: Local) -> Home {
        let ours = self.config.local_datacenter.as_ref();
        let ours = ours.or(self.datacenter.as_ref()).cloned();
        Home {
            datacenter: ours.unwrap_or(seen.datacenter),
            hashes_murmur3: seen.partitioner.ends_with(".Murmur3Partitioner"),
        }
    }

    /// Whether any of the nodes that were told answers; each gets its turn.
    async fn is_served(&self) -> bool {
        let told = self.to.borrow().clone();
        let addresses = told.iter().flat_map(|it| it.addresses());
        for _ in addresses {
            self.line.cluster().redial_now();
            if local(&self.line).await.is_ok() {
                return true;
            }
        }
        false
    }

    fn warn(&mut self, datacenter: &str, reason: &str) {
        let side = self.line.side();
        let tls = self.config.tls.as_ref();
        let is_named = tls.is_some_and(|it| it.files().verify_hostname);
        let advice = match is_named {
            true => {
                "each node's certificate must be valid for the address that it tells drivers or for a name \
                 among contact_points, or else clusters.*.tls.verify_hostname be false"
            }
            false => "each node must be reachable under the address that it tells drivers",
        };
        if let Some(suppressed) = self.warnings.admit("nodes", Instant::now().into_std()) {
            tracing::warn!(
                %side, datacenter, reason, advice, suppressed,
                "a contact point answers, but the cluster's nodes cannot be learnt: only contact points \
                 are used, one at a time, and no request goes to its row's replica"
            );
        }
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
