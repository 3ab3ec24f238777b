//! The data plane's threads: each its own runtime, desk and clients.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{broadcast, watch};
use tokio::task::{JoinSet, LocalSet};

use super::{Ends, GRACE, RECORDS_WITHIN, cluster_config};
use crate::config::Config;
use crate::dispatch::news::SchemaNews;
use crate::dispatch::{Desk, Shared};
use crate::pair::Pair;
use crate::session::{Acceptor, Arrivals, Outlet, Sessions, serve};
use crate::telemetry::{Metrics, WorkerMetrics};

/// What one thread takes with it.
struct Luggage {
    config: Config,
    shared: Arc<Shared>,
    metrics: WorkerMetrics,
    arrivals: Arrivals,
    events: broadcast::Receiver<SchemaNews>,
    returns: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
}

/// Starts all worker threads; clients reach them once the acceptor runs.
pub(super) fn start(
    config: &Config,
    shared: &Arc<Shared>,
    metrics: &Metrics,
    acceptor: &mut Acceptor,
    ends: &Ends,
) -> io::Result<Vec<JoinHandle<()>>> {
    (0..config.workers.get())
        .map(|number| {
            let luggage = Luggage {
                config: config.clone(),
                shared: Arc::clone(shared),
                metrics: metrics.worker(),
                arrivals: acceptor.arrivals(),
                events: ends.events.subscribe(),
                returns: ends.returns.subscribe(),
                stop: ends.stop.subscribe(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let work = move || LocalSet::new().block_on(&runtime, work(luggage));
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(work)
        })
        .collect()
}

async fn work(luggage: Luggage) {
    let Luggage {
        config,
        shared,
        metrics,
        arrivals,
        events,
        returns,
        stop,
    } = luggage;
    let configs = Pair::from_fn(|side| cluster_config(&config, side));
    let sessions = Sessions::secured(
        config.session,
        shared.news.load().offered,
        config.tls,
        config.door,
    );
    let offers = follow_offer(Rc::clone(&sessions), Arc::clone(&shared));
    let desk: Rc<Desk<Outlet>> = Desk::new(shared, &configs, Rc::new(metrics));
    let mut loops: JoinSet<()> = desk.start();
    loops.spawn_local(offers);
    loops.spawn_local(pass_events(Rc::clone(&sessions), events));
    loops.spawn_local(tell_of_returns(Rc::clone(&sessions), returns));
    serve(arrivals, Rc::clone(&desk), sessions, stop, GRACE).await;
    desk.drain(RECORDS_WITHIN).await;
    loops.shutdown().await;
}

/// Clients are offered what both clusters speak; those that speak more have to come again.
async fn follow_offer(sessions: Rc<Sessions>, shared: Arc<Shared>) {
    let mut renewed = shared.renewed.clone();
    loop {
        sessions.offer(shared.news.load().offered);
        if renewed.changed().await.is_err() {
            return;
        }
    }
}

/// Schema events reach every session that registered; where some cannot, its driver has to come again.
async fn pass_events(sessions: Rc<Sessions>, mut events: broadcast::Receiver<SchemaNews>) {
    loop {
        match events.recv().await {
            Ok(SchemaNews::Changed(body)) => sessions.schema_changed(&body),
            Ok(SchemaNews::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => {
                tracing::warn!(
                    "too many schema changes at once: clients that follow them have to connect again"
                );
                sessions.schema_missed();
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// A cluster serves again after none had: drivers that gave up on us come back at once.
async fn tell_of_returns(sessions: Rc<Sessions>, mut returns: watch::Receiver<u64>) {
    while returns.changed().await.is_ok() {
        sessions.serves_again();
    }
}

/// Waits for all threads without blocking the control thread, which they may still need.
pub(super) async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || {
        threads
            .into_iter()
            .filter_map(|thread| thread.join().err())
            .count()
    });
    match joined.await {
        Ok(0) => {}
        Ok(panicked) => tracing::error!(panicked, "threads ended by our own mistake"),
        Err(error) => tracing::error!(%error, "threads were not waited for"),
    }
}
