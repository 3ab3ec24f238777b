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

use super::Config;
use super::call::Line;
use super::topology::{Ring, Topology};
use super::watch::{Local, local};

/// The first pause before another session is tried, doubling up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often the session is asked whether anything changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the session reads everything anew, whatever events it got.
const READ_EVERY: Duration = Duration::from_secs(60);
/// A session without any connection for so long is replaced: names and certificates may be others.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Tells of the cluster's nodes, for ever; the line is for the question which datacenter is ours.
pub async fn follow(config: Arc<Config>, line: Line, to: watch::Sender<Option<Arc<Topology>>>) {
    let (mut pause, mut warned) = (RETRY_MIN, false);
    loop {
        match open(&config, &line).await {
            Ok((session, home)) => {
                pause = RETRY_MIN;
                let datacenter = &home.datacenter;
                let reached = watch(&session, &home, &line, &to).await;
                if !reached && !std::mem::replace(&mut warned, true) {
                    tracing::warn!(
                        side = %line.side(),
                        datacenter,
                        "no node of this datacenter can be reached under the address that it tells \
                         drivers; only contact points are used"
                    );
                }
            }
            Err(reason) => tracing::debug!(side = %line.side(), reason, "nodes are not known"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Which nodes are used, and how their tokens are made.
struct Home {
    datacenter: String,
    hashes_murmur3: bool,
}

/// A session that uses one datacenter, and which one that is.
async fn open(config: &Config, line: &Line) -> Result<(Session, Home), String> {
    let Local {
        datacenter,
        partitioner,
        ..
    } = local(line).await.map_err(|failure| failure.to_string())?;
    let datacenter = config.local_datacenter.clone().unwrap_or(datacenter);
    let mut builder = SessionBuilder::new()
        .known_nodes(config.contact_points.iter().map(ToString::to_string))
        .connection_timeout(config.connect_timeout)
        .pool_size(PoolSize::PerHost(NonZeroUsize::MIN))
        .disallow_shard_aware_port(true)
        .host_filter(Arc::new(DcHostFilter::new(datacenter.clone())))
        .fetch_schema_metadata(false)
        .fetch_full_schema_metadata(false)
        .cluster_metadata_refresh_interval(READ_EVERY);
    if let Some(account) = &config.account {
        builder = builder.user(&account.username, &account.password);
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(tls.config()));
    }
    let session = builder.build().await;
    let session = session.map_err(|error| error.to_string())?;
    let home = Home {
        datacenter,
        hashes_murmur3: partitioner.ends_with(".Murmur3Partitioner"),
    };
    Ok((session, home))
}

/// Returns when the session has lost the cluster for good; whether it ever reached a node.
async fn watch(
    session: &Session,
    home: &Home,
    line: &Line,
    to: &watch::Sender<Option<Arc<Topology>>>,
) -> bool {
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
fn tell(
    state: &ClusterState,
    nodes: &[&Arc<Node>],
    home: &Home,
    line: &Line,
    to: &watch::Sender<Option<Arc<Topology>>>,
) {
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
