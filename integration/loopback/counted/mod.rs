//! What a worker thread counts, over two clusters that fail as the test says.
//!
//! The clock is real, as in all that has sockets; deadlines are short and checks are generous.

mod order;
mod stage;
mod statements;
mod unqueued;

use helix_proxy::pair::Side;
use helix_proxy::policy::Report;
use stage::{
    CONDITIONAL, INVALID, Mood, OVERLOADED, READ, SERVER_ERROR, UNAVAILABLE, WRITE, WRITE_TIMEOUT,
    frame, query, staged,
};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_side_that_is_silent_until_the_deadline_has_failed_the_write() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Silent);
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage
            .shows(&[
                r#"helix_write_total{cluster="A"} 1"#,
                r#"helix_write_errors_total{cluster="A"} 0"#,
                r#"helix_write_total{cluster="B"} 1"#,
                r#"helix_write_errors_total{cluster="B"} 1"#,
                r#"helix_write_duration_seconds_bucket{cluster="B",le="0.1"} 0"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_has_failed_what_was_sent_on_it() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Gone);
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage
            .shows(&[
                r#"helix_write_errors_total{cluster="B"} 1"#,
                r#"helix_write_total{cluster="B"} 1"#,
                r#"helix_backend_connections{cluster="A"} 1"#,
                r#"helix_backend_connections{cluster="B"} 0"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_one_strike_however_many_waited_on_it() {
    staged(20, async |mut stage| {
        // Both sides have a connection before B hangs up.
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.moods.b.set(Mood::Gone);
        let burst = query(WRITE).repeat(10);
        stage.client.write_all(&burst).await.unwrap();
        for _write in 0..10 {
            assert_eq!(frame(&mut stage.client).await.unwrap().0[4], 0x08);
        }
        stage
            .shows(&[r#"helix_write_errors_total{cluster="B"} 10"#])
            .await;
        let mut strikes = 0;
        while let Ok((side, report)) = stage.reports.try_recv() {
            assert_eq!((side, report), (Side::B, Report::Strike));
            strikes += 1;
        }
        assert_eq!(strikes, 1);
    })
    .await;
}

#[tokio::test]
async fn a_conditional_that_may_have_been_applied_is_told_so_and_never_as_overloaded() {
    let moods = [
        Mood::Error(OVERLOADED),
        Mood::Error(UNAVAILABLE),
        Mood::Error(SERVER_ERROR),
        Mood::Gone,
        Mood::Nonsense,
        Mood::Silent,
        Mood::Stray,
    ];
    for mood in moods {
        staged(10, async |mut stage| {
            stage.moods.a.set(mood);
            assert_eq!(stage.refused(CONDITIONAL).await, WRITE_TIMEOUT);
            stage.moods.a.set(Mood::Error(INVALID));
            // Whatever became of the connection, what is refused for good is told as it is.
            let told = stage.refused(CONDITIONAL).await;
            assert!([INVALID, OVERLOADED].contains(&told), "{told:#x}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_of_another_version_or_kind_is_no_acknowledgement() {
    for mood in [Mood::Stray, Mood::Nonsense] {
        staged(10, async |mut stage| {
            stage.moods.a.set(mood);
            stage.moods.b.set(mood);
            assert_eq!(stage.refused(WRITE).await, WRITE_TIMEOUT);
        })
        .await;
    }
}

#[tokio::test]
async fn a_silent_side_is_struck_by_reads_that_move_on() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Silent);
        assert_eq!(stage.query(READ).await, 0x08);
        let report = stage.reports.try_recv();
        assert_eq!(report, Ok((Side::A, Report::Strike)));
    })
    .await;
}

#[tokio::test]
async fn a_read_that_moves_counts_as_failover_and_as_failed_where_it_was() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(READ).await, 0x08);
        stage
            .shows(&[
                r#"helix_failover_total{from="A",to="B"} 1"#,
                r#"helix_failover_total{from="B",to="A"} 0"#,
                r#"helix_read_errors_total{cluster="A"} 1"#,
                r#"helix_read_errors_total{cluster="B"} 0"#,
                r#"helix_read_total{cluster="B"} 1"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_read_that_nobody_answers_has_failed_where_it_waited() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Silent);
        stage.moods.b.set(Mood::Silent);
        assert_eq!(stage.query(READ).await, 0x00);
        stage
            .shows(&[r#"helix_read_errors_total{cluster="A"} 1"#])
            .await;
    })
    .await;
}

#[tokio::test]
async fn what_one_side_refuses_for_good_and_the_other_accepts_is_a_divergence() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Error(INVALID));
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage
            .shows(&[
                r#"helix_divergence_total{cluster="A"} 0"#,
                r#"helix_divergence_total{cluster="B"} 1"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_acknowledged_write_whose_record_was_refused_is_counted() {
    staged(1, async |mut stage| {
        stage.moods.b.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.shows(&["helix_ack_unqueued_total 0"]).await;
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.shows(&["helix_ack_unqueued_total 1"]).await;
    })
    .await;
}

#[tokio::test]
async fn an_error_that_is_passed_on_is_counted_once() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Error(INVALID));
        stage.moods.b.set(Mood::Error(INVALID));
        assert_eq!(stage.query(WRITE).await, 0x00);
        stage
            .shows(&[
                r#"helix_client_errors_total{code="invalid"} 1"#,
                r#"helix_divergence_total{cluster="A"} 0"#,
                r#"helix_divergence_total{cluster="B"} 0"#,
            ])
            .await;
    })
    .await;
}
