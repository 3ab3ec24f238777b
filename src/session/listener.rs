//! Where clients connect: sockets are accepted in one place and dealt to the worker threads.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::Config;
use super::strangers::{STRANGERS_LEAST, STRANGERS_MAX};
use crate::telemetry::Throttle;

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 1024;
/// Sockets on their way to one worker; then accepting waits, and the backlog fills.
const ARRIVALS_MAX: usize = 256;
/// After a failed accept, as when no descriptor is left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// One log line a cause in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// A peer that says nothing for this long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// A peer that takes nothing of what waits for it for this long is cut off by the kernel: what
/// waits is memory of ours.
#[cfg(target_os = "linux")]
const UNTAKEN: Duration = Duration::from_secs(120);

/// A client's socket on its way to its worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) seat: Seat,
    /// Of its worker's clients so many may be strangers.
    pub(super) strangers_max: usize,
}

/// A client's place among those of its worker, free again once dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(seats: &Arc<AtomicUsize>) -> Self {
        seats.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(seats))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sockets that one worker is dealt.
#[derive(Debug)]
pub struct Arrivals(mpsc::Receiver<Arrival>);

impl Arrivals {
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        self.0.recv().await
    }
}

/// One worker as the acceptor sees it.
#[derive(Debug)]
struct Door {
    taken: Arc<AtomicUsize>,
    arrivals: mpsc::Sender<Arrival>,
}

impl Door {
    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// The listening socket.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    clients_max: usize,
    doors: Vec<Door>,
    turned_away: u64,
    throttle: Throttle,
}

impl Acceptor {
    /// Binds the address; clients wait in the backlog until [`Acceptor::run`].
    ///
    /// # Errors
    /// If the address cannot be had; the error names it.
    pub fn bind(config: &Config) -> io::Result<Self> {
        let listener = listen(config.listen).map_err(|error| {
            let text = format!("cannot listen on {}: {error}", config.listen);
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self {
            listener,
            clients_max: config.clients_max.get(),
            doors: Vec::new(),
            turned_away: 0,
            throttle: Throttle::new(LOG_EVERY),
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The share of one more worker, to be called once for each before [`Acceptor::run`].
    pub fn arrivals(&mut self) -> Arrivals {
        let (sender, receiver) = mpsc::channel(ARRIVALS_MAX);
        self.doors.push(Door {
            taken: Arc::default(),
            arrivals: sender,
        });
        Arrivals(receiver)
    }

    /// Accepts until told to stop, or until no worker is left.
    ///
    /// # Errors
    /// If the socket cannot be watched.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone()?)?;
        while !self.doors.is_empty() {
            tokio::select! {
                () = stopped(&mut shutdown) => break,
                () = self.accept(&listener) => {}
            }
        }
        Ok(())
    }

    async fn accept(&mut self, listener: &tokio::net::TcpListener) {
        let accepted = match listener.accept().await {
            Ok((stream, _peer)) => stream.into_std(),
            Err(error) => Err(error),
        };
        match accepted {
            Ok(stream) => self.deal(stream).await,
            Err(error) => {
                if let Some(suppressed) = self.admit("accept") {
                    tracing::warn!(suppressed, %error, "cannot accept a client");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }

    /// Hands a socket to the worker with the fewest clients.
    async fn deal(&mut self, stream: TcpStream) {
        let clients: usize = self.doors.iter().map(Door::taken).sum();
        if self.clients_max <= clients {
            self.turn_away(clients);
            return;
        }
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "client left before it was served");
            return;
        }
        let Some(at) = (0..self.doors.len()).min_by_key(|at| self.doors[*at].taken()) else {
            return;
        };
        let door = &self.doors[at];
        let arrival = Arrival {
            stream,
            seat: Seat::take(&door.taken),
            strangers_max: strangers_max(self.clients_max, self.doors.len()),
        };
        if door.arrivals.send(arrival).await.is_err() {
            // Its thread has ended: the others go on.
            self.doors.remove(at);
        }
    }

    fn turn_away(&mut self, clients: usize) {
        self.turned_away += 1;
        let total = self.turned_away;
        if let Some(suppressed) = self.admit("clients_max") {
            tracing::warn!(
                suppressed,
                clients,
                total,
                "too many clients: one is turned away"
            );
        }
    }

    fn admit(&mut self, cause: &'static str) -> Option<u64> {
        self.throttle.admit(cause, Instant::now().into_std())
    }
}

/// How many of one worker's clients may be strangers for longer than a moment: together half of the seats,
/// where these are many.
fn strangers_max(clients_max: usize, workers: usize) -> usize {
    let share = clients_max / 2 / workers.max(1);
    let most = share.clamp(STRANGERS_LEAST, STRANGERS_MAX);
    most.min(clients_max)
}

/// Returns once it is said so, or nobody is left to say it.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_EVERY);
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNTAKEN))?;
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_half_of_the_seats_but_a_few_may_always_wait() {
        for (clients_max, workers, most) in [
            (1, 1, 1),
            (4, 2, 4),
            (100, 2, 64),
            (10_000, 8, 625),
            (10_000, 2, STRANGERS_MAX),
        ] {
            let share = strangers_max(clients_max, workers);
            assert_eq!(share, most, "{clients_max} clients, {workers} workers");
        }
    }
}
