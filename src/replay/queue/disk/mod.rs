//! The queue on disk, the default: one SQLite file that one thread writes with group commits.
//!
//! ```text
//! submit --> inbox --> writer: ledger + transaction + fsync --> receipts, board
//! ```
//! `file` claims the file, `inbox` is what was told, `writer` commits it, `mend` recovers from
//! failures, `reserve` is the room kept for that, `answer` answers questions, `store` is the SQL.

mod answer;
mod file;
mod inbox;
mod mend;
mod reserve;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::pair::Side;
use crate::replay::{Answer, Change, DeadLetter, Depth, Lease, Queue, Refused, Seq};

use super::Clock;
use super::board::{Board, Outbox};
use inbox::{Command, Inbox, Reply};
use writer::{Place, Writer};

use reserve::Reserve;

pub use file::OpenError;

/// What a disk queue is told at start.
#[derive(Clone, Debug)]
pub struct Options {
    path: PathBuf,
    bytes_max: u64,
    pages_max: Option<u32>,
    clock: Clock,
}

impl Options {
    /// A queue in this file, refusing new records at this size.
    #[must_use]
    pub fn new(path: PathBuf, bytes_max: u64, clock: Clock) -> Self {
        Self {
            path,
            bytes_max,
            pages_max: None,
            clock,
        }
    }

    /// Fails as on a full disk once the file has so many pages of 8 KiB. For tests.
    #[must_use]
    pub fn pages_max(self, pages_max: u32) -> Self {
        Self {
            pages_max: Some(pages_max),
            ..self
        }
    }
}

/// See the module. Dropping it writes what was told and waits for that; [`Queue::close`] also says
/// whether it went well.
#[derive(Debug)]
pub struct Disk {
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    next: AtomicI64,
    ceiling: Arc<AtomicI64>,
    writer: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens or makes the queue, locks it for this process and reads who owes what.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the path, the file or its content.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let Options {
            path,
            bytes_max,
            pages_max,
            clock,
        } = options;
        let lock = file::claim(&path)?;
        let fault = |fault: Result<i64, rusqlite::Error>| match fault {
            Ok(found) => OpenError::Version {
                path: path.clone(),
                found,
            },
            Err(source) => OpenError::Store {
                path: path.clone(),
                source,
            },
        };
        let (inbox, board) = (Arc::<Inbox>::default(), Board::new());
        let place = Place {
            path: path.clone(),
            pages_max,
            bytes_max,
            clock,
            lock,
            reserve: Reserve::of(&path),
        };
        let mut writer = Writer::new(place, Arc::clone(&inbox), Arc::clone(&board));
        let mark = writer.start().map_err(fault)?;
        let thread = thread::Builder::new().name("replay-queue".into());
        let writer = thread
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        let ceiling = Arc::new(AtomicI64::new(mark.clock));
        let next = AtomicI64::new(mark.high + 1);
        Ok(Self {
            inbox,
            board,
            next,
            ceiling,
            writer: Some(writer),
        })
    }

    /// The highest ceiling of the clock that was ever reserved; 0 in a new file (S25).
    #[must_use]
    pub fn clock_ceiling(&self) -> i64 {
        self.ceiling.load(Ordering::Acquire)
    }

    /// Reserves the clock up to here: durable once answered. A lower one changes nothing.
    pub fn reserve_clock(&self, until: i64) -> Answer<()> {
        let reserved = self.ask(|reply| Command::Reserve { until, reply });
        let ceiling = Arc::clone(&self.ceiling);
        Box::pin(async move {
            reserved.await?;
            ceiling.fetch_max(until, Ordering::AcqRel);
            Ok(())
        })
    }

    /// A small fact stored beside the records, for example what a drain must survive.
    pub fn fact(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        self.ask(|reply| Command::Fact {
            key: key.to_owned(),
            reply,
        })
    }

    /// Stores a small fact; durable once answered.
    pub fn put_fact(&self, key: &str, value: &[u8]) -> Answer<()> {
        let (key, value) = (key.to_owned(), value.to_vec());
        self.ask(|reply| Command::PutFact { key, value, reply })
    }

    fn ask<T: Send + 'static>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        // A refused command drops its reply: the answer below is then `Closed`.
        drop(self.inbox.ask(command(reply)));
        Box::pin(async move { answer.await.unwrap_or(Err(Refused::Closed)) })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.close());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the replay queue's thread panicked");
        }
    }
}

impl Queue for Disk {
    fn next_seq(&self) -> Seq {
        Seq(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn submit(&self, changes: &mut Vec<Change>) {
        if let Err(refused) = self.inbox.tell(changes) {
            let mut outbox = Outbox::default();
            for change in changes.drain(..) {
                outbox.put(change.receipt(), Err(refused.clone()));
            }
            outbox.deliver();
        }
    }

    fn accepts(&self) -> bool {
        self.board.accepts()
    }

    fn is_behind(&self, side: Side) -> bool {
        self.board.is_behind(side)
    }

    fn lease(&self, side: Side, max: usize) -> Answer<Vec<Lease>> {
        self.ask(|reply| Command::Lease { side, max, reply })
    }

    fn release(&self, side: Side, seqs: Vec<Seq>) {
        drop(self.inbox.ask(Command::Release { side, seqs }));
    }

    fn wait(&self, side: Side) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Arc::clone(&self.board).wait(side))
    }

    fn depth(&self) -> Depth {
        self.board.depth()
    }

    fn dead_letters(&self, after: i64, max: usize) -> Answer<Vec<DeadLetter>> {
        self.ask(|reply| Command::Letters { after, max, reply })
    }

    fn requeue(&self, numbers: Vec<i64>) -> Answer<u64> {
        self.ask(|reply| Command::Requeue { numbers, reply })
    }

    fn purge(&self, numbers: Vec<i64>) -> Answer<u64> {
        self.ask(|reply| Command::Purge { numbers, reply })
    }

    fn close(&self) -> Answer<()> {
        self.ask(Command::Close)
    }
}
