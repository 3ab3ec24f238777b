//! Writes that a side missed while the queue takes no records: what the client hears, and what is known of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_proxy::cluster::ProtocolMax;
use helix_proxy::dispatch::news::Reporter;
use helix_proxy::dispatch::schema::{Changer, Job};
use helix_proxy::dispatch::versions::Versions;
use helix_proxy::dispatch::{Error, Shared};
use helix_proxy::pair::{Pair, Sides};
use helix_proxy::replay::Queue;
use helix_proxy::statement::classify_in;
use helix_proxy::wire::Version;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::stage::{Mood, OVERLOADED, READ, WRITE, staged};

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
