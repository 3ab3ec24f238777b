//! One socket of a data-plane thread: bytes in, whole frames to a [`Handler`], one flush a wake-up.
//!
//! Clients and nodes are driven alike, each by one task. Reading goes through a scratch buffer that
//! all sockets of the thread share, so an idle connection holds no buffer; only a frame that is cut
//! by the end of a read is copied to a buffer of its own. Answers and requests collect in an
//! [`Outbox`] and leave with one `write` once all tasks that were ready have run. A large frame is
//! held once: who passes it on shares that buffer.

mod buffers;
mod inbox;
mod outbox;
mod part;
mod stream;
pub mod tls;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::header::{Direction, HeaderFault};
use crate::wire::{Coding, Frame};

use inbox::Inbox;

pub use buffers::Buffers;
pub use outbox::Outbox;
pub use part::LARGE;
pub use stream::Stream;

/// Reads in a row before other tasks of the thread get their turn.
const READS_PER_TURN: usize = 8;

/// Whoever understands the frames of one socket.
pub trait Handler {
    /// Which way the frames travel that arrive here.
    const DIRECTION: Direction;

    /// The socket's task runs: frames may follow.
    fn wake(&mut self) {}

    /// What was just read, before its frames: the handler may fetch ahead what they will need.
    fn ahead(&mut self, _read: &[u8]) {}

    /// One whole frame. The bytes are gone after the call.
    fn frame(&mut self, frame: Frame<'_>) -> Next;

    /// Bytes that are no frame; the socket closes once the outbox is flushed.
    fn fault(&mut self, fault: HeaderFault);

    /// The largest body accepted right now, in bytes.
    fn limit(&self) -> usize;

    /// Whether reading should wait, because the peer does not take its answers. The handler must
    /// wake the outbox when that ends; a flush does so by itself.
    fn is_paused(&self) -> bool {
        false
    }
}

/// What happens after a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Flush and close.
    Close,
    /// Read on.
    Continue,
    /// Return to the caller of [`Socket::drive`]; unread bytes stay.
    Return,
}

/// Why driving ended.
#[derive(Debug)]
pub enum End {
    /// The handler or the outbox asked for it; everything was flushed.
    Closed,
    /// The peer closed or the socket failed.
    Lost(std::io::Error),
    /// The handler returned [`Next::Return`].
    Returned,
}

/// A connected socket and the part of a frame that it has read.
#[derive(Debug)]
pub struct Socket<T> {
    io: T,
    inbox: Inbox,
    closing: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// Takes over a connected socket.
    pub fn new(io: T) -> Self {
        Self {
            io,
            inbox: Inbox::default(),
            closing: false,
        }
    }

    /// Opens what comes from now on: to be called between two phases, as STARTUP agreed.
    pub fn change(&mut self, coding: Coding) {
        self.inbox.change(coding);
    }

    /// Reads frames for `handler` and writes what is in `outbox` until one of them ends it.
    pub async fn drive<H: Handler>(
        &mut self,
        outbox: &Outbox,
        buffers: &Buffers,
        handler: &mut H,
    ) -> End {
        poll_fn(|cx| self.poll(cx, outbox, buffers, handler)).await
    }

    fn poll<H: Handler>(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        buffers: &Buffers,
        handler: &mut H,
    ) -> Poll<End> {
        outbox.enter(cx.waker());
        if outbox.is_aborted() {
            return Poll::Ready(End::Closed);
        }
        handler.wake();
        // Flushing first can end a pause; what is read may put more into the outbox.
        let before = self.poll_flush(cx, outbox, buffers);
        let read = self.poll_frames(cx, buffers, handler);
        let was_paused = read.is_pending() && handler.is_paused();
        let written = match before {
            Poll::Ready(Ok(())) => self.poll_flush(cx, outbox, buffers),
            Poll::Ready(Err(_)) | Poll::Pending => before,
        };
        if was_paused && !handler.is_paused() {
            // The flush ended the pause, and nothing else would wake the reading side.
            cx.waker().wake_by_ref();
        }
        outbox.leave();
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(End::Lost(error));
        }
        match read {
            Poll::Ready(Ok(Next::Return)) => return Poll::Ready(End::Returned),
            Poll::Ready(Ok(Next::Close)) => self.closing = true,
            Poll::Ready(Ok(Next::Continue)) => cx.waker().wake_by_ref(),
            Poll::Ready(Err(error)) => return Poll::Ready(End::Lost(error)),
            Poll::Pending => {}
        }
        if (self.closing || outbox.is_closed()) && outbox.is_empty() && written.is_ready() {
            return Poll::Ready(End::Closed);
        }
        Poll::Pending
    }

    /// Ready with `Continue` if there may be more to read, but others should run first.
    fn poll_frames<H: Handler>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        handler: &mut H,
    ) -> Poll<std::io::Result<Next>> {
        let mut scratch = buffers.scratch();
        if !self.closing && !handler.is_paused() {
            let next = self.inbox.resume(buffers, handler);
            if next != Next::Continue {
                return Poll::Ready(Ok(next));
            }
        }
        for _ in 0..READS_PER_TURN {
            if self.closing || handler.is_paused() {
                return Poll::Pending;
            }
            let mut space = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
            let read = space.filled();
            if read.is_empty() {
                return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let next = self.inbox.take(read, buffers, handler);
            if next != Next::Continue {
                return Poll::Ready(Ok(next));
            }
        }
        Poll::Ready(Ok(Next::Continue))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        buffers: &Buffers,
    ) -> Poll<std::io::Result<()>> {
        outbox.seal(buffers);
        while let Some(bytes) = outbox.unsent(buffers) {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes))?;
            drop(bytes);
            if sent == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            outbox.sent(sent, buffers);
        }
        // TLS holds back what the socket did not take.
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests;
