//! Bytes on their way to a peer, and the task that must be woken to write them.

use std::cell::{Cell, Ref, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::Buffers;
use crate::wire::Coding;

/// Sent bytes at the front of a backlog before they are cut off.
const COMPACT_AT: usize = 256 * 1024;

/// The way out of one socket. Everything that is put in before the socket's task runs leaves with
/// one `write`. Its owner bounds what is put in; an empty outbox holds no buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: RefCell<Vec<u8>>,
    sent: Cell<usize>,
    coding: Cell<Coding>,
    /// Bytes at the front that are as they will travel; behind them are plain frames.
    sealed: Cell<usize>,
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

    /// Returns once one of them was, for a task that does not drive the socket yet.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            self.enter(cx.waker());
            self.leave();
            match self.is_closed() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
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

    /// Wraps frames that are put in from now on.
    pub fn change(&self, coding: Coding) {
        debug_assert_eq!(
            self.coding.get(),
            Coding::Plain,
            "a coding is agreed on once"
        );
        self.sealed.set(self.bytes.borrow().len());
        self.coding.set(coding);
    }

    /// Wraps the frames that were put in since the last time.
    pub(super) fn seal(&self, buffers: &Buffers) {
        let (coding, sealed) = (self.coding.get(), self.sealed.get());
        if coding == Coding::Plain {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        let Some(frames) = bytes.get(sealed..).filter(|frames| !frames.is_empty()) else {
            return;
        };
        let mut out = buffers.lend();
        coding.seal(frames, &mut out, &mut buffers.tools());
        if sealed == 0 {
            std::mem::swap(&mut *bytes, &mut out);
        } else {
            bytes.truncate(sealed);
            bytes.extend_from_slice(&out);
        }
        self.sealed.set(bytes.len());
        buffers.give_back(out);
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
            // A backlog that never empties must not keep what was sent long ago.
            if COMPACT_AT < sent {
                bytes.drain(..sent);
                self.sealed.set(self.sealed.get().saturating_sub(sent));
                self.sent.set(0);
            } else {
                self.sent.set(sent);
            }
            return;
        }
        self.sent.set(0);
        self.sealed.set(0);
        buffers.give_back(std::mem::take(&mut *bytes));
    }
}
