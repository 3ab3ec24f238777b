//! What anybody may see of a queue without asking its owner, and the bells of those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::pair::{Pair, Side, Sides};
use crate::replay::{Depth, Receipt, Refused};

use super::ledger::Ledger;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Board {
    accepts: AtomicBool,
    behind: Pair<AtomicBool>,
    ready: Pair<AtomicBool>,
    bells: Pair<Notify>,
    depth: Mutex<Depth>,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn accepts(&self) -> bool {
        self.accepts.load(Ordering::Acquire)
    }

    pub(super) fn set_accepts(&self, accepts: bool) {
        self.accepts.store(accepts, Ordering::Release);
    }

    pub(super) fn is_behind(&self, side: Side) -> bool {
        self.behind[side].load(Ordering::Acquire)
    }

    pub(super) fn depth(&self) -> Depth {
        *self.depth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when something can be leased.
    pub(super) async fn wait(self: Arc<Self>, side: Side) {
        loop {
            let mut bell = std::pin::pin!(self.bells[side].notified());
            bell.as_mut().enable();
            if self.ready[side].load(Ordering::Acquire) {
                return;
            }
            bell.await;
        }
    }

    /// Shows the ledger's state, and who missed what it does not know of yet; rings where something became
    /// ready.
    pub(super) fn show(
        &self,
        (ledger, missed): (&Ledger, Sides),
        oldest: Pair<Option<i64>>,
        dead: u64,
        bytes: u64,
    ) {
        let owed = Pair::from_fn(|side| ledger.owed(side));
        *self.depth.lock().unwrap_or_else(PoisonError::into_inner) = Depth {
            owed,
            oldest,
            dead,
            bytes,
        };
        for side in Side::ALL {
            let is_behind = owed[side] != 0 || missed.contains(side);
            self.behind[side].store(is_behind, Ordering::Release);
            self.show_ready(side, ledger.is_ready(side));
        }
    }

    /// Shows whether something can be leased.
    pub(super) fn show_ready(&self, side: Side, ready: bool) {
        let before = self.ready[side].swap(ready, Ordering::AcqRel);
        if ready && !before {
            self.bells[side].notify_waiters();
        }
    }
}

/// Receipts of one batch, sorted into their boxes when all is known.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<(Receipt, Result<(), Refused>)>);

impl Outbox {
    pub(super) fn put(&mut self, receipt: Option<&Receipt>, answer: Result<(), Refused>) {
        self.0
            .extend(receipt.map(|receipt| (receipt.clone(), answer)));
    }

    /// Forgets all: what they were to say is not true.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Delivers all, one ring a box; the order within a box is that of [`Outbox::put`].
    pub(super) fn deliver(&mut self) {
        self.0
            .sort_by_key(|(receipt, _)| Arc::as_ptr(&receipt.to).addr());
        for same in self
            .0
            .chunk_by(|left, right| Arc::ptr_eq(&left.0.to, &right.0.to))
        {
            let Some((receipt, _)) = same.first() else {
                continue;
            };
            receipt.to.put(
                same.iter()
                    .map(|(receipt, answer)| (receipt.ticket, answer.clone())),
            );
        }
        self.0.clear();
    }
}
