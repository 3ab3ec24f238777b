//! What one thread counts.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::cell::{Count, Durations};
use crate::pair::{Pair, Side};

/// What a client asked for, as a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestKind {
    /// An `IF`, a conditional batch, a read at SERIAL.
    Conditional,
    /// A counter or list write, or one whose class the schema does not tell.
    NotRepeatable,
    /// PREPARE.
    Prepare,
    /// A SELECT.
    Read,
    /// CREATE, ALTER, DROP, TRUNCATE, GRANT.
    Schema,
    /// USE, OPTIONS, STARTUP, REGISTER, AUTH_RESPONSE.
    Session,
    /// A read of another system table.
    System,
    /// `system.local` or `system.peers`, answered here.
    Topology,
    /// Text that nobody knows.
    Unknown,
    /// INSERT, UPDATE, DELETE, BATCH.
    Write,
}

impl RequestKind {
    /// All kinds, in the order of their place in the counters.
    pub(super) const ALL: [Self; 10] = [
        Self::Conditional,
        Self::NotRepeatable,
        Self::Prepare,
        Self::Read,
        Self::Schema,
        Self::Session,
        Self::System,
        Self::Topology,
        Self::Unknown,
        Self::Write,
    ];

    /// The fixed metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Conditional => "conditional",
            Self::NotRepeatable => "not_repeatable",
            Self::Prepare => "prepare",
            Self::Read => "read",
            Self::Schema => "schema",
            Self::Session => "session",
            Self::System => "system",
            Self::Topology => "topology",
            Self::Unknown => "unknown",
            Self::Write => "write",
        }
    }
}

/// CQL error codes and their labels; the last row stands for all others.
pub(super) const ERRORS: [(i32, &str); 21] = [
    (0x0000, "server_error"),
    (0x000A, "protocol"),
    (0x0100, "bad_credentials"),
    (0x1000, "unavailable"),
    (0x1001, "overloaded"),
    (0x1002, "is_bootstrapping"),
    (0x1003, "truncate"),
    (0x1100, "write_timeout"),
    (0x1200, "read_timeout"),
    (0x1300, "read_failure"),
    (0x1400, "function_failure"),
    (0x1500, "write_failure"),
    (0x1600, "cdc_write_failure"),
    (0x1700, "cas_write_unknown"),
    (0x2000, "syntax"),
    (0x2100, "unauthorized"),
    (0x2200, "invalid"),
    (0x2300, "config"),
    (0x2400, "already_exists"),
    (0x2500, "unprepared"),
    (-1, "other"),
];

/// Everything that is counted, as one thread's share of it.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: neighbours on the heap belong to other threads
pub(super) struct Cells {
    pub(super) sides: Pair<SideCells>,
    pub(super) requests: [Count; RequestKind::ALL.len()],
    pub(super) errors: [Count; ERRORS.len()],
    pub(super) connections: Count,
    pub(super) conditionals: Count,
    pub(super) per_server_values: Count,
    pub(super) unknown_statements: Count,
    pub(super) acks_unqueued: Count,
    pub(super) clock_unreserved: Count,
    pub(super) journal_writes: Count,
}

/// What is counted for each cluster.
#[derive(Debug, Default)]
pub(super) struct SideCells {
    pub(super) reads: Durations,
    pub(super) read_errors: Count,
    pub(super) writes: Durations,
    pub(super) write_errors: Count,
    pub(super) failovers: Count,
    pub(super) trips: Count,
    pub(super) copies_kept: Count,
    pub(super) copies_refused: Count,
    pub(super) replays: Durations,
    pub(super) replay_errors: Count,
    pub(super) stale_avoided: Count,
    pub(super) reads_behind: Count,
    pub(super) divergences: Count,
    pub(super) unprepared: Count,
    pub(super) orphaned_answers: Count,
    pub(super) logins_refused: Count,
    pub(super) connections: Count,
}

/// One thread's counters. It can be moved to its thread but not shared, so there is one writer:
/// clone it by `Rc`. Each method is a few plain loads and stores.
#[derive(Debug)]
pub struct WorkerMetrics {
    cells: Arc<Cells>,
    one_thread: PhantomData<Cell<()>>,
}

impl WorkerMetrics {
    pub(super) const fn new(cells: Arc<Cells>) -> Self {
        Self {
            cells,
            one_thread: PhantomData,
        }
    }

