//! Bytes on their way to a peer, and the task that must be woken to write them.

use std::cell::{Cell, Ref, RefCell};
use std::task::Waker;

use super::Buffers;

/// The way out of one socket. Everything that is put in before the socket's task runs leaves with
/// one `write`. Its owner bounds what is put in; an empty outbox holds no buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: RefCell<Vec<u8>>,
    sent: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    /// The task is running or already woken: no need to wake it.
    awake: Cell<bool>,
    closed: Cell<bool>,
    aborted: Cell<bool>,
}

impl Outbox {
    /// Lets `write` append to what waits, and wakes the socket's task once.
    #[inline]
    pub fn put<R>(&self, buffers: &Buffers, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.capacity() == 0 {
            *bytes = buffers.lend();
        }
        let written = write(&mut bytes);
        drop(bytes);
        self.wake();
        written
    }

    /// Wakes the socket's task, for example because it may read again.
    #[inline]
    pub fn wake(&self) {
        if self.awake.replace(true) {
            return;
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Asks the task to flush and close.
    pub fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    /// Asks the task to close at once; what waits is dropped.
    pub fn abort(&self) {
        self.aborted.set(true);
        self.close();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// Whether [`Outbox::close`] or [`Outbox::abort`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Bytes that wait.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.borrow().len() - self.sent.get()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn enter(&self, waker: &Waker) {
        self.awake.set(true);
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub(super) fn leave(&self) {
        self.awake.set(false);
    }

    pub(super) fn unsent(&self) -> Option<Ref<'_, [u8]>> {
        let sent = self.sent.get();
        Ref::filter_map(self.bytes.borrow(), |bytes| {
            bytes.get(sent..).filter(|rest| !rest.is_empty())
        })
        .ok()
    }

    pub(super) fn sent(&self, count: usize, buffers: &Buffers) {
        let sent = self.sent.get() + count;
        let mut bytes = self.bytes.borrow_mut();
        if sent < bytes.len() {
            self.sent.set(sent);
            return;
        }
        self.sent.set(0);
        buffers.give_back(std::mem::take(&mut *bytes));
    }
}
