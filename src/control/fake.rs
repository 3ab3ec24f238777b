//! An admin server on a port of its own, over a status and a queue that tests set.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::status::{self, Status, StatusSource};
use super::{Access, Admin, serve};
use crate::pair::{Pair, Side};
use crate::replay::{Answer, Change, DeadLetter, Depth, Lease, Parked, Queue, Refused, Seq};
use crate::telemetry::Metrics;

/// A running server; it ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) queue: Arc<Letters>,
    pub(crate) status: Arc<Story>,
    shutdown: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// With dead letters 1 to `letters`.
    pub(crate) fn start(letters: i64, token: Option<&str>) -> Self {
        let queue = Arc::new(Letters::up_to(letters));
        let kept: Arc<dyn Queue> = Arc::clone(&queue) as Arc<dyn Queue>;
        Self::over(queue, Some(kept), token)
    }

    /// With one cluster and so without a queue.
    pub(crate) fn single() -> Self {
        Self::over(Arc::new(Letters::up_to(0)), None, None)
    }

    fn over(letters: Arc<Letters>, queue: Option<Arc<dyn Queue>>, token: Option<&str>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        let status = Arc::new(Story::default());
        let dead = letters.depth().dead;
        status.dead.store(dead, Ordering::Relaxed);
        let names = Pair::new(Some("east".to_owned()), Some("west".to_owned()));
        let admin = Admin {
            access: Access::new(address, Vec::new(), token.map(str::to_owned)).expect("loopback"),
            metrics: Arc::new(Metrics::new(names).expect("metrics")),
            queue,
            status: Arc::clone(&status) as Arc<dyn StatusSource>,
        };
        let (shutdown, leave) = watch::channel(false);
        let thread = std::thread::spawn(move || run(listener, Arc::new(admin), leave));
        Self {
            address,
            queue: letters,
            status,
            shutdown,
            thread: Some(thread),
        }
    }

    /// Ends the server and waits for it.
    pub(crate) fn stop(&mut self) {
        self.shutdown.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(listener: std::net::TcpListener, admin: Arc<Admin>, leave: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        serve(listener, admin, leave).await.expect("served");
    });
}

/// A proxy in good or bad health.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) down: AtomicBool,
    dead: AtomicU64,
}

impl StatusSource for Story {
    fn status(&self) -> Status {
        let cluster = |side: Side, state, behind| status::Cluster {
            side: side.label().to_owned(),
            state,
            behind,
            connected: !behind,
            release_version: (!behind).then(|| "5.0.7".to_owned()),
        };
        Status {
            ready: self.ready().is_ok(),
            instance: "host-9042".to_owned(),
            version: "0.1.0".to_owned(),
            uptime_seconds: 3_725,
            clusters: BTreeMap::from([
                (
                    "east".to_owned(),
                    cluster(Side::A, status::State::Closed, false),
                ),
                (
                    "west".to_owned(),
                    cluster(Side::B, status::State::HalfOpen, true),
                ),
            ]),
            reads: status::Reads {
                preferred: "A".to_owned(),
            },
            replay: status::Replay {
                queue: "disk".to_owned(),
                owed: Pair::new(0, 1_234).into(),
                oldest_seconds: Pair::new(None, Some(61)).into(),
                dead_letters: self.dead.load(Ordering::Relaxed),
                bytes: 4_096,
                accepts: true,
            },
            clients: status::Clients { connections: 7 },
        }
    }

    fn ready(&self) -> Result<(), String> {
        if self.down.load(Ordering::Relaxed) {
            return Err("neither cluster can be reached".to_owned());
        }
        Ok(())
    }
}

/// A queue that holds nothing but dead letters.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    held: Mutex<BTreeMap<i64, DeadLetter>>,
    pub(crate) requeued: Mutex<Vec<i64>>,
    pub(crate) broken: AtomicBool,
}

impl Letters {
    fn up_to(last: i64) -> Self {
        let letter = |number: i64| DeadLetter {
            number,
            side: Side::B,
            reason: Parked::Refused,
            error: format!("unconfigured table t{number}"),
            parked_at: 1_700_000_000_000_000 + number,
            body: vec![0; 300].into(),
        };
        Self {
            held: Mutex::new((1..=last).map(|number| (number, letter(number))).collect()),
            ..Self::default()
        }
    }

    /// The numbers that are still dead letters.
    pub(crate) fn numbers(&self) -> Vec<i64> {
        self.held().keys().copied().collect()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, DeadLetter>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<T: Send + 'static>(&self, value: impl FnOnce(&Self) -> T) -> Answer<T> {
        let answer = if self.broken.load(Ordering::Relaxed) {
            Err(Refused::Store("disk full".to_owned()))
        } else {
            Ok(value(self))
        };
        Box::pin(std::future::ready(answer))
    }

    fn take(&self, numbers: &[i64]) -> Vec<i64> {
        let mut held = self.held();
        let taken = numbers
            .iter()
            .copied()
            .filter(|number| held.remove(number).is_some());
        taken.collect()
    }
}

impl Queue for Letters {
    fn next_seq(&self) -> Seq {
        Seq(0)
    }

    fn submit(&self, changes: &mut Vec<Change>) {
        changes.clear();
    }

    fn accepts(&self) -> bool {
        true
    }

    fn is_behind(&self, _side: Side) -> bool {
        false
    }

    fn lease(&self, _side: Side, _max: usize) -> Answer<Vec<Lease>> {
        self.answer(|_| Vec::new())
    }

    fn release(&self, _side: Side, _seqs: Vec<Seq>) {}

    fn wait(&self, _side: Side) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }

    fn depth(&self) -> Depth {
        let mut depth = Depth {
            owed: Pair::new(0, 5),
            oldest: Pair::new(None, Some(1_000_000)),
            ..Depth::default()
        };
        depth.dead = self.held().len() as u64;
        depth
    }

    fn dead_letters(&self, after: i64, max: usize) -> Answer<Vec<DeadLetter>> {
        self.answer(|queue| {
            let held = queue.held();
            held.range(after.saturating_add(1)..)
                .take(max)
                .map(|(_, letter)| letter.clone())
                .collect()
        })
    }

    fn requeue(&self, numbers: Vec<i64>) -> Answer<u64> {
        self.answer(|queue| {
            let taken = queue.take(&numbers);
            let count = taken.len() as u64;
            queue
                .requeued
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(taken);
            count
        })
    }

    fn purge(&self, numbers: Vec<i64>) -> Answer<u64> {
        self.answer(|queue| queue.take(&numbers).len() as u64)
    }

    fn close(&self) -> Answer<()> {
        self.answer(|_| ())
    }
}
