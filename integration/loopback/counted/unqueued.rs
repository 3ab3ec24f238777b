//! Writes that a side missed while the queue takes no records: what the client hears, and what is known of it.

use std::future::pending;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use helix_proxy::cluster::ProtocolMax;
use helix_proxy::dispatch::news::Reporter;
use helix_proxy::dispatch::schema::{Changer, Job};
use helix_proxy::dispatch::versions::Versions;
use helix_proxy::dispatch::{Error, Shared};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{Journal, View, Writes};
use helix_proxy::replay::queue::Memory;
use helix_proxy::replay::{Answer, Change, DeadLetter, Depth, Lease, Queue, Receipt, Seq};
use helix_proxy::statement::classify_in;
use helix_proxy::wire::Version;
use tokio::io::AsyncWriteExt;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::stage::{
    LONG, Mood, OVERLOADED, READ, Stage, WRITE, WRITE_TIMEOUT, anyway, frame, play, query, staged,
    staged_over,
};

#[tokio::test]
async fn a_side_whose_debt_no_queue_takes_is_not_read_while_the_other_is_fresh() {
    staged(10, async |mut stage| {
        refuses(&stage.shared).await;
        a_misses_a_write_and_is_not_read(&mut stage).await;
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
        b_still_owes(&stage.shared).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_dropped_or_truncated_while_a_record_is_on_its_way_to_a_slow_disk() {
    let queue = Arc::new(Hung::default());
    let slow: Arc<dyn Queue> = Arc::<Hung>::clone(&queue);
    play(slow, (Writes::default(), LONG), async |mut stage| {
        stage.moods.b.set(Mood::Error(OVERLOADED));
        stage.client.write_all(&query(WRITE)).await.unwrap();
        queue.holds(1).await;
        b_still_owes(&stage.shared).await;

        // From here on the queue itself says who owes what; this one never does.
        queue.vouches();
        assert_eq!(frame(&mut stage.client).await.unwrap().0[4], 0x08);
        let admitted = change(&stage.shared, "DROP TABLE ks.t").await.unwrap_err();
        assert!(matches!(admitted, Error::Unreachable), "{admitted:?}");
    })
    .await;
}

#[tokio::test]
async fn a_side_that_goes_while_its_record_is_written_is_told_as_that_and_not_as_the_queues_fault()
{
    let queue = Arc::new(Hung::default());
    let slow: Arc<dyn Queue> = Arc::<Hung>::clone(&queue);
    play(slow, (Writes::default(), LONG), async |mut stage| {
        let out = |side| move |view: &mut View| view.out = Sides::only(side);
        stage.view.send_modify(out(Side::B));
        stage.client.write_all(&query(WRITE)).await.unwrap();
        queue.holds(1).await;
        stage.view.send_modify(out(Side::A));
        tokio::task::yield_now().await;
        queue.vouches();
        let told = "no cluster can be reached; nothing was applied";
        assert_eq!(stage.error().await, (OVERLOADED, told.to_owned()));
        assert_eq!(stage.asked.a.get() + stage.asked.b.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn by_ack_anyway_a_disk_that_hangs_costs_time_and_no_error() {
    staged_over(Arc::<Hung>::default(), anyway(), async |mut stage| {
        a_misses_a_write_and_is_not_read(&mut stage).await;
    })
    .await;
}

#[tokio::test]
async fn by_fail_write_no_write_is_acknowledged_whose_record_is_nowhere_durable() {
    let queues: [Arc<dyn Queue>; 2] = [Arc::new(full()), Arc::<Hung>::default()];
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
    let queues: [Arc<dyn Queue>; 2] = [Arc::new(full()), Arc::<Hung>::default()];
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

async fn a_misses_a_write_and_is_not_read(stage: &mut Stage) {
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

/// A queue on a disk that hangs: it takes all and says nothing, unless it is told to.
#[derive(Debug, Default)]
struct Hung(Mutex<Vec<Receipt>>);

impl Hung {
    /// Returns once so many records wait for its word.
    async fn holds(&self, records: usize) {
        while self.0.lock().unwrap().len() != records {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All that it has is durable.
    fn vouches(&self) {
        for receipt in self.0.lock().unwrap().drain(..) {
            receipt.to.put([(receipt.ticket, Ok(()))]);
        }
    }
}

impl Queue for Hung {
    fn next_seq(&self) -> Seq {
        Seq(1)
    }

    fn submit(&self, changes: &mut Vec<Change>) {
        let receipt = |change| match change {
            Change::Keep { receipt, .. } => receipt,
            _ => None,
        };
        let asked = changes.drain(..).filter_map(receipt);
        self.0.lock().unwrap().extend(asked);
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

/// B's debt is known of, wherever it is.
async fn b_still_owes(shared: &Arc<Shared>) {
    for text in ["DROP TABLE ks.t", "TRUNCATE ks.t"] {
        let refused = change(shared, text).await.unwrap_err();
        let why = "cluster B still owes";
        let is_told = matches!(&refused, Error::SchemaRefused(it) if it.starts_with(why));
        assert!(is_told, "{text}: {refused:?}");
    }
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
