//! What one connection to the admin address may cost: a place among few, and a deadline.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at a time; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 64;

/// A request must be there, answered and its answer taken within this time of the one before.
const EXCHANGE: Duration = Duration::from_secs(15);

/// A listener of few connections, each with a deadline for every exchange.
#[derive(Debug)]
pub(super) struct Guarded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    exchange: Duration,
}

impl Guarded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with_limits(listener, CONNECTIONS_MAX, EXCHANGE)
    }

    fn with_limits(listener: TcpListener, connections: usize, exchange: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(connections)),
            exchange,
        }
    }
}

impl Listener for Guarded {
    type Io = Bounded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Bounded, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Bounded::new(stream, place, self.exchange), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A stream that ends when an exchange takes too long: a request that trickles in, an answer that
/// is not taken, or silence between two.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    exchange: Duration,
    deadline: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Bounded {
    fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>, exchange: Duration) -> Self {
        Self {
            stream,
            exchange,
            deadline: Box::pin(tokio::time::sleep(exchange)),
            _place: place,
        }
    }

    /// Waits no longer than the deadline.
    fn patience<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Bytes of an answer were taken: the next exchange may begin.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match done {
            Poll::Ready(done) => {
                let next = Instant::now() + self.exchange;
                self.deadline.as_mut().reset(next);
                Poll::Ready(done)
            }
            Poll::Pending => self.patience(cx),
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.is_elapsed() {
            return self.patience(cx);
        }
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.patience(cx),
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_request_that_trickles_in_is_cut_off_at_its_deadline() {
        let (mut peer, mut server) = connected(1).await;
        let trickle = async {
            while peer.write_all(b"G").await.is_ok() {
                tokio::time::sleep(SHORT / 8).await;
            }
        };
        let mut request = Vec::new();
        let read = server.0.read_to_end(&mut request);

        let error = tokio::select! {
            read = read => read.expect_err("cut off"),
            () = trickle => panic!("the server let go of a stream that it still reads"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!request.is_empty());
    }

    #[tokio::test]
    async fn an_answer_gives_time_for_the_next_request() {
        let (mut peer, mut server) = connected(1).await;
        for _exchange in 0..4 {
            tokio::time::sleep(SHORT / 2).await;
            peer.write_all(b"?").await.expect("sent");
            assert_eq!(server.0.read_u8().await.expect("in time"), b'?');
            server.0.write_all(b"!").await.expect("answered");
        }
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_for_a_place() {
        let (_peer, (first, mut guarded)) = connected(1).await;
        let address = guarded.local_addr().expect("an address");
        let _second = TcpStream::connect(address).await.expect("in the backlog");

        let waits = tokio::time::timeout(SHORT, guarded.accept()).await;
        assert!(waits.is_err());
        drop(first);
        let accepted = tokio::time::timeout(10 * SHORT, guarded.accept()).await;
        assert!(accepted.is_ok());
    }

    async fn connected(places: usize) -> (TcpStream, (Bounded, Guarded)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut guarded = Guarded::with_limits(listener, places, SHORT);
        let peer = TcpStream::connect(address).await.expect("connected");
        let (server, _address) = guarded.accept().await;
        (peer, (server, guarded))
    }
}
