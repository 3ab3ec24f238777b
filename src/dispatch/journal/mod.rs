//! Records of what a side missed: made from the client's own bytes, handed to the queue.

mod bytes;
#[cfg(test)]
mod tests;
mod unsaved;

use std::sync::Arc;

use super::flow::Action;
use super::request::{Flow, Request, What};
use super::table::Key;
use super::{Client, Desk};
use crate::pair::{Side, Sides};
use crate::replay::record::{self, Draft, Priority, Reason, Repeat};
use crate::replay::{Change, Receipt};
use unsaved::Unkept;

pub(super) use unsaved::Unsaved;

/// Bytes of a record besides the client's own, about.
const RECORD_OVERHEAD: usize = 160;

impl<C: Client> Desk<C> {
    /// Tells the queue what the machine decided about a record.
    pub(super) fn journal(&self, key: Key, request: &mut Request<C>, action: Action) {
        match action {
            Action::Keep { owes, live, sent } => self.keep(key, request, (owes, live, sent)),
            Action::KeepTrying { owes, sent } => {
                let body = self.record(request, reason(request, owes));
                self.keep_unsaved(Unkept { body, owes, sent });
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
            reason(request, owes)
        } else {
            Reason::Journal
        };
        let body = self.record(request, reason);
        let seq = queue.next_seq();
        for side in owes.iter() {
            // One that takes another's place is not one more.
            let is_new = request.seq.is_none() || !is_away(request, side);
            if is_new {
                self.metrics.copy_kept(side);
            }
        }
        // Until the queue says that it has it, nobody else would know of the debt.
        if let Flow::Write(write) = &request.flow {
            request.unvouched = write.unvouched();
            self.shared.untold.add(request.unvouched);
        }
        // It is told nothing more, either.
        request.seq.get_or_insert(seq);
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

    fn keep_unsaved(&self, it: Unkept) {
        let mut unsaved = self.unsaved.borrow_mut();
        self.shared.untold.add(it.owes);
        for lost in unsaved.put(it) {
            self.shared.untold.remove(lost.owes);
            for side in lost.owes.iter() {
                self.metrics.copy_refused(side);
            }
            if let Some(suppressed) = unsaved.may_log(self.now.get()) {
                tracing::error!(
                    suppressed,
                    "a record was given up: the queue has refused too many for too long, and one \
                     cluster lacks a write for good"
                );
            }
        }
        self.busy.notify_one();
    }

    /// Offers the queue again what it refused.
    pub(super) fn save_again(&self) {
        let Some(queue) = &self.shared.queue else {
            return;
        };
        let mut unsaved = self.unsaved.borrow_mut();
        if !queue.accepts() {
            return;
        }
        while let Some((ticket, it)) = unsaved.offer() {
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
        }
    }

    /// What the queue said to an offer. Returns false if the ticket is a request's.
    pub(super) fn offered(&self, ticket: u64, ok: bool) -> bool {
        let told = self.unsaved.borrow_mut().handle_receipt(ticket, ok);
        self.shared.untold.remove(told.unwrap_or(Sides::NONE));
        told.is_some()
    }

    /// The record of a request, from the client's own bytes.
    fn record(&self, request: &Request<C>, reason: Reason) -> Vec<u8> {
        let is_forbidden = match &request.flow {
            Flow::Write(write) => write.is_forbidden(),
            Flow::Chain(_) | Flow::Read(_) => false,
        };
        let reason = if is_forbidden {
            Reason::Unproven
        } else {
            reason
        };
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
            id: self.ids.next(now),
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

fn is_away<C: Client>(request: &Request<C>, side: Side) -> bool {
    matches!(&request.flow, Flow::Write(write) if write.is_away(side))
}

/// Why a side owes a write that another side has.
fn reason<C: Client>(request: &Request<C>, owes: Sides) -> Reason {
    let Flow::Write(write) = &request.flow else {
        return Reason::Failed;
    };
    let of_side = |side: Side| match &request.legs[side].sent {
        _ if write.is_away(side) => Reason::Down,
        Some(_) => Reason::Timeout,
        None => Reason::Failed,
    };
    owes.iter().next().map_or(Reason::Failed, of_side)
}
