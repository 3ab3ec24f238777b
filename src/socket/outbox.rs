//! Bytes on their way to a peer, and the task that must be woken to write them.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::Buffers;
use super::part::{LARGE, Part};
use crate::wire::Coding;
use crate::wire::coding::{PAYLOAD_MAX, Parts};

/// Sent bytes at the front of a backlog before they are cut off.
const COMPACT_AT: usize = 256 * 1024;
/// Bytes of a large frame that are wrapped at a time.
const CUT: usize = 4 * PAYLOAD_MAX;

/// The way out of one socket. Everything that is put in before the socket's task runs leaves with
/// one `write`. Its owner bounds what is put in; an empty outbox holds no buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What leaves before `bytes`: large frames, and what stood before each.
    ahead: RefCell<VecDeque<Piece>>,
    /// Its bytes, sent ones among them.
    ahead_len: Cell<usize>,
    bytes: RefCell<Vec<u8>>,
    /// Bytes at the front that were sent, of the first piece or, without one, of `bytes`.
    sent: Cell<usize>,
    coding: Cell<Coding>,
    /// Bytes at the front of `bytes` that are as they will travel; behind them are plain frames.
    sealed: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    /// The task is running or already woken: no need to wake it.
    awake: Cell<bool>,
    closed: Cell<bool>,
    aborted: Cell<bool>,
}

/// What is sent in one go.
#[derive(Debug)]
enum Piece {
    /// As it will travel.
    Ready(Vec<u8>),
    /// The end of a large frame, still to be wrapped where frames are.
    Shared(Part),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Ready(bytes) => bytes,
            Self::Shared(part) => part.bytes(),
        }
    }
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

    /// Appends one frame that ends with `rest`: without a copy if that is [`LARGE`], of the frame that
    /// the thread has just read, and may be wrapped in parts.
    pub fn pass(&self, buffers: &Buffers, head: &[u8], rest: &[u8]) {
        let part = match LARGE <= rest.len() {
            true => self.coding.get().parts().zip(buffers.part(rest)),
            false => None,
        };
        let Some((parts, part)) = part else {
            return self.put(buffers, |out| {
                out.extend_from_slice(head);
                out.extend_from_slice(rest);
            });
        };
        self.seal(buffers);
        self.share(buffers, head, (parts, part));
        self.wake();
    }

    fn share(&self, buffers: &Buffers, head: &[u8], (parts, mut part): (Parts, Part)) {
        let mut before = self.bytes.take();
        match parts {
            Parts::Plain => before.extend_from_slice(head),
            Parts::Segments { .. } => {
                // Filled up, so that all but the last segment are full.
                let missing = PAYLOAD_MAX - head.len() % PAYLOAD_MAX;
                let first = [head, part.take(missing)].concat();
                parts.seal(&first, &mut before, &mut buffers.tools());
            }
        }
        self.sealed.set(0);
        for piece in [Piece::Ready(before), Piece::Shared(part)] {
            let len = self.ahead_len.get() + piece.bytes().len();
            self.ahead_len.set(len);
            self.ahead.borrow_mut().push_back(piece);
        }
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
        self.ahead_len.get() + self.bytes.borrow().len() - self.sent.get()
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
        if LARGE < out.capacity() - out.len() {
            // Compressing asks for room for the worst.
            out.shrink_to_fit();
        }
        if sealed == 0 {
            std::mem::swap(&mut *bytes, &mut out);
        } else {
            bytes.truncate(sealed);
            bytes.extend_from_slice(&out);
        }
        self.sealed.set(bytes.len());
        buffers.give_back(out);
    }

    /// What is to be sent next.
    pub(super) fn unsent(&self, buffers: &Buffers) -> Option<Ref<'_, [u8]>> {
        let sent = self.sent.get();
        if 0 < self.ahead_len.get() {
            self.cut(buffers);
            return Ref::filter_map(self.ahead.borrow(), |ahead| {
                ahead.front().and_then(|piece| piece.bytes().get(sent..))
            })
            .ok();
        }
        Ref::filter_map(self.bytes.borrow(), |bytes| {
            bytes.get(sent..).filter(|rest| !rest.is_empty())
        })
        .ok()
    }

    /// Wraps what comes next of a large frame, and no more of it than is soon sent.
    fn cut(&self, buffers: &Buffers) {
        let Some(parts @ Parts::Segments { .. }) = self.coding.get().parts() else {
            return;
        };
        let mut ahead = self.ahead.borrow_mut();
        let Some(Piece::Shared(part)) = ahead.front_mut() else {
            return;
        };
        let mut out = buffers.lend();
        let next = part.take(CUT);
        parts.seal(next, &mut out, &mut buffers.tools());
        let len = self.ahead_len.get() - next.len() + out.len();
        self.ahead_len.set(len);
        if part.bytes().is_empty() {
            ahead.pop_front();
        }
        ahead.push_front(Piece::Ready(out));
    }

    /// So much of it was sent.
    pub(super) fn sent(&self, count: usize, buffers: &Buffers) {
        let sent = self.sent.get() + count;
        if 0 < self.ahead_len.get() {
            return self.sent_ahead(sent, buffers);
        }
        let mut bytes = self.bytes.borrow_mut();
        if sent < bytes.len() {
            // A backlog that never empties must not keep what was sent long ago, nor be moved
            // for every bit of it.
            if COMPACT_AT < sent && bytes.len() / 2 < sent {
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

    fn sent_ahead(&self, sent: usize, buffers: &Buffers) {
        let mut ahead = self.ahead.borrow_mut();
        let len = ahead.front().map_or(0, |piece| piece.bytes().len());
        if sent < len {
            self.sent.set(sent);
            return;
        }
        self.sent.set(0);
        self.ahead_len.set(self.ahead_len.get() - len);
        if let Some(Piece::Ready(bytes)) = ahead.pop_front() {
            buffers.give_back(bytes);
        }
    }
}
