//! Writes that a side missed while the queue takes no records: what the client hears, and what is known of it.

use std::future::pending;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_proxy::cluster::ProtocolMax;
use helix_proxy::dispatch::news::Reporter;
use helix_proxy::dispatch::schema::{Changer, Job};
use helix_proxy::dispatch::versions::Versions;
use helix_proxy::dispatch::{Error, Shared};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{Journal, OnQueueFailure, Writes};
use helix_proxy::replay::queue::Memory;
use helix_proxy::replay::{Answer, Change, DeadLetter, Depth, Lease, Queue, Seq};
use helix_proxy::statement::classify_in;
use helix_proxy::wire::Version;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::stage::{Mood, OVERLOADED, READ, WRITE, WRITE_TIMEOUT, staged, staged_over};

#[tokio::test]
async fn a_side_whose_debt_no_queue_takes_is_not_read_while_the_other_is_fresh() {
    staged(10, async |mut stage| {
        refuses(&stage.shared).await;
        stage.moods.a.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.moods.a.set(Mood::Done);
        assert_eq!(stage.query(READ).await, 0x08);
        stage
            .shows(&[
                "helix_ack_unqueued_total 1",
                r#"helix_read_total{cluster="A"} 0"#,
                r#"helix_read_total{cluster="B"} 1"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_dropped_or_truncated_while_a_debt_waits_that_no_queue_takes() {
    staged(10, async |mut stage| {
        refuses(&stage.shared).await;
        for text in ["DROP TABLE ks.t", "TRUNCATE ks.t"] {
            let admitted = change(&stage.shared, text).await.unwrap_err();
            assert!(matches!(admitted, Error::Unreachable), "{admitted:?}");
        }
        stage.moods.b.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(WRITE).await, 0x08);
        for text in ["DROP TABLE ks.t", "TRUNCATE ks.t"] {
            let refused = change(&stage.shared, text).await.unwrap_err();
            let Error::SchemaRefused(why) = refused else {
                panic!("{text}: {refused:?}")
            };
            assert!(why.starts_with("cluster B still owes"), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn by_ack_anyway_a_disk_that_hangs_costs_time_and_no_error() {
    let writes = Writes {
        on_queue_failure: OnQueueFailure::AckAnyway,
        ..Writes::default()
    };
    staged_over(Arc::new(Hung), writes, async |mut stage| {
        stage.moods.a.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.moods.a.set(Mood::Done);
        assert_eq!(stage.query(READ).await, 0x08);
        stage
            .shows(&[
                "helix_ack_unqueued_total 1",
                r#"helix_read_total{cluster="A"} 0"#,
                r#"helix_read_total{cluster="B"} 1"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn by_fail_write_no_write_is_acknowledged_whose_record_is_nowhere_durable() {
    let queues: [Arc<dyn Queue>; 2] = [Arc::new(full()), Arc::new(Hung)];
    for queue in queues {
        staged_over(queue, Writes::default(), async |mut stage| {
            stage.moods.b.set(Mood::Error(OVERLOADED));
            // It is on A, so nothing that drivers take for leave to repeat it.
            assert_eq!(stage.refused(WRITE).await, WRITE_TIMEOUT);
            stage.moods.b.set(Mood::Done);
            assert_eq!(stage.query(WRITE).await, 0x08, "no record is needed");
            let untold = "helix_ack_unqueued_total 0";
            let sent = r#"helix_write_total{cluster="A"} 2"#;
            stage.shows(&[untold, sent]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn by_fail_write_what_must_be_durable_first_is_refused_before_anything_is_sent() {
    let queues: [Arc<dyn Queue>; 2] = [Arc::new(full()), Arc::new(Hung)];
    for queue in queues {
        let writes = Writes {
            journal: Journal::Always,
            ..Writes::default()
        };
        staged_over(queue, writes, async |mut stage| {
            assert_eq!(stage.refused(WRITE).await, OVERLOADED);
            assert_eq!(stage.query(READ).await, 0x08);
            let lines = Side::ALL.map(|side| format!(r#"helix_write_total{{cluster="{side}"}} 0"#));
            let lines = lines.each_ref().map(String::as_str);
            stage.shows(&lines).await;
        })
        .await;
    }
}

/// A queue for one record, which it has.
fn full() -> Memory {
    let queue = Memory::new(NonZeroUsize::MIN, || 0);
    let keep = Change::Keep {
        seq: queue.next_seq(),
        owes: Sides::only(Side::A),
        live: Sides::only(Side::B),
        sent: Sides::NONE,
        body: Vec::new(),
        receipt: None,
    };
    queue.submit(&mut vec![keep]);
    assert!(!queue.accepts());
    queue
}

/// A queue on a disk that hangs: it takes all and says nothing.
#[derive(Debug)]
struct Hung;

impl Queue for Hung {
    fn next_seq(&self) -> Seq {
        Seq(1)
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
        Box::pin(pending())
    }

    fn release(&self, _side: Side, _seqs: Vec<Seq>) {}

    fn wait(&self, _side: Side) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(pending())
    }

    fn depth(&self) -> Depth {
        Depth::default()
    }

    fn dead_letters(&self, _after: i64, _max: usize) -> Answer<Vec<DeadLetter>> {
        Box::pin(pending())
    }

    fn requeue(&self, _numbers: Vec<i64>) -> Answer<u64> {
        Box::pin(pending())
    }

    fn purge(&self, _numbers: Vec<i64>) -> Answer<u64> {
        Box::pin(pending())
    }

    fn close(&self) -> Answer<()> {
        Box::pin(pending())
    }
}

/// From here on the queue takes nothing.
async fn refuses(shared: &Shared) {
    let queue: &Arc<dyn Queue> = shared.queue.as_ref().unwrap();
    queue.close().await.unwrap();
    assert!(!queue.accepts());
}

/// Asks for a schema change where neither cluster can be reached: what is admitted fails as that.
async fn change(shared: &Arc<Shared>, text: &str) -> Result<(), Error> {
    let versions = Versions::new(ProtocolMax::default(), Sides::BOTH, Pair::default());
    let connected = watch::Sender::new(Pair::from_fn(|_side| true));
    let seen = connected.subscribe();
    let reporter = Reporter::new(
        Arc::clone(shared),
        versions,
        Pair::default(),
        connected,
        watch::Sender::new(0),
        broadcast::channel(1).0,
    );
    let changer = Changer::new(Arc::clone(shared), Pair::default(), reporter, seen);
    let (jobs, taken) = mpsc::channel(1);
    let (done, outcome) = oneshot::channel();
    let job = Job {
        version: Version::V4,
        body: Vec::new(),
        flags: 0,
        keyspace: None,
        statement: Arc::new(classify_in(text, None)),
        role: None,
        until: Instant::now() + Duration::from_secs(60),
        done,
    };
    assert!(jobs.send(job).await.is_ok());
    drop(jobs);
    changer.run(taken).await;
    outcome.await.unwrap().map(|_reply| ())
}
