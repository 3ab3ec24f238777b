//! Cluster B goes away, every write is journalled, B returns and is given what it missed.

use std::thread;
use std::time::{Duration, Instant};

use super::Options;
use super::bed::{Bed, Way, owed_at};
use super::report::{Report, Target};
use super::sample::{Load, Sample, Spread, spread};
use crate::Fault;
use crate::child::until;
use crate::load::Kind;

/// How deep the queue is when B returns.
const DEPTH: u64 = 1_000_000;

/// Of the highest rate, what the live traffic keeps sending while the queue drains.
const LIVE: f64 = 0.2;

pub(super) fn measure(bed: &mut Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    // Only the proxy with one worker: the other would queue for B as well, for nothing.
    bed.proxies.truncate(1);
    let write = Load::new(8, 32, Kind::Write, options.seconds());
    let healthy = repeat(bed, write, options)?;
    let live = Load {
        rate: Some(spread(&healthy, |s| s.rate).median * LIVE),
        ..write
    };
    let calm = repeat(bed, live, options)?;

    bed.kill_b();
    let short = Load {
        seconds: 0.3,
        ..write
    };
    until(Duration::from_secs(60), "an open breaker", || {
        short.through(bed, only(bed)?)?;
        Ok(only(bed)?.breaker_of_b()? == "open")
    })?;
    let journalled = repeat(bed, write, options)?;
    put_journalled(report, &journalled);

    let depth = if options.brief { 0 } else { DEPTH };
    until(Duration::from_secs(120), "a deep queue", || {
        if depth <= only(bed)?.owed_to_b()? {
            return Ok(true);
        }
        write.through(bed, only(bed)?)?;
        Ok(false)
    })?;
    if !options.brief {
        let deep = spread(&repeat(bed, write, options)?, |s| s.cpu).median;
        let growth = deep / spread(&journalled, |s| s.cpu).median;
        let what = "CPU of a journalled write with 1000000 records queued / with few";
        report.row(what, "x", Spread::of([growth]), Target::AtMost(1.15));
    }
    drain(bed, live, calm, options, report)
}

fn put_journalled(report: &mut Report, samples: &[Sample]) {
    let row = |what: &str| format!("8 x 32 write with B down: {what}");
    let rate = spread(samples, |s| s.rate);
    report.row(&row("rate"), "writes/s", rate, Target::AtLeast(100_000.0));
    let p99 = spread(samples, |s| s.p99 / 1000.0);
    report.row(&row("p99"), "ms", p99, Target::AtMost(10.0));
    let cpu = spread(samples, |s| s.cpu);
    report.row(&row("CPU"), "us/write", cpu, Target::AtMost(8.0));
}

/// B returns: how fast its records go, and what that does to live traffic meanwhile. `calm` is
/// that traffic before B went away; as much of it follows after the drain, since the machine's own
/// noise comes and goes.
fn drain(
    bed: &mut Bed,
    live: Load,
    mut calm: Vec<Sample>,
    options: &Options,
    report: &mut Report,
) -> Result<(), Fault> {
    bed.revive_b()?;
    let bed = &*bed;
    let way = only(bed)?;
    let owed = way.owed_to_b()?;
    until(Duration::from_secs(60), "the drain to begin", || {
        Ok(way.owed_to_b()? < owed)
    })?;
    let begin = (Instant::now(), way.owed_to_b()?);
    let (end, beside) = thread::scope(|scope| {
        let admin = way.admin_address()?;
        let watch = scope.spawn(move || watch_drain(&admin).map_err(|error| error.to_string()));
        let mut beside = Vec::new();
        while !watch.is_finished() {
            beside.push(live.through(bed, way)?);
        }
        let end = watch
            .join()
            .map_err(|cause| format!("the watch panicked: {cause:?}"))??;
        Ok::<_, Fault>((end, beside))
    })?;
    let seconds = end.duration_since(begin.0).as_secs_f64();
    let rate = Spread::of([begin.1 as f64 / seconds.max(1e-3)]);
    let what = format!("replay into the returning B, {} records", begin.1);
    report.row(&what, "records/s", rate, Target::AtLeast(50_000.0));
    calm.extend(repeat(bed, live, options)?);
    put_live(report, &calm, inside(&beside));
    Ok(())
}

/// The drain ended somewhere in the last block, so that one does not count if there are others.
fn inside(beside: &[Sample]) -> &[Sample] {
    match beside {
        [whole @ .., _] if !whole.is_empty() => whole,
        all => all,
    }
}

fn put_live(report: &mut Report, calm: &[Sample], beside: &[Sample]) {
    let row = |what: &str| format!("live write at 20 % of the maximum: {what}");
    let p99 = |samples: &[Sample]| spread(samples, |s| s.p99);
    let (calm, beside) = (p99(calm), p99(beside));
    report.row(&row("p99, no drain"), "us", calm, Target::None);
    report.row(&row("p99 beside the drain"), "us", beside, Target::None);
    let by = |figure: f64| figure / calm.median;
    let worse = Spread {
        median: by(beside.median),
        low: by(beside.low),
        high: by(beside.high),
    };
    let what = row("p99, drain / no drain");
    report.row(&what, "x", worse, Target::AtMost(1.3));
}

/// When nothing was owed any more.
fn watch_drain(admin: &str) -> Result<Instant, Fault> {
    until(Duration::from_secs(300), "an empty queue", || {
        Ok(owed_at(admin)? == 0)
    })?;
    Ok(Instant::now())
}

fn only(bed: &Bed) -> Result<&Way, Fault> {
    bed.proxies.first().ok_or_else(|| "no proxy".into())
}

fn repeat(bed: &Bed, load: Load, options: &Options) -> Result<Vec<Sample>, Fault> {
    let way = only(bed)?;
    (0..options.blocks())
        .map(|_| load.through(bed, way))
        .collect()
}
