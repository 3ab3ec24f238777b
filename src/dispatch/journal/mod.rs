//! Records of what a side missed: made from the client's own bytes, handed to the queue.

mod bytes;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::flow::Action;
use super::request::{Request, What};
use super::table::Key;
use super::{Client, Desk};
use crate::pair::Sides;
use crate::replay::record::{self, Draft, Priority, Reason, Repeat};
use crate::replay::{Change, Receipt};

/// Refused records kept in memory until the queue takes them again; beyond it the oldest is given
/// up, counted and logged.
const UNSAVED_MAX: usize = 10_000;

/// Bytes of a record besides the client's own, about.
const RECORD_OVERHEAD: usize = 160;
/// Marks receipts of [`Unsaved`] records; the keys of requests never have this bit.
const UNSAVED_TICKET: u64 = 1 << 63;

/// A record that the queue refused.
#[derive(Debug)]
struct Unkept {
    body: Vec<u8>,
    owes: Sides,
    sent: Sides,
}

/// Records of writes that were applied on one side while the queue refused them (S15). Each waits
/// here until the queue vouches for it.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    waiting: VecDeque<Unkept>,
    offered: HashMap<u64, Unkept>,
    next: u64,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.offered.is_empty()
    }
}

impl<C: Client> Desk<C> {
    /// Tells the queue what the machine decided about a record.
    pub(super) fn journal(&self, key: Key, request: &mut Request<C>, action: Action) {
        match action {
            Action::Keep { owes, live, sent } => self.keep(key, request, (owes, live, sent)),
            Action::KeepTrying { owes, sent } => {
                let body = self.record(request, Reason::Failed);
                self.keep_unsaved(body, owes, sent);
            }
            Action::Landed(side) => {
                if let Some(seq) = request.seq {
                    self.change(Change::Landed { seq, side });
                }
            }
            Action::Missed(side, sent) => {
                if let Some(seq) = request.seq {
                    self.metrics.copy_kept(side);
                    self.change(Change::Missed {
                        seq,
                        side,
                        sent,
                        receipt: None,
                    });
                }
            }
            Action::Void => {
                if let Some(seq) = request.seq {
                    self.change(Change::Void { seq });
                }
            }
            Action::Reply(_) | Action::Send(_) => {}
        }
    }

    fn keep(&self, key: Key, request: &mut Request<C>, (owes, live, sent): (Sides, Sides, Sides)) {
        let Some(queue) = &self.shared.queue else {
            return;
        };
        let reason = if live.is_empty() {
            Reason::Failed
        } else {
            Reason::Journal
        };
        let body = self.record(request, reason);
        let seq = queue.next_seq();
        request.seq = Some(seq);
        for side in owes.iter() {
            self.metrics.copy_kept(side);
        }
        if !live.is_empty() {
            self.metrics.journalled();
        }
        let receipt = Some(Receipt {
            to: Arc::clone(&self.receipts),
            ticket: key.to_number(),
        });
        self.change(Change::Keep {
            seq,
            owes,
            live,
            sent,
            body,
            receipt,
        });
    }

    fn change(&self, change: Change) {
        let mut changes = self.changes.borrow_mut();
        if changes.is_empty() {
            self.submit.notify_one();
        }
        changes.push(change);
    }

    fn keep_unsaved(&self, body: Vec<u8>, owes: Sides, sent: Sides) {
        let mut unsaved = self.unsaved.borrow_mut();
        if UNSAVED_MAX <= unsaved.waiting.len() {
            unsaved.waiting.pop_front();
            for side in owes.iter() {
                self.metrics.copy_refused(side);
            }
            tracing::error!("a record was given up: the queue has refused too many for too long");
        }
        unsaved.waiting.push_back(Unkept { body, owes, sent });
        self.busy.notify_one();
    }

    /// Offers the queue again what it refused.
    pub(super) fn save_again(&self) {
        let Some(queue) = &self.shared.queue else {
            return;
        };
        let mut unsaved = self.unsaved.borrow_mut();
        if unsaved.waiting.is_empty() || !queue.accepts() {
            return;
        }
        while let Some(it) = unsaved.waiting.pop_front() {
            let ticket = UNSAVED_TICKET | unsaved.next;
            unsaved.next += 1;
            let receipt = Some(Receipt {
                to: Arc::clone(&self.receipts),
                ticket,
            });
            let (seq, live, body) = (queue.next_seq(), Sides::NONE, it.body.clone());
            self.change(Change::Keep {
                seq,
                owes: it.owes,
                live,
                sent: it.sent,
                body,
                receipt,
            });
            unsaved.offered.insert(ticket, it);
        }
    }

    /// What the queue said to an offer. Returns false if the ticket is a request's.
    pub(super) fn offered(&self, ticket: u64, ok: bool) -> bool {
        if ticket & UNSAVED_TICKET == 0 {
            return false;
        }
        let mut unsaved = self.unsaved.borrow_mut();
        if let Some(it) = unsaved.offered.remove(&ticket)
            && !ok
        {
            unsaved.waiting.push_back(it);
        }
        true
    }

    /// The record of a request, from the client's own bytes.
    fn record(&self, request: &Request<C>, reason: Reason) -> Vec<u8> {
        let mut out = Vec::with_capacity(request.body.len() + RECORD_OVERHEAD);
        let draft = self.draft(request, reason);
        match &request.what {
            What::Execute(entry) => bytes::execute(draft, request, entry, &mut out),
            What::Query(known) => bytes::query(draft, request, known, &mut out),
            What::Batch(batched) => bytes::batch(draft, request, batched, &mut out),
            What::Prepare(_) => {}
        }
        debug_assert!(!out.is_empty(), "a write that was sent can be recorded");
        out
    }

    fn draft(&self, request: &Request<C>, reason: Reason) -> Draft<'_> {
        let now = self.wall();
        Draft {
            id: Uuid::now_v7().into_bytes(),
            origin: &self.shared.instance,
            statements: &[],
            batch: record::Batch::None,
            consistency: request.consistency.0,
            serial: None,
            timestamp: request.timestamp,
            ttl_base: now / 1_000_000,
            priority: Priority::High,
            partition: 0,
            enqueued_at: now,
            reason,
            repeat: Repeat::Yes,
            single_partition: request.single_partition(),
            table: None,
            table_id: None,
        }
    }
}
