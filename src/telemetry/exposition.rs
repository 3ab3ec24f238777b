//! The names under which everything counted is shown: Helix's own, and ours beside them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::cell::{BOUNDS, Durations, Spread};
use super::metrics::Sources;
use super::sample::Sample;
use super::worker::{Cells, ERRORS, RequestKind, SideCells};
use crate::pair::Side;

/// Gathers all counters at a scrape.
pub(super) struct Exposition {
    sources: Arc<Sources>,
    descriptions: Vec<Desc>,
}

impl Exposition {
    /// Over these sources.
    pub(super) fn new(sources: Arc<Sources>) -> Result<Self, prometheus::Error> {
        let page = Page::of(&sources);
        let descriptions = page
            .families
            .iter()
            .map(describe)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sources,
            descriptions,
        })
    }
}

impl Collector for Exposition {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        Page::of(&self.sources).families
    }
}

fn describe(family: &MetricFamily) -> Result<Desc, prometheus::Error> {
    let first = family.get_metric().first();
    let labels = first.map_or(&[][..], Metric::get_label);
    Desc::new(
        family.name().to_owned(),
        family.help().to_owned(),
        labels.iter().map(|label| label.name().to_owned()).collect(),
        HashMap::new(),
    )
}

/// The page while it is being written.
struct Page<'a> {
    sources: &'a Sources,
    families: Vec<MetricFamily>,
}

impl<'a> Page<'a> {
    fn of(sources: &'a Sources) -> Self {
        let families = Vec::with_capacity(64);
        let mut page = Self { sources, families };
        page.reads();
        page.writes();
        page.replay();
        page.clients();
        page.statements();
        page.backends();
        page.look(
            &sources
                .sampler
                .get()
                .map_or_else(Sample::default, |look| look()),
        );
        page.build();
        page
    }

    fn reads(&mut self) {
        self.histogram(
            "helix_read_duration_seconds",
            "Reads by the time to this cluster's own end, answered or not.",
            |s| &s.reads,
        );
        self.counted(
            "helix_read_total",
            "Reads asked of a cluster and ended, answered or not.",
            |s| &s.reads,
        );
        self.counter(
            "helix_read_errors_total",
            "Reads that a cluster failed: a sick answer, none in time, no connection.",
            |s| s.read_errors.read(),
        );
        self.failovers();
        self.counter(
            "helix_stale_avoided_total",
            "Reads kept away from a cluster because it owes writes.",
            |s| s.stale_avoided.read(),
        );
        self.counter(
            "helix_reads_behind_total",
            "Reads sent to a cluster although it owes writes: they may be stale.",
            |s| s.reads_behind.read(),
        );
        self.counter(
            "helix_circuit_breaker_trips_total",
            "Times a breaker opened.",
            |s| s.trips.read(),
        );
    }

    fn writes(&mut self) {
        self.histogram(
            "helix_write_duration_seconds",
            "Writes by the time to this cluster's own end, answered or not.",
            |s| &s.writes,
        );
        self.counted(
            "helix_write_total",
            "Writes asked of a cluster and ended, answered or not.",
            |s| &s.writes,
        );
        self.counter(
            "helix_write_errors_total",
            "Writes that a cluster failed: a sick answer, none in time, no connection.",
            |s| s.write_errors.read(),
        );
        self.counter(
            "helix_divergence_total",
            "Writes, live or replayed, that this cluster refused for good and the other one accepted.",
            |s| s.divergences.read(),
        );
        self.plain(
            "helix_journal_writes_total",
            "Records made durable before their write was sent.",
            |c| c.journal_writes.read(),
        );
        self.plain(
            "helix_ack_unqueued_total",
            "Writes acknowledged although their record was not durable (ack_anyway).",
            |c| c.acks_unqueued.read(),
        );
        self.plain(
            "helix_clock_unreserved_total",
            "Timestamps given out above the ceiling reserved on disk.",
            |c| c.clock_unreserved.read(),
        );
    }

