//! One worker's clients: a task each, until told to stop.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connection::converse;
use super::listener::{Arrival, Arrivals, stopped};
use super::outlet::Outlet;
use super::sessions::Stay;
use super::{Requests, Sessions};

/// Whoever has not taken its last words within one or two of these is cut off.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// For tasks that were cut off to end.
const ABORT_WITHIN: Duration = Duration::from_secs(1);

/// Serves the clients of one thread, inside its `LocalSet` or `LocalRuntime`. Told to stop, it
/// takes no more requests, lets those in flight be answered for at most `grace`, and returns once
/// all connections are closed.
pub async fn serve<R: Requests<Outlet>>(
    mut arrivals: Arrivals,
    requests: Rc<R>,
    sessions: Rc<Sessions>,
    mut shutdown: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut tasks = JoinSet::new();
    let mut sweep = interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopped(&mut shutdown) => break,
            Some(arrival) = arrivals.next() => seat(&mut tasks, arrival, &sessions, &requests),
            Some(ended) = tasks.join_next() => reap(ended, &sessions),
            _at = sweep.tick() => sessions.sweep(),
        }
    }
    drop(arrivals);
    sessions.drain();
    if timeout(grace, reap_all(&mut tasks, &sessions))
        .await
        .is_err()
    {
        tracing::warn!(
            clients = sessions.len(),
            "closing clients whose requests are unanswered"
        );
        sessions.abort();
        if timeout(ABORT_WITHIN, reap_all(&mut tasks, &sessions))
            .await
            .is_err()
        {
            tasks.shutdown().await;
        }
    }
}

fn seat<R: Requests<Outlet>>(
    tasks: &mut JoinSet<()>,
    arrival: Arrival,
    sessions: &Rc<Sessions>,
    requests: &Rc<R>,
) {
    let Arrival {
        stream,
        seat,
        strangers_max,
    } = arrival;
    let dialled = stream.local_addr();
    match dialled.and_then(|dialled| Ok((dialled, TcpStream::from_std(stream)?))) {
        Ok((dialled, stream)) => {
            let stay = Stay::new(sessions, requests, (dialled, strangers_max));
            tasks.spawn_local(async move {
                converse(stream, stay).await;
                drop(seat);
            });
        }
        Err(error) => {
            if let Some(suppressed) = sessions.admit("take over") {
                tracing::warn!(suppressed, %error, "cannot serve a client");
            }
        }
    }
}

async fn reap_all(tasks: &mut JoinSet<()>, sessions: &Sessions) {
    while let Some(ended) = tasks.join_next().await {
        reap(ended, sessions);
    }
}

/// A panic in one client's task ends that connection and nothing else.
fn reap(ended: Result<(), JoinError>, sessions: &Sessions) {
    let Err(error) = ended else { return };
    if let Some(suppressed) = sessions.admit("panic") {
        tracing::error!(suppressed, %error, "a client connection ended by our own mistake");
    }
}
