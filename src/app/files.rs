//! The limit of open files: raised as far as it goes, and clients held below it.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but clients and workers: the queue, the admin address, the control
/// connections, the log.
const RESERVED: usize = 192;
/// Descriptors for the nodes' connections of one worker: a plain one and keyspaces, for each cluster.
const RESERVED_PER_WORKER: usize = 24;

/// How many clients there may be, at most `wanted`: a client must never take the descriptor that a
/// node's connection or the operator needs.
pub(super) fn clients_max(wanted: NonZeroUsize, workers: NonZeroUsize) -> NonZeroUsize {
    let Some(limit) = raised() else {
        return wanted;
    };
    let allowed = allowed(limit, workers.get());
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

fn allowed(limit: usize, workers: usize) -> NonZeroUsize {
    let reserved = RESERVED.saturating_add(workers.saturating_mul(RESERVED_PER_WORKER));
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
        assert_eq!(allowed(20_000, 2).get(), 20_000 - 192 - 48);
        assert_eq!(allowed(1_024, 2).get(), 1_024 - 240);
        assert_eq!(allowed(256, 2).get(), 128);
        assert_eq!(allowed(0, 2).get(), 1);
    }
}
