//! The questions that the writer answers between commits.

use std::ops::RangeInclusive;
use std::time::Instant;

use bytes::Bytes;
use rusqlite::Result;

use crate::pair::Side;
use crate::replay::queue::ledger::State;
use crate::replay::queue::seqs::runs;
use crate::replay::{Lease, Refused, Seq};

use super::inbox::{Command, Reply};
use super::store::Store;
use super::writer::Writer;

/// Bytes handed out with one lease; what is beyond stays for the next.
const LEASE_BYTES_MAX: usize = 4 << 20;

impl Writer {
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
        self.letters_at = None;
        self.mend();
        self.write(&mut Vec::new());
        let sealed = self.seal();
        let mut closed = sealed.map_err(|error| Refused::Store(error.to_string()));
        if closed.is_ok() && !self.held.is_empty() {
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
}

/// Whoever asked may have stopped waiting; then nobody needs the answer.
fn answer<T>(reply: Reply<T>, answer: std::result::Result<T, Refused>) {
    drop(reply.send(answer));
}
