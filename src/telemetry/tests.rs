//! The metrics as a scraper sees them.

use std::time::Duration;

use super::{BreakerState, Metrics, RequestKind, Sample};
use crate::pair::{Pair, Side};

#[test]
fn every_name_is_shown_from_the_start_in_one_order() {
    let text = two_clusters().text().expect("a page");
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();

    assert_eq!(names, NAMES);
}

#[test]
fn what_the_threads_count_is_summed() {
    let metrics = two_clusters();
    let (one, other) = (metrics.worker(), metrics.worker());
    one.read_done(Side::A, Duration::from_micros(100), true);
    other.read_done(Side::A, Duration::from_millis(3), false);
    one.client_request(RequestKind::Write);
    other.client_request(RequestKind::Write);

    let text = metrics.text().expect("a page");
    for line in [
        r#"helix_read_total{cluster="east"} 2"#,
        r#"helix_read_total{cluster="west"} 0"#,
        r#"helix_read_errors_total{cluster="east"} 1"#,
        r#"helix_read_duration_seconds_bucket{cluster="east",le="0.0001"} 1"#,
        r#"helix_read_duration_seconds_bucket{cluster="east",le="0.0025"} 1"#,
        r#"helix_read_duration_seconds_bucket{cluster="east",le="0.005"} 2"#,
        r#"helix_read_duration_seconds_bucket{cluster="east",le="+Inf"} 2"#,
        r#"helix_read_duration_seconds_sum{cluster="east"} 0.0031"#,
        r#"helix_read_duration_seconds_count{cluster="east"} 2"#,
        r#"helix_client_requests_total{kind="write"} 2"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
}

#[test]
fn each_event_has_its_own_counter() {
    let metrics = two_clusters();
    let worker = metrics.worker();
    worker.write_done(Side::B, Duration::from_secs(11), false);
    worker.failed_over(Side::B);
    worker.stale_avoided(Side::B);
    worker.read_behind(Side::B);
    worker.diverged(Side::B);
    worker.copy_kept(Side::B);
    worker.copy_refused(Side::B);
    worker.journalled();
    worker.acked_unqueued();
    worker.clock_unreserved();
    worker.client_error(0x1001);
    worker.client_error(0x7777);
    worker.conditional_not_copied();
    worker.per_server_value();
    worker.unknown_statement();
    worker.unprepared(Side::A);
    worker.answer_orphaned(Side::A);
    worker.login_refused(Side::A);
    metrics.breaker_tripped(Side::B);
    metrics.replay_applied(Side::B, Duration::from_millis(1));
    metrics.replay_failed(Side::B);
    metrics.parked("refused");

    let text = metrics.text().expect("a page");
    let mut ones: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_suffix(" 1"))
        .collect();
    ones.retain(|line| !line.contains("_bucket") && !line.contains("_build_info"));
    assert_eq!(ones, ONES);
}

