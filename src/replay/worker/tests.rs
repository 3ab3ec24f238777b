//! The worker over a memory queue and a cluster that is a closure; the clock is paused.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use tokio::task::LocalSet;

use crate::pair::{Pair, Sides};
use crate::replay::queue::Memory;
use crate::replay::record::{Child, Draft, Reason, Repeat};

use super::*;

/// Answers as the test says; remembers what it was sent.
struct Cluster<F> {
    sent: RefCell<Vec<(u64, bool)>>,
    answer: F,
}

impl<F: Fn(u64, bool) -> Option<Applied>> Apply for Rc<Cluster<F>> {
    async fn apply(&self, _: Side, record: Rc<Record>, shift: bool) -> Applied {
        self.sent.borrow_mut().push((record.partition, shift));
        match (self.answer)(record.partition, shift) {
            Some(applied) => applied,
            None => std::future::pending().await,
        }
    }
}

struct Stage {
    queue: Arc<dyn Queue>,
    metrics: Arc<Metrics>,
    up: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

impl Stage {
    fn new() -> Self {
        let capacity = NonZeroUsize::new(100_000).unwrap();
        let names = Pair::from_fn(|side| Some(format!("{side}")));
        Self {
            queue: Arc::new(Memory::new(capacity, || 0)),
            metrics: Arc::new(Metrics::new(names).unwrap()),
            up: watch::channel(true).0,
            stop: watch::channel(false).0,
        }
    }

    fn keep(&self, partition: u64, repeat: Repeat) {
        let body = body(partition, repeat);
        self.keep_bytes(body);
    }

    fn keep_bytes(&self, body: Vec<u8>) {
        let (seq, owes) = (self.queue.next_seq(), Sides::only(Side::B));
        let (live, sent) = (Sides::NONE, Sides::NONE);
        self.queue.submit(&mut vec![Change::Keep {
            seq,
            owes,
            live,
            sent,
            body,
            receipt: None,
        }]);
    }

    fn worker<F: Fn(u64, bool) -> Option<Applied>>(
        &self,
        answer: F,
    ) -> (Rc<Cluster<F>>, impl Future<Output = ()> + use<F>) {
        let cluster = Rc::new(Cluster {
            sent: RefCell::default(),
            answer,
        });
        let worker = Worker {
            side: Side::B,
            queue: Arc::clone(&self.queue),
            apply: Rc::clone(&cluster),
            limits: Limits::default(),
            timeout: Duration::from_secs(30),
            metrics: Arc::clone(&self.metrics),
            seed: 1,
        };
        (
            cluster,
            worker.run(self.up.subscribe(), self.stop.subscribe()),
        )
    }