    /// A cluster answered a read, or failed to (`ok` false: it was sick, or did not answer).
    pub fn read_done(&self, side: Side, elapsed: Duration, ok: bool) {
        let cells = &self.cells.sides[side];
        cells.reads.add(elapsed);
        if !ok {
            cells.read_errors.add(1);
        }
    }

    /// A cluster answered a write, or failed to; timed at this cluster's own end.
    pub fn write_done(&self, side: Side, elapsed: Duration, ok: bool) {
        let cells = &self.cells.sides[side];
        cells.writes.add(elapsed);
        if !ok {
            cells.write_errors.add(1);
        }
    }

    /// A read moved to the other cluster because this one failed.
    pub fn failed_over(&self, from: Side) {
        self.cells.sides[from].failovers.add(1);
    }

    /// A read was kept away from this cluster because it is behind.
    pub fn stale_avoided(&self, side: Side) {
        self.cells.sides[side].stale_avoided.add(1);
    }

    /// A read was sent to this cluster although it is behind: no fresh one was healthy.
    pub fn read_behind(&self, side: Side) {
        self.cells.sides[side].reads_behind.add(1);
    }

    /// This cluster refused for good a live write that the other one accepted.
    pub fn diverged(&self, side: Side) {
        self.cells.sides[side].divergences.add(1);
    }

    /// A record of a write that this cluster owes was handed to the queue.
    pub fn copy_kept(&self, side: Side) {
        self.cells.sides[side].copies_kept.add(1);
    }

    /// The queue did not take a record that this cluster owes.
    pub fn copy_refused(&self, side: Side) {
        self.cells.sides[side].copies_refused.add(1);
    }

    /// A record was made durable before its write was sent.
    pub fn journalled(&self) {
        self.cells.journal_writes.add(1);
    }

    /// A client got its answer although the record was not durable (`ack_anyway`).
    pub fn acked_unqueued(&self) {
        self.cells.acks_unqueued.add(1);
    }

    /// A timestamp was given out above the ceiling that is reserved on disk.
    pub fn clock_unreserved(&self) {
        self.cells.clock_unreserved.add(1);
    }

    /// A client asked for something.
    pub fn client_request(&self, kind: RequestKind) {
        self.cells.requests[kind as usize].add(1);
    }

    /// A client was answered with this CQL error code.
    pub fn client_error(&self, code: i32) {
        let known = ERRORS.iter().position(|(row, _)| *row == code);
        self.cells.errors[known.unwrap_or(ERRORS.len() - 1)].add(1);
    }

    /// A client connected.
    pub fn client_connected(&self) {
        self.cells.connections.add(1);
    }

    /// A client went away.
    pub fn client_gone(&self) {
        self.cells.connections.sub(1);
    }

    /// A conditional statement went to one cluster only.
    pub fn conditional_not_copied(&self) {
        self.cells.conditionals.add(1);
    }

    /// A write with `now()` or its kin went out as it is: each server makes its own value.
    pub fn per_server_value(&self) {
        self.cells.per_server_values.add(1);
    }

    /// A statement was of no known class.
    pub fn unknown_statement(&self) {
        self.cells.unknown_statements.add(1);
    }

    /// A node had forgotten a prepared statement.
    pub fn unprepared(&self, side: Side) {
        self.cells.sides[side].unprepared.add(1);
    }

    /// A node answered a request whose caller had left.
    pub fn answer_orphaned(&self, side: Side) {
        self.cells.sides[side].orphaned_answers.add(1);
    }

    /// This cluster did not let a client's role in.
    pub fn login_refused(&self, side: Side) {
        self.cells.sides[side].logins_refused.add(1);
    }

    /// A connection to a node is ready for requests.
    pub fn backend_connected(&self, side: Side) {
        self.cells.sides[side].connections.add(1);
    }

    /// A connection to a node that was ready is gone.
    pub fn backend_gone(&self, side: Side) {
        self.cells.sides[side].connections.sub(1);
    }

    /// A record was applied by the replay worker.
    pub fn replay_applied(&self, side: Side, elapsed: Duration) {
        self.cells.sides[side].replays.add(elapsed);
    }

    /// The replay worker tried a record in vain.
    pub fn replay_failed(&self, side: Side) {
        self.cells.sides[side].replay_errors.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_counted_in_its_own_place() {
        for (place, kind) in RequestKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.label());
        }
    }
}
