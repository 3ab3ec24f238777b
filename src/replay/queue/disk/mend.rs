//! What the writer does when the file fails, and the questions it answers between commits.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Error, ErrorCode, Result};

use crate::pair::Side;
use crate::replay::queue::ledger::State;
use crate::replay::queue::seqs::runs;
use crate::replay::{Change, Lease, Refused, Seq};

use super::inbox::{Command, Reply};
use super::store::{Mark, PAGES_MAX, Store};
use super::writer::{Trouble, Writer};

/// The first and the longest wait between attempts to write again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Bytes that must fit before records are accepted again.
const PROBE_BYTES: i64 = 64 << 10;

/// Bytes handed out with one lease; what is beyond stays for the next.
const LEASE_BYTES_MAX: usize = 4 << 20;

impl Writer {
    /// Reads the file. An earlier process may have left it on a full disk, and its reserve with it.
    pub(super) fn start(&mut self) -> std::result::Result<Mark, std::result::Result<i64, Error>> {
        let mark = match self.read() {
            Err(Err(_full)) => {
                self.place.reserve.free();
                self.read()
            }
            read => read,
        }?;
        if let Err(error) = self.take_reserve() {
            self.fail_open(&error);
        }
        Ok(mark)
    }

    /// Without a reserve the file must not grow, since what the log holds could not be moved into it; records
    /// still take the place of those that left.
    fn take_reserve(&mut self) -> Result<()> {
        let taken = self.place.reserve.take();
        if let (Err(error), None) = (&taken, self.look_again) {
            tracing::warn!(path = %self.place.path.display(), %error, "no room for the replay queue's reserve: its file does not grow until there is");
        }
        self.look_again = taken.is_err().then(|| Instant::now() + RETRY.1);
        let Some(store) = &self.store else {
            return Ok(());
        };
        match taken {
            Ok(()) => store.bound(self.place.pages_max.unwrap_or(PAGES_MAX)),
            Err(_short) => store.bound(1),
        }
    }

    /// A queue that found no room for its reserve looks again now and then.
    fn look_for_room(&mut self) {
        if self.look_again.is_some_and(|at| at <= Instant::now())
            && let Err(error) = self.take_reserve()
        {
            self.fail(&error, Vec::new());
        }
    }

    fn read(&mut self) -> std::result::Result<Mark, std::result::Result<i64, Error>> {
        let store = Store::open(&self.place.path, self.place.pages_max)?;
        self.recover(store).map_err(Err)
    }