#[test]
fn connections_go_up_and_down_over_threads() {
    let metrics = two_clusters();
    let (one, other) = (metrics.worker(), metrics.worker());
    one.client_connected();
    one.client_connected();
    other.client_connected();
    one.client_gone();
    one.backend_connected(Side::A);
    one.backend_connected(Side::B);
    one.backend_gone(Side::B);

    let text = metrics.text().expect("a page");
    assert_eq!(metrics.client_connections(), 2);
    assert!(text.contains("helix_client_connections 2\n"), "{text}");
    assert!(
        text.contains("helix_backend_connections{cluster=\"east\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("helix_backend_connections{cluster=\"west\"} 0\n"),
        "{text}"
    );
}

#[test]
fn depths_and_states_are_looked_at_when_asked() {
    let metrics = two_clusters();
    metrics.sample_with(|| Sample {
        owed: Pair::new(0, 7),
        oldest_age: Pair::new(None, Some(Duration::from_millis(2_500))),
        breaker: Pair::new(BreakerState::HalfOpen, BreakerState::Open),
        dead_letters: 3,
        queue_bytes: 4_096,
        prepared_statements: 12,
    });

    let text = metrics.text().expect("a page");
    for line in [
        "helix_replay_queue_depth{cluster=\"west\"} 7\n",
        "helix_replay_oldest_age_seconds{cluster=\"east\"} 0\n",
        "helix_replay_oldest_age_seconds{cluster=\"west\"} 2.5\n",
        "helix_circuit_breaker_state{cluster=\"east\"} 1\n",
        "helix_circuit_breaker_state{cluster=\"west\"} 2\n",
        "helix_replay_dead_letters 3\n",
        "helix_replay_queue_bytes 4096\n",
        "helix_prepared_statements 12\n",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn a_side_that_is_not_configured_has_no_metrics() {
    let metrics = Metrics::new(Pair::new(Some("only".to_owned()), None)).expect("metrics");
    let worker = metrics.worker();
    worker.read_done(Side::A, Duration::ZERO, true);

    let text = metrics.text().expect("a page");
    assert!(
        text.contains("helix_read_total{cluster=\"only\"} 1\n"),
        "{text}"
    );
    assert_eq!(text.matches("helix_read_total{").count(), 1);
    assert!(!text.contains("helix_failover_total"), "{text}");
}

fn two_clusters() -> Metrics {
    let names = Pair::new(Some("east".to_owned()), Some("west".to_owned()));
    Metrics::new(names).expect("metrics")
}

const ONES: &[&str] = &[
    "helix_ack_unqueued_total",
    r#"helix_circuit_breaker_trips_total{cluster="west"}"#,
    r#"helix_client_errors_total{code="other"}"#,
    r#"helix_client_errors_total{code="overloaded"}"#,
    "helix_clock_unreserved_total",
    "helix_conditional_total",
    r#"helix_divergence_total{cluster="west"}"#,
    r#"helix_failover_total{from="west",to="east"}"#,
    "helix_journal_writes_total",
    r#"helix_logins_refused_total{cluster="east"}"#,
    r#"helix_orphaned_answers_total{cluster="east"}"#,
    "helix_per_server_values_total",
    r#"helix_reads_behind_total{cluster="west"}"#,
    r#"helix_replay_dropped_total{cluster="west"}"#,
    r#"helix_replay_duration_seconds_count{cluster="west"}"#,
    r#"helix_replay_enqueued_total{cluster="west"}"#,
    r#"helix_replay_errors_total{cluster="west"}"#,
    r#"helix_replay_parked_total{reason="refused"}"#,
    r#"helix_replay_success_total{cluster="west"}"#,
    r#"helix_stale_avoided_total{cluster="west"}"#,
    "helix_unknown_statements_total",
    r#"helix_unprepared_total{cluster="east"}"#,
    r#"helix_write_duration_seconds_count{cluster="west"}"#,
    r#"helix_write_errors_total{cluster="west"}"#,
    r#"helix_write_total{cluster="west"}"#,
];

const NAMES: &[&str] = &[
    "helix_ack_unqueued_total counter",
    "helix_backend_connections gauge",
    "helix_build_info gauge",
    "helix_circuit_breaker_state gauge",
    "helix_circuit_breaker_trips_total counter",
    "helix_client_connections gauge",
    "helix_client_errors_total counter",
    "helix_client_requests_total counter",
    "helix_clock_unreserved_total counter",
    "helix_conditional_total counter",
    "helix_divergence_total counter",
    "helix_failover_total counter",
    "helix_journal_writes_total counter",
    "helix_logins_refused_total counter",
    "helix_orphaned_answers_total counter",
    "helix_per_server_values_total counter",
    "helix_prepared_statements gauge",
    "helix_read_duration_seconds histogram",
    "helix_read_errors_total counter",
    "helix_read_total counter",
    "helix_reads_behind_total counter",
    "helix_replay_dead_letters gauge",
    "helix_replay_dropped_total counter",
    "helix_replay_duration_seconds histogram",
    "helix_replay_enqueued_total counter",
    "helix_replay_errors_total counter",
    "helix_replay_oldest_age_seconds gauge",
    "helix_replay_parked_total counter",
    "helix_replay_queue_bytes gauge",
    "helix_replay_queue_depth gauge",
    "helix_replay_success_total counter",
    "helix_stale_avoided_total counter",
    "helix_unknown_statements_total counter",
    "helix_unprepared_total counter",
    "helix_write_duration_seconds histogram",
    "helix_write_errors_total counter",
    "helix_write_total counter",
];