    fn replay(&mut self) {
        self.histogram(
            "helix_replay_duration_seconds",
            "Replayed records by the time to apply them.",
            |s| &s.replays,
        );
        self.counted(
            "helix_replay_success_total",
            "Records applied by replay.",
            |s| &s.replays,
        );
        self.counter(
            "helix_replay_errors_total",
            "Records that replay tried in vain.",
            |s| s.replay_errors.read(),
        );
        self.counter(
            "helix_replay_enqueued_total",
            "Records kept for a cluster.",
            |s| s.copies_kept.read(),
        );
        self.counter(
            "helix_replay_dropped_total",
            "Records that the queue refused to take.",
            |s| s.copies_refused.read(),
        );
        let parked = self
            .sources
            .parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let rows = parked
            .iter()
            .map(|(reason, n)| (vec![label("reason", reason)], *n));
        let rows = rows.collect::<Vec<_>>();
        drop(parked);
        self.counters(
            "helix_replay_parked_total",
            "Records that became dead letters, by reason.",
            rows,
        );
    }

    fn clients(&mut self) {
        let open = as_f64(self.sources.sum(|cells| cells.connections.read()));
        self.gauges(
            "helix_client_connections",
            "Client connections that are open.",
            vec![(vec![], open)],
        );
        let kinds = RequestKind::ALL.into_iter().map(|kind| {
            let count = self.sources.sum(|c| c.requests[kind as usize].read());
            (vec![label("kind", kind.label())], count)
        });
        let kinds = kinds.collect();
        self.counters(
            "helix_client_requests_total",
            "Requests of clients, by kind.",
            kinds,
        );
        let errors = ERRORS.iter().enumerate().map(|(row, (_, name))| {
            let count = self.sources.sum(|c| c.errors[row].read());
            (vec![label("code", name)], count)
        });
        let errors = errors.collect();
        self.counters(
            "helix_client_errors_total",
            "Errors answered to clients.",
            errors,
        );
    }

    fn statements(&mut self) {
        self.plain(
            "helix_conditional_total",
            "Conditional statements sent to one cluster and not copied to the other.",
            |c| c.conditionals.read(),
        );
        self.plain(
            "helix_per_server_values_total",
            "Writes with now(), uuid() or the like sent as they are.",
            |c| c.per_server_values.read(),
        );
        self.plain(
            "helix_unknown_statements_total",
            "Statements of no known class.",
            |c| c.unknown_statements.read(),
        );
    }

    fn backends(&mut self) {
        self.counter(
            "helix_unprepared_total",
            "Statements that a node had forgotten.",
            |s| s.unprepared.read(),
        );
        self.counter(
            "helix_orphaned_answers_total",
            "Answers of nodes whose caller had left.",
            |s| s.orphaned_answers.read(),
        );
        self.counter(
            "helix_logins_refused_total",
            "Roles of clients that a cluster did not let in.",
            |s| s.logins_refused.read(),
        );
        let open = self.per_side(|s| s.connections.read());
        let open = open
            .into_iter()
            .map(|(labels, n)| (labels, as_f64(n)))
            .collect();
        self.gauges(
            "helix_backend_connections",
            "Connections of the worker threads to nodes that are ready.",
            open,
        );
    }

    fn look(&mut self, sample: &Sample) {
        let state = |side| f64::from(sample.breaker[side].gauge());
        let age = |side| sample.oldest_age[side].map_or(0.0, |age| age.as_secs_f64());
        self.seen(
            "helix_circuit_breaker_state",
            "0 closed, 1 half-open, 2 open.",
            state,
        );
        self.seen(
            "helix_replay_queue_depth",
            "Records that a cluster owes.",
            |side| as_f64(sample.owed[side]),
        );
        self.seen(
            "helix_replay_oldest_age_seconds",
            "Age of the oldest record owed, 0 if there is none.",
            age,
        );
        for (name, help, value) in [
            (
                "helix_replay_dead_letters",
                "Dead letters.",
                sample.dead_letters,
            ),
            (
                "helix_replay_queue_bytes",
                "Bytes held by the replay queue.",
                sample.queue_bytes,
            ),
            (
                "helix_prepared_statements",
                "Statements in the registry of prepared statements.",
                sample.prepared_statements,
            ),
        ] {
            self.gauges(name, help, vec![(vec![], as_f64(value))]);
        }
    }