    /// A transaction failed and was taken back. The connection is not trusted any more, nor is a
    /// file whose sync failed: it is opened anew, later.
    pub(super) fn fail(&mut self, error: &Error, changes: Vec<Change>) {
        let why = error.to_string();
        tracing::error!(path = %self.place.path.display(), error = %why, "the replay queue cannot store records");
        let new = changes
            .iter()
            .filter(|change| matches!(change, Change::Keep { .. }));
        let refused: Vec<_> = new.map(Change::seq).collect();
        self.hold(changes, &Refused::Store(why.clone()));
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            why: String::new(),
            pause: RETRY.0,
            until: Instant::now(),
            refused: Vec::new(),
        });
        trouble.why = why;
        trouble.refused.extend(refused);
        trouble.until = Instant::now() + trouble.pause;
        trouble.pause = RETRY.1.min(trouble.pause * 2);
        self.store = None;
        self.board.set_accepts(false);
    }

    /// Tries to write again when it is time.
    pub(super) fn mend(&mut self) {
        let Some(trouble) = &self.trouble else {
            return self.look_for_room();
        };
        if Instant::now() < trouble.until {
            return;
        }
        match self.reopen() {
            Ok(()) => {
                tracing::info!(path = %self.place.path.display(), "the replay queue stores records again");
                self.trouble = None;
                self.show();
            }
            Err(error) => {
                self.place.reserve.free();
                self.fail_open(&error);
            }
        }
    }

    /// A full disk still lets records leave, and that may make room.
    fn fail_open(&mut self, error: &Error) {
        let store = self.store.take().filter(|_| is_full(error));
        self.fail(error, Vec::new());
        self.store = store;
    }

    fn reopen(&mut self) -> Result<()> {
        if self.store.is_none() {
            let opened = Store::open(&self.place.path, self.place.pages_max);
            let store = opened.map_err(|fault| fault.err().unwrap_or(Error::InvalidQuery))?;
            store.settle()?;
            self.store = Some(store);
        }
        let refused = self
            .trouble
            .as_mut()
            .map(|trouble| std::mem::take(&mut trouble.refused));
        let refused = refused.unwrap_or_default();
        let doomed = self.transaction(|_, store, page| {
            page.sweep = true;
            refused
                .iter()
                .try_for_each(|seq| store.delete(&(seq.0..=seq.0)))
        });
        if let (Err(_), Some(trouble)) = (&doomed, &mut self.trouble) {
            trouble.refused.extend(refused);
        }
        doomed?;
        self.take_reserve()?;
        let Some(store) = &self.store else {
            return Ok(());
        };
        store.probe(PROBE_BYTES).inspect_err(|_| store.roll_back())
    }

    /// Answers one question.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Close(reply) => answer(reply, Err(Refused::Closed)),
            Command::Fact { key, reply } => {
                let fact = self.ask(|store| store.fact(&key));
                answer(reply, fact);
            }
            Command::Lease { side, max, reply } => self.lease(side, max, reply),
            Command::Letters { after, max, reply } => {
                let letters = self.ask(|store| store.letters(after, max));
                answer(reply, letters);
            }
            Command::Purge { numbers, reply } => {
                let purged = self.purge(&numbers);
                self.answer_write(reply, purged);
            }
            Command::PutFact { key, value, reply } => {
                let put = self.transaction(|_, store, _| store.set_fact(&key, &value));
                self.answer_write(reply, put);
            }
            Command::Release { side, seqs } => {
                seqs.into_iter()
                    .for_each(|seq| self.ledger.release(side, seq));
                self.board.show_ready(side, self.ledger.is_ready(side));
            }
            Command::Requeue { numbers, reply } => {
                let requeued = self.requeue(&numbers);
                self.answer_write(reply, requeued);
            }
            Command::Reserve { until, reply } => {
                let reserved = self.reserve(until);
                self.answer_write(reply, reserved);
            }
        }
    }

    /// Writes what is held, empties the log, and lets go of the file.
    pub(super) fn close(mut self, reply: Reply<()>) {
        if let Some(trouble) = &mut self.trouble {
            trouble.until = Instant::now();
        }
        self.mend();
        self.write(&mut Vec::new());
        let sealed = self.seal();
        let mut closed = sealed.map_err(|error| Refused::Store(error.to_string()));
        if closed.is_ok() && self.is_holding() {
            closed = Err(Refused::Store("some changes are not stored".into()));
        }
        self.board.set_accepts(false);
        drop(self);
        answer(reply, closed);
    }

    fn lease(&mut self, side: Side, max: usize, reply: Reply<Vec<Lease>>) {
        let mut seqs = Vec::new();
        self.ledger.lease(side, max, &mut seqs);
        let leases = self.bodies(side, &seqs);
        let taken = leases.as_ref().map_or(0, Vec::len);
        // Those past the byte limit, or all after an error, are there for the next.
        seqs.iter()
            .skip(taken)
            .for_each(|&seq| self.ledger.release(side, seq));
        let leased = leases
            .iter()
            .flatten()
            .map(|lease| lease.seq)
            .collect::<Vec<_>>();
        if reply.send(leases).is_err() {
            leased
                .into_iter()
                .for_each(|seq| self.ledger.release(side, seq));
        }
        self.board.show_ready(side, self.ledger.is_ready(side));
    }

    fn bodies(&self, side: Side, seqs: &[Seq]) -> std::result::Result<Vec<Lease>, Refused> {
        let mut neighbours: Vec<RangeInclusive<i64>> = Vec::new();
        runs(seqs, &mut neighbours);
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(seqs.len()));
        self.ask(|store| {
            neighbours.iter().try_for_each(|run| {
                store.bodies(run, |seq, body| {
                    let fits = ends.is_empty() || bytes.len() + body.len() <= LEASE_BYTES_MAX;
                    if fits {
                        bytes.extend_from_slice(body);
                        ends.push((seq, bytes.len()));
                    }
                    fits
                })
            })
        })?;
        let (bytes, mut start) = (Bytes::from(bytes), 0);
        let lease = |(seq, end)| {
            let state: State = self.ledger.state(seq);
            let (sent, again) = (state.sent.contains(side), state.again.contains(side));
            let body = bytes.slice(std::mem::replace(&mut start, end)..end);
            Lease {
                seq,
                side,
                sent,
                again,
                body,
            }
        };
        Ok(ends.into_iter().map(lease).collect())
    }

    fn ask<T>(&self, ask: impl FnOnce(&Store) -> Result<T>) -> std::result::Result<T, Refused> {
        let store = self.store.as_ref().ok_or_else(|| self.refusal())?;
        ask(store).map_err(|error| Refused::Store(error.to_string()))
    }

    fn answer_write<T>(&mut self, reply: Reply<T>, written: Result<T>) {
        let written = written.map_err(|error| {
            if self.store.is_some() {
                self.fail(&error, Vec::new());
            }
            self.refusal()
        });
        answer(reply, written);
    }

    fn refusal(&self) -> Refused {
        Refused::Store(
            self.trouble
                .as_ref()
                .map_or_else(String::new, |trouble| trouble.why.clone()),
        )
    }
}

/// Whoever asked may have stopped waiting; then nobody needs the answer.
fn answer<T>(reply: Reply<T>, answer: std::result::Result<T, Refused>) {
    drop(reply.send(answer));
}

fn is_full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
