//! What became durable, told to the thread that waits for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Refused;

/// A letter box of one waiting thread: the queue puts receipts in, once a commit; the thread takes
/// them all at once. Bounded by the changes in flight, each of which asks for at most one receipt.
#[derive(Debug, Default)]
pub struct Receipts {
    arrived: Mutex<Vec<(u64, Result<(), Refused>)>>,
    bell: Notify,
}

impl Receipts {
    /// An empty box.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Waits until something is in the box.
    pub async fn arrived(&self) {
        self.bell.notified().await;
    }

    /// Moves all that arrived into `out`.
    pub fn take(&self, out: &mut Vec<(u64, Result<(), Refused>)>) {
        out.append(&mut self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Puts receipts in and rings once.
    pub fn put(&self, receipts: impl IntoIterator<Item = (u64, Result<(), Refused>)>) {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(receipts);
        self.bell.notify_one();
    }
}

/// Asks for word of one change.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Whose box.
    pub to: Arc<Receipts>,
    /// What the waiter calls it.
    pub ticket: u64,
}