    fn build(&mut self) {
        let version = label("version", env!("CARGO_PKG_VERSION"));
        self.gauges(
            "helix_build_info",
            "Always 1; the labels tell.",
            vec![(vec![version], 1.0)],
        );
    }

    fn failovers(&mut self) {
        let name = |side| self.sources.clusters[side].as_deref();
        let rows = Side::ALL.into_iter().filter_map(|from| {
            let labels = vec![label("from", name(from)?), label("to", name(!from)?)];
            let count = self.sources.sum(|c| c.sides[from].failovers.read());
            Some((labels, count))
        });
        let rows = rows.collect();
        self.counters(
            "helix_failover_total",
            "Reads that moved to the other cluster.",
            rows,
        );
    }
}

/// The shapes in which families are written.
impl Page<'_> {
    /// A number of each cluster that is read at a scrape.
    fn seen(&mut self, name: &str, help: &str, value: impl Fn(Side) -> f64) {
        let rows = self
            .sources
            .sides()
            .map(|(side, labels)| (labels, value(side)));
        let rows = rows.collect();
        self.gauges(name, help, rows);
    }

    /// A counter of each cluster.
    fn counter(&mut self, name: &str, help: &str, read: impl Fn(&SideCells) -> u64) {
        let rows = self.per_side(read);
        self.counters(name, help, rows);
    }

    /// The number of durations of each cluster, as a counter of its own.
    fn counted(&mut self, name: &str, help: &str, pick: impl Fn(&SideCells) -> &Durations) {
        let rows = self.sources.sides();
        let rows = rows.map(|(side, labels)| (labels, self.spread(side, &pick).count()));
        let rows = rows.collect();
        self.counters(name, help, rows);
    }

    /// A counter without labels.
    fn plain(&mut self, name: &str, help: &str, read: impl Fn(&Cells) -> u64) {
        let count = self.sources.sum(read);
        self.counters(name, help, vec![(vec![], count)]);
    }

    /// The durations of each cluster.
    fn histogram(&mut self, name: &str, help: &str, pick: impl Fn(&SideCells) -> &Durations) {
        let rows = self.sources.sides().map(|(side, labels)| {
            let mut metric = Metric::from_label(labels);
            metric.set_histogram(histogram(&self.spread(side, &pick)));
            metric
        });
        let rows = rows.collect();
        self.family(name, help, MetricType::HISTOGRAM, rows);
    }

    fn counters(&mut self, name: &str, help: &str, rows: Vec<(Vec<LabelPair>, u64)>) {
        let metrics = rows.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(as_f64(value));
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn gauges(&mut self, name: &str, help: &str, rows: Vec<(Vec<LabelPair>, f64)>) {
        let metrics = rows.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn family(&mut self, name: &str, help: &str, shape: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(shape);
        family.set_metric(metrics);
        self.families.push(family);
    }

    fn per_side(&self, read: impl Fn(&SideCells) -> u64) -> Vec<(Vec<LabelPair>, u64)> {
        let rows = self.sources.sides();
        rows.map(|(side, labels)| (labels, self.sources.sum(|c| read(&c.sides[side]))))
            .collect()
    }

    fn spread(&self, side: Side, pick: impl Fn(&SideCells) -> &Durations) -> Spread {
        self.sources
            .fold(Spread::default(), |sum, c| sum.with(pick(&c.sides[side])))
    }
}

impl Sources {
    /// The configured sides, each with its label.
    fn sides(&self) -> impl Iterator<Item = (Side, Vec<LabelPair>)> {
        let named = self.clusters.iter();
        named.filter_map(|(side, name)| Some((side, vec![label("cluster", name.as_ref()?)])))
    }
}

fn histogram(spread: &Spread) -> Histogram {
    let mut below = 0;
    let buckets = BOUNDS.iter().zip(spread.buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(seconds(*bound));
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(spread.count());
    histogram.set_sample_sum(seconds(spread.nanos));
    histogram
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

fn seconds(nanos: u64) -> f64 {
    as_f64(nanos) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "the format knows only floats")]
const fn as_f64(value: u64) -> f64 {
    value as f64
}
