//! Which side is asked when, and of whom every good answer is told.

use std::time::Duration;

use helix_proxy::dispatch::Deadlines;
use helix_proxy::pair::{Side, Sides};
use helix_proxy::policy::Report;
use tokio::io::AsyncWriteExt;

use super::stage::{LONG, Mood, OVERLOADED, READ, SHORT, WRITE, frame, query, staged, synced};

const UNKNOWN: &str = "FROBNICATE ks.t";

#[tokio::test]
async fn by_sync_a_first_that_is_silent_or_lost_costs_a_record_not_the_write() {
    for (first, mood) in [
        (Side::A, Mood::Silent),
        (Side::B, Mood::Silent),
        (Side::A, Mood::Gone),
        (Side::B, Mood::Gone),
    ] {
        synced(first, SHORT, async |mut stage| {
            stage.moods[first].set(mood);
            for write in 1..=3 {
                assert_eq!(stage.query(WRITE).await, 0x08);
                assert_eq!(stage.asked[!first].get(), write);
            }
            let errors = format!(r#"helix_write_errors_total{{cluster="{first}"}} 3"#);
            stage.shows(&[&errors]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn by_sync_the_second_is_asked_while_a_slow_first_is_still_waited_for() {
    let deadlines = Deadlines {
        write: Duration::from_secs(2),
        ..LONG
    };
    for first in Side::ALL {
        synced(first, deadlines, async |mut stage| {
            stage.moods[first].set(Mood::Held);
            stage.client.write_all(&query(WRITE)).await.unwrap();
            stage.reached(!first, 1).await;
            stage.moods[first].set(Mood::Done);
            assert_eq!(frame(&mut stage.client).await.unwrap().0[4], 0x08);
            let both = |line: &str| Side::ALL.map(|side| line.replace('?', side.label()));
            for line in both(r#"helix_write_total{cluster="?"} 1"#) {
                stage.shows(&[&line]).await;
            }
            for line in both(r#"helix_write_errors_total{cluster="?"} 0"#) {
                stage.shows(&[&line]).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_still_to_go_to_a_side_does_not_once_its_breaker_opened() {
    synced(Side::A, LONG, async |mut stage| {
        let write = stage.opened_meanwhile(WRITE, Mood::Done).await;
        assert_eq!((write, stage.asked.b.get()), (0x08, 0), "a write by sync");
        let read = stage.opened_meanwhile(READ, Mood::Error(OVERLOADED)).await;
        assert_eq!((read, stage.asked.b.get()), (0x00, 0), "a read");
        let unknown = stage.opened_meanwhile(UNKNOWN, Mood::Done).await;
        assert_eq!((unknown, stage.asked.b.get()), (0x00, 0), "a text");
    })
    .await;
}

#[tokio::test]
async fn of_a_doubted_side_one_good_answer_is_told_each_view_whoever_heard_the_bad_ones() {
    staged(10, async |mut stage| {
        assert_eq!(stage.query(WRITE).await, 0x08);
        assert!(stage.reports.try_recv().is_err(), "nothing is told usually");
        let doubted = Sides::only(Side::B);
        for _view in 0..3 {
            stage.view.send_modify(|view| view.doubted = doubted);
            for _write in 0..3 {
                assert_eq!(stage.query(WRITE).await, 0x08);
            }
            assert_eq!(stage.reports.try_recv(), Ok((Side::B, Report::Success)));
            assert!(stage.reports.try_recv().is_err(), "it is told already");
        }
    })
    .await;
}

#[tokio::test]
async fn a_good_answer_that_nobody_had_room_for_is_told_with_the_next() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(WRITE).await, 0x08);
        let noise = (Side::A, Report::Strike);
        while stage.shared.reports.try_send(noise).is_ok() {}
        stage.moods.b.set(Mood::Done);
        assert_eq!(stage.query(WRITE).await, 0x08);
        while let Ok(told) = stage.reports.try_recv() {
            assert_ne!(told, (Side::B, Report::Success));
        }
        assert_eq!(stage.query(WRITE).await, 0x08);
        assert_eq!(stage.reports.try_recv(), Ok((Side::B, Report::Success)));
    })
    .await;
}