    /// What the metric of this name and labels says.
    fn counted(&self, name: &str) -> u64 {
        let page = self.metrics.text().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// Lets the worker run for so long.
    async fn run(&self, worker: impl Future<Output = ()>, time: Duration) {
        let stop = async {
            tokio::time::sleep(time).await;
            self.stop.send_replace(true);
        };
        LocalSet::new()
            .run_until(async { tokio::join!(worker, stop) })
            .await;
    }
}

fn body(partition: u64, repeat: Repeat) -> Vec<u8> {
    of_reason(partition, repeat, Reason::Down)
}

fn of_reason(partition: u64, repeat: Repeat, reason: Reason) -> Vec<u8> {
    let child = Child {
        text: "UPDATE",
        keyspace: None,
        bind_types: 0,
        values: &[],
        count: 0,
        named: false,
    };
    let mut out = Vec::new();
    Draft {
        origin: "test",
        statements: &[child],
        consistency: 1,
        timestamp: Some(1),
        partition,
        reason,
        repeat,
        single_partition: true,
        ..Draft::default()
    }
    .encode(&mut out);
    out
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn debts_are_paid_until_none_is_left_and_new_ones_too() {
    let stage = Stage::new();
    (0..1_500).for_each(|partition| stage.keep(partition, Repeat::Yes));
    let (cluster, worker) = stage.worker(|_, _| Some(Applied::Done));
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        stage.keep(7, Repeat::Yes);
    };
    tokio::join!(stage.run(worker, MINUTE), late);
    assert_eq!(
        (cluster.sent.borrow().len(), stage.queue.depth().owed.b),
        (1_501, 0)
    );
    assert_eq!(
        stage.counted("helix_replay_success_total{cluster=\"B\"}"),
        1_501
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_side_is_down() {
    let stage = Stage::new();
    stage.up.send_replace(false);
    stage.keep(1, Repeat::Yes);
    let (cluster, worker) = stage.worker(|_, _| Some(Applied::Done));
    let back = async {
        tokio::time::sleep(10 * MINUTE).await;
        assert_eq!(stage.queue.depth().owed.b, 1);
        stage.up.send_replace(true);
    };
    tokio::join!(stage.run(worker, 11 * MINUTE), back);
    assert_eq!(*cluster.sent.borrow(), [(1, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_cluster_is_asked_again_after_the_timeout() {
    let stage = Stage::new();
    stage.keep(1, Repeat::Yes);
    let tries = RefCell::new(0);
    let (_, worker) = stage.worker(|_, _| {
        *tries.borrow_mut() += 1;
        (*tries.borrow() == 3).then_some(Applied::Done)
    });
    stage.run(worker, 2 * MINUTE).await;
    assert_eq!(
        (
            stage.queue.depth().owed.b,
            stage.counted("helix_replay_errors_total{cluster=\"B\"}")
        ),
        (0, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn poison_is_parked_with_its_error_and_blocks_nobody() {
    let stage = Stage::new();
    stage.keep(1, Repeat::Yes);
    stage.keep_bytes(b"garbage".to_vec());
    stage.keep(2, Repeat::No);
    stage.keep(3, Repeat::Yes);
    stage.keep(4, Repeat::Yes);
    let (cluster, worker) = stage.worker(|partition, _| {
        Some(match partition {
            1 => Applied::Refused("unconfigured table".into()),
            2 => Applied::Maybe("lost".into()),
            3 => Applied::Unfit("dropped and made again".into()),
            _ => Applied::Done,
        })
    });
    stage.run(worker, 15 * MINUTE).await;
    assert!(cluster.sent.borrow().contains(&(4, false)));
    let letters = stage.queue.dead_letters(0, 10).await.unwrap();
    let mut letters: Vec<_> = letters
        .iter()
        .map(|letter| (letter.reason.label(), letter.error.as_str()))
        .collect();
    letters.sort_unstable();
    assert_eq!(
        letters,
        [
            ("ambiguous", "lost"),
            (
                "malformed",
                "the record is of version 103; this program reads version 1"
            ),
            ("refused", "unconfigured table"),
            ("schema_changed", "dropped and made again"),
        ]
    );
    assert_eq!(stage.queue.depth().owed.b, 0);
    for reason in ["ambiguous", "malformed", "refused", "schema_changed"] {
        let name = format!("helix_replay_parked_total{{reason=\"{reason}\"}}");
        assert_eq!(stage.counted(&name), 1);
    }
    // Refused again and again until it was parked.
    let diverged = "helix_divergence_total{cluster=\"B\"}";
    assert_eq!(stage.counted(diverged), 1);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_to_be_allowed_is_never_sent_until_an_operator_vouches_for_it() {
    let stage = Stage::new();
    stage.keep(1, Repeat::Yes);
    for (partition, repeat) in [(1, Repeat::Yes), (2, Repeat::No), (3, Repeat::Shifted)] {
        stage.keep_bytes(of_reason(partition, repeat, Reason::Unproven));
    }
    let (cluster, worker) = stage.worker(|_, _| Some(Applied::Done));
    stage.run(worker, MINUTE).await;
    assert_eq!(*cluster.sent.borrow(), [(1, false)]);
    let letters = stage.queue.dead_letters(0, 10).await.unwrap();
    let forbidden = |it: &crate::replay::DeadLetter| it.reason == Parked::Forbidden;
    assert!(letters.len() == 3 && letters.iter().all(forbidden));

    let numbers = letters.iter().map(|it| it.number).collect();
    assert_eq!(stage.queue.requeue(numbers).await, Ok(3));
    stage.stop.send_replace(false);
    let (cluster, worker) = stage.worker(|_, _| Some(Applied::Done));
    stage.run(worker, MINUTE).await;
    let mut sent = cluster.sent.take();
    sent.sort_unstable();
    assert_eq!(sent, [(1, false), (2, false), (3, false)]);
}

/// What the log wrote.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn many_dead_letters_are_one_line_of_the_log_without_a_value() {
    let (stage, paper) = (Stage::new(), Paper::default());
    let sheet = paper.clone();
    let log = tracing_subscriber::fmt()
        .with_writer(move || sheet.clone())
        .finish();
    let log = tracing::subscriber::set_default(log);
    for partition in 0..100 {
        stage.keep(partition, Repeat::Yes);
    }
    let unfit = |_, _| Some(Applied::Unfit("bad input 'secret'".into()));
    let (_cluster, worker) = stage.worker(unfit);
    stage.run(worker, Duration::from_secs(5)).await;
    drop(log);

    let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    let lines = written.lines().filter(|line| line.contains("dead letter"));
    assert_eq!(lines.count(), 1, "{written}");
    assert!(!written.contains("secret"), "{written}");
    assert_eq!(stage.queue.depth().dead, 100);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_first_try_is_in_doubt_is_shifted() {
    let stage = Stage::new();
    stage.keep(1, Repeat::Shifted);
    let (cluster, worker) = stage.worker(|_, shift| {
        Some(if shift {
            Applied::Done
        } else {
            Applied::Maybe("lost".into())
        })
    });
    stage.run(worker, MINUTE).await;
    assert_eq!(*cluster.sent.borrow(), [(1, false), (1, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_or_dropped_worker_gives_its_leases_back() {
    let stage = Stage::new();
    (0..50).for_each(|partition| stage.keep(partition, Repeat::Yes));
    let (_, worker) = stage.worker(|_, _| None);
    stage.run(worker, Duration::from_secs(5)).await;
    assert_eq!(stage.queue.lease(Side::B, 100).await.unwrap().len(), 50);

    let stage = Stage::new();
    (0..50).for_each(|partition| stage.keep(partition, Repeat::Yes));
    let (_, worker) = stage.worker(|_, _| None);
    let short = tokio::time::timeout(Duration::from_secs(5), worker);
    LocalSet::new().run_until(short).await.unwrap_err();
    assert_eq!(stage.queue.lease(Side::B, 100).await.unwrap().len(), 50);
}
