//! Every key of the file, and whether it is built.

/// Whether a key does something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// It does.
    Built,
    /// Designed but not built: a fault, because ignoring it would break a promise.
    Later,
}

use State::{Built, Later};

/// Every key, dotted, in the order of `config/helix-proxy.yaml`; `clusters.*` is both clusters.
pub(super) const KEYS: &[(&str, State)] = &[
    ("listen", Built),
    ("admin.listen", Built),
    ("admin.token_env", Later),
    ("admin.token_file", Later),
    ("workers", Built),
    ("instance", Built),
    ("protocol_max", Built),
    ("clusters.*.name", Built),
    ("clusters.*.contact_points", Built),
    ("clusters.*.local_datacenter", Built),
    ("clusters.*.connect_timeout", Built),
    ("clusters.*.heartbeat", Built),
    ("clusters.*.compression", Built),
    ("clusters.*.state", Built),
    ("clusters.*.max_connections_per_host", Built),
    ("clusters.*.consistency", Later),
    ("clusters.*.auth.username", Built),
    ("clusters.*.auth.password_env", Built),
    ("clusters.*.auth.password_file", Built),
    ("clusters.*.tls.ca", Built),
    ("clusters.*.tls.cert", Built),
    ("clusters.*.tls.key", Built),
    ("clusters.*.tls.verify_hostname", Built),
    ("writes.strategy", Built),
    ("writes.order", Built),
    ("writes.ack", Built),
    ("writes.journal", Built),
    ("writes.timeout", Built),
    ("writes.on_queue_failure", Built),
    ("writes.adaptive", Later),
    ("reads.strategy", Built),
    ("reads.preferred", Built),
    ("reads.cooldown", Built),
    ("reads.timeout", Built),
    ("reads.failover_after", Built),
    ("reads.prefer_fresh", Built),
    ("reads.hedged", Later),
    ("reads.shadow", Later),
    ("failover.policy", Built),
    ("failover.threshold", Built),
    ("failover.reset_after", Built),
    ("conditional.cluster", Built),
    ("conditional.copy", Built),
    ("replay.queue", Built),
    ("replay.path", Built),
    ("replay.max_bytes", Built),
    ("replay.capacity", Built),
    ("replay.worker", Built),
    ("replay.batch", Built),
    ("replay.concurrency", Built),
    ("replay.rate", Built),
    ("replay.timeout", Built),
    ("replay.retry_min", Built),
    ("replay.retry_max", Built),
    ("replay.attempts_max", Built),
    ("replay.divergence_grace", Built),
    ("replay.jetstream", Later),
    ("limits.frame", Built),
    ("limits.clients", Built),
    ("limits.in_flight", Built),
    ("limits.schema_timeout", Built),
    ("advertise.datacenter", Built),
    ("advertise.rack", Built),
    ("advertise.cluster_name", Built),
    ("advertise.host_id", Built),
    ("advertise.peers", Later),
    ("log.format", Built),
    ("log.level", Built),
    ("datacenters", Later),
    ("tables", Built),
    ("auth.mode", Built),
    ("auth.users", Built),
    ("tls.cert", Built),
    ("tls.key", Built),
    ("tls.client_ca", Built),
];

/// What a dotted key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    /// A value.
    Key(State),
    /// A mapping of further keys.
    Section,
}

/// What this dotted key is, if it is one.
pub(super) fn known(path: &str) -> Option<Known> {
    let path = general(path);
    if let Some((_, state)) = KEYS.iter().find(|(key, _)| *key == path) {
        return Some(Known::Key(*state));
    }
    let below = |key: &str| {
        key.strip_prefix(&path)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    KEYS.iter()
        .any(|(key, _)| below(key))
        .then_some(Known::Section)
}

/// The words that may stand in this section; the root is the empty path.
pub(super) fn words(section: &str) -> Vec<&'static str> {
    if section == "clusters" {
        return vec!["a", "b"];
    }
    let prefix = if section.is_empty() {
        String::new()
    } else {
        format!("{}.", general(section))
    };
    let mut words: Vec<_> = KEYS
        .iter()
        .filter_map(|(key, _)| key.strip_prefix(&prefix))
        .filter_map(|rest| rest.split('.').next())
        .collect();
    words.dedup();
    words
}

/// `clusters.a.name` and `clusters.b.name` are both `clusters.*.name`.
fn general(path: &str) -> String {
    let mut words: Vec<_> = path.split('.').collect();
    if let ["clusters", side @ ("a" | "b"), ..] = words.as_mut_slice() {
        *side = "*";
    }
    words.join(".")
}
