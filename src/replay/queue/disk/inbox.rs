//! What the writer thread has been told and has not yet done.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::pair::Side;
use crate::replay::{Change, DeadLetter, Lease, Refused, Seq};

/// Bytes of records that may wait for the writer; past it new ones are refused as if it were full.
/// One alone may be longer.
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
    /// Moves the changes in and rings unless they can wait; what is left over is refused. Only a new
    /// record can lack room: what is said about those that exist is small, and nobody says it twice.
    pub(super) fn tell(&self, changes: &mut Vec<Change>) -> Result<(), Refused> {
        let mut told = self.told();
        if told.closed {
            return Err(Refused::Closed);
        }
        // A landing is only worth a commit together with others, or after a while.
        let can_wait = changes
            .iter()
            .all(|change| matches!(change, Change::Landed { .. }));
        told.admit(changes);
        self.ring(told, !can_wait);
        if changes.is_empty() {
            Ok(())
        } else {
            Err(Refused::Full)
        }
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

impl Told {
    fn admit(&mut self, changes: &mut Vec<Change>) {
        let bytes = &mut self.bytes;
        let admitted = changes.extract_if(.., |change| {
            let size = size(change);
            let fits = size == 0 || *bytes == 0 || *bytes + size <= BYTES_MAX;
            *bytes += if fits { size } else { 0 };
            fits
        });
        self.changes.extend(admitted);
    }
}

fn size(change: &Change) -> usize {
    if let Change::Keep { body, .. } = change {
        body.len()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::pair::Sides;

    use super::*;

    fn keep(seq: i64, size: usize) -> Change {
        Change::Keep {
            seq: Seq(seq),
            owes: Sides::only(Side::B),
            live: Sides::BOTH,
            sent: Sides::NONE,
            body: vec![0; size],
            receipt: None,
        }
    }

    fn of_record_1() -> Vec<Change> {
        let (seq, receipt) = (Seq(1), None);
        vec![
            Change::Landed { seq, side: Side::A },
            Change::Missed {
                seq,
                side: Side::B,
                sent: false,
                receipt,
            },
            Change::Applied { seq, side: Side::B },
            Change::Void { seq },
        ]
    }

    #[test]
    fn a_full_inbox_refuses_new_records_and_hears_everything_about_the_others() {
        let inbox = Inbox::default();
        inbox.tell(&mut vec![keep(1, BYTES_MAX + 1)]).unwrap();

        let mut changes = of_record_1();
        changes.insert(1, keep(2, 1));
        assert_eq!(inbox.tell(&mut changes), Err(Refused::Full));
        assert!(matches!(&changes[..], [Change::Keep { seq: Seq(2), .. }]));

        let mut taken = Vec::new();
        inbox.take(&mut taken, &mut Vec::new(), Duration::ZERO);
        assert_eq!(taken.len(), 1 + of_record_1().len());
        assert_eq!(inbox.tell(&mut changes), Ok(()), "there is room again");
    }

    #[test]
    fn a_closed_inbox_hears_nothing() {
        let inbox = Inbox::default();
        assert!(inbox.ask(Command::Close(oneshot::channel().0)).is_ok());

        let mut changes = of_record_1();
        assert_eq!(inbox.tell(&mut changes), Err(Refused::Closed));
        assert_eq!(changes.len(), of_record_1().len());
    }
}
