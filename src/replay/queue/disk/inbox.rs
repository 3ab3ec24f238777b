//! What the writer thread has been told and has not yet done.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::pair::Side;
use crate::replay::{Change, DeadLetter, Lease, Refused, Seq};

/// Bytes of records that may wait for the writer; past it new ones are refused as if it were full.
const BYTES_MAX: usize = 64 << 20;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// What is asked of the writer besides changes; done after the changes told before it.
#[derive(Debug)]
pub(super) enum Command {
    Close(Reply<()>),
    Fact {
        key: String,
        reply: Reply<Option<Vec<u8>>>,
    },
    Lease {
        side: Side,
        max: usize,
        reply: Reply<Vec<Lease>>,
    },
    Letters {
        after: i64,
        max: usize,
        reply: Reply<Vec<DeadLetter>>,
    },
    Purge {
        numbers: Vec<i64>,
        reply: Reply<u64>,
    },
    PutFact {
        key: String,
        value: Vec<u8>,
        reply: Reply<()>,
    },
    Release {
        side: Side,
        seqs: Vec<Seq>,
    },
    Requeue {
        numbers: Vec<i64>,
        reply: Reply<u64>,
    },
    Reserve {
        until: i64,
        reply: Reply<()>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    told: Mutex<Told>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    changes: Vec<Change>,
    commands: Vec<Command>,
    bytes: usize,
    asleep: bool,
    closed: bool,
}

impl Inbox {
    /// Moves the changes in and rings unless they can wait; what is left over is refused.
    pub(super) fn tell(&self, changes: &mut Vec<Change>) -> Result<(), Refused> {
        let mut told = self.told();
        if told.closed {
            return Err(Refused::Closed);
        }
        let bytes: usize = changes.iter().map(size).sum();
        if BYTES_MAX < told.bytes + bytes && bytes != 0 {
            return Err(Refused::Full);
        }
        told.bytes += bytes;
        // A landing is only worth a commit together with others, or after a while.
        let can_wait = changes
            .iter()
            .all(|change| matches!(change, Change::Landed { .. }));
        told.changes.append(changes);
        self.ring(told, !can_wait);
        Ok(())
    }

    /// Hands over a command; gives it back when the queue is closed.
    pub(super) fn ask(&self, command: Command) -> Result<(), Command> {
        let mut told = self.told();
        if told.closed {
            return Err(command);
        }
        told.closed = matches!(command, Command::Close(_));
        told.commands.push(command);
        self.ring(told, true);
        Ok(())
    }

    /// Moves all out, after waiting for something at most so long; whether something woke it.
    pub(super) fn take(
        &self,
        changes: &mut Vec<Change>,
        commands: &mut Vec<Command>,
        patience: Duration,
    ) {
        let mut told = self.told();
        if told.changes.is_empty() && told.commands.is_empty() {
            told.asleep = true;
            let waited = self
                .bell
                .wait_timeout_while(told, patience, |told| told.asleep);
            told = waited.unwrap_or_else(PoisonError::into_inner).0;
            told.asleep = false;
        }
        changes.append(&mut told.changes);
        commands.append(&mut told.commands);
        told.bytes = 0;
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, mut told: MutexGuard<'_, Told>, now: bool) {
        let wake = now && told.asleep;
        if wake {
            told.asleep = false;
        }
        drop(told);
        if wake {
            self.bell.notify_one();
        }
    }
}

fn size(change: &Change) -> usize {
    if let Change::Keep { body, .. } = change {
        body.len()
    } else {
        0
    }
}
