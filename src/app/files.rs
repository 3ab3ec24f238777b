//! The limit of open files: raised as far as it goes, and clients held below it.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cluster;

/// Descriptors for everything but clients and workers: the queue, the admin address, the control
/// connections, the log.
const RESERVED: usize = 192;
/// Nodes of a cluster that descriptors are kept back for, whether or not they are there: how many it has
/// is known only later. Clusters of more want a higher limit.
const NODES: usize = 6;

/// Roles of clients that descriptors are kept back for on each worker, where clients act as their own. More of
/// them want a higher limit.
const ROLES: usize = 4;

/// How many clients there may be, at most `wanted`: a client must never take the descriptor that a
/// node's connection or the operator needs.
pub(super) fn clients_max<'a>(
    wanted: NonZeroUsize,
    workers: NonZeroUsize,
    (clusters, passthrough): (impl Iterator<Item = &'a cluster::Config>, bool),
) -> NonZeroUsize {
    let Some(limit) = raised() else {
        return wanted;
    };
    let roles = if passthrough { ROLES } else { 1 };
    let to_nodes: usize = clusters.map(|it| to_nodes(it, workers.get())).sum();
    let to_nodes = to_nodes.saturating_mul(roles);
    let allowed = allowed(limit, to_nodes);
    if wanted <= allowed {
        return wanted;
    }
    tracing::warn!(
        open_files = limit,
        configured = wanted,
        allowed,
        "the limit of open files allows fewer clients than configured; raise it (ulimit -n)"
    );
    allowed
}

/// Descriptors for the connections of all workers to the nodes of a cluster, in the one protocol version
/// that clients commonly use.
fn to_nodes(cluster: &cluster::Config, workers: usize) -> usize {
    let nodes = cluster.contact_points.as_slice().len().max(NODES);
    workers * nodes * cluster.connections_max()
}

fn allowed(limit: usize, to_nodes: usize) -> NonZeroUsize {
    let reserved = RESERVED.saturating_add(to_nodes);
    // With a limit that small half of it goes to clients, whatever else there is to open.
    let clients = limit.saturating_sub(reserved).max(limit / 2);
    NonZeroUsize::new(clients).unwrap_or(NonZeroUsize::MIN)
}

/// Raises the soft limit to the hard one; the limit then in force, `None` where there is none.
fn raised() -> Option<usize> {
    let limits = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    let in_force = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limits.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limits.current
        }
    };
    usize::try_from(in_force?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_room_for_nodes_and_operators() {
        assert_eq!(allowed(20_000, 408).get(), 20_000 - 192 - 408);
        assert_eq!(allowed(4_096, 408).get(), 4_096 - 600);
        assert_eq!(allowed(1_024, 408).get(), 512);
        assert_eq!(allowed(0, 408).get(), 1);
        assert_eq!(allowed(1_024, usize::MAX).get(), 512);
    }

    #[test]
    fn each_node_has_room_for_the_connections_that_are_kept_to_it() {
        let cluster = |points: u16, seats_max| {
            let point = |port| cluster::ContactPoint {
                host: "a".to_owned(),
                port,
            };
            let points = cluster::ContactPoints::new(point(0), (1..points).map(point));
            let name = cluster::Name::new("A").unwrap();
            cluster::Config {
                seats_max,
                ..cluster::Config::new(name, points)
            }
        };
        // The first one, 8 to shards, 8 for keyspaces.
        assert_eq!(to_nodes(&cluster(1, 8), 2), 2 * 6 * 17);
        assert_eq!(to_nodes(&cluster(9, 8), 2), 2 * 9 * 17);
        // With so many workers there are none to shards.
        assert_eq!(to_nodes(&cluster(1, 1), 16), 16 * 6 * 9);
        assert_eq!(to_nodes(&cluster(1, 0), 17), 17 * 6 * 9);
    }
}
