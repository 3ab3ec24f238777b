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
/// How deep it is each time after that.
const DEPTH_AGAIN: u64 = 250_000;
/// How often B goes away and returns: what live traffic feels of a drain is compared with what it
/// feels right before and right after, as the machine's own noise comes and goes.
const ROUNDS: usize = 5;

/// Of the highest rate, what the live traffic keeps sending while the queue drains.
const LIVE: f64 = 0.2;

pub(super) fn measure(bed: &mut Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    // Only the proxy with one worker: the other would queue for B as well, for nothing.
    bed.proxies.truncate(1);
    let write = Load::new(8, 32, Kind::Write, options.seconds());
    let healthy = repeat(bed, write, options)?;
    let live = Load {
        rate: Some(spread(&healthy, |s| s.rate).median * LIVE),
        // Several fit into a drain.
        seconds: options.seconds().min(1.0),
        ..write
    };
    let calm = repeat(bed, live, options)?;

    lose_b(bed, write)?;
    let journalled = repeat(bed, write, options)?;
    put_journalled(report, &journalled);

    let depth = if options.brief { 0 } else { DEPTH };
    fill(bed, write, depth)?;
    if !options.brief {
        let deep = spread(&repeat(bed, write, options)?, |s| s.cpu).median;
        let growth = deep / spread(&journalled, |s| s.cpu).median;
        let what = "CPU of a journalled write with 1000000 records queued / with few";
        report.row(what, "x", Spread::of([growth]), Target::AtMost(1.15));
    }

    let mut rounds = Rounds::new(calm);
    rounds.go(bed, live, options)?;
    if !options.brief {
        for _ in 1..ROUNDS {
            lose_b(bed, write)?;
            fill(bed, write, DEPTH_AGAIN)?;
            rounds.go(bed, live, options)?;
        }
    }
    rounds.put(report);
    Ok(())
}

/// B is gone, and the proxy knows.
fn lose_b(bed: &mut Bed, write: Load) -> Result<(), Fault> {
    bed.kill_b();
    let short = Load {
        seconds: 0.3,
        ..write
    };
    until(Duration::from_secs(60), "an open breaker", || {
        short.through(bed, only(bed)?)?;
        Ok(only(bed)?.breaker_of_b()? == "open")
    })
}

/// Writes until at least so many records wait for B.
fn fill(bed: &Bed, write: Load, depth: u64) -> Result<(), Fault> {
    until(Duration::from_secs(120), "a deep queue", || {
        if depth <= only(bed)?.owed_to_b()? {
            return Ok(true);
        }
        write.through(bed, only(bed)?)?;
        Ok(false)
    })
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

/// Returns of B: how fast its records go, and what that does to live traffic meanwhile.
struct Rounds {
    /// Records of each drain.
    depths: Vec<u64>,
    /// Records a second of each.
    rates: Vec<f64>,
    /// The live traffic's p99 before the first drain, between them and after the last.
    calm: Vec<f64>,
    /// The same beside each drain.
    beside: Vec<f64>,
}

impl Rounds {
    fn new(calm: Vec<Sample>) -> Self {
        Self {
            depths: Vec::new(),
            rates: Vec::new(),
            calm: vec![p99(&calm)],
            beside: Vec::new(),
        }
    }

    /// B returns, gets what it is owed, and is left alone for a while.
    fn go(&mut self, bed: &mut Bed, live: Load, options: &Options) -> Result<(), Fault> {
        bed.revive_b()?;
        let bed = &*bed;
        let way = only(bed)?;
        let owed = way.owed_to_b()?;
        until(Duration::from_secs(60), "the drain to begin", || {
            Ok(way.owed_to_b()? < owed)
        })?;
        let (start, depth) = (Instant::now(), way.owed_to_b()?);
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
        let seconds = end.duration_since(start).as_secs_f64();
        self.depths.push(depth);
        self.rates.push(depth as f64 / seconds.max(1e-3));
        self.beside.push(p99(inside(&beside)));
        self.calm.push(p99(&repeat(bed, live, options)?));
        Ok(())
    }

    fn put(&self, report: &mut Report) {
        let records: u64 = self.depths.iter().sum();
        let what = format!(
            "replay into the returning B, {records} records in {} drains",
            self.depths.len()
        );
        let rate = Spread::of(self.rates.iter().copied());
        report.row(&what, "records/s", rate, Target::AtLeast(50_000.0));

        let row = |what: &str| format!("live write at 20 % of the maximum: {what}");
        let (calm, beside) = (self.calm.iter().copied(), self.beside.iter().copied());
        report.row(&row("p99, no drain"), "us", Spread::of(calm), Target::None);
        let what = row("p99 beside the drain");
        report.row(&what, "us", Spread::of(beside.clone()), Target::None);
        let around = self.calm.windows(2).map(|it| f64::midpoint(it[0], it[1]));
        let worse = Spread::of(beside.zip(around).map(|(beside, calm)| beside / calm));
        let what = row("p99, drain / no drain around it");
        report.row(&what, "x", worse, Target::AtMost(1.3));
    }
}

fn p99(samples: &[Sample]) -> f64 {
    spread(samples, |s| s.p99).median
}

/// The drain ended somewhere in the last block, so that one does not count if there are others.
fn inside(beside: &[Sample]) -> &[Sample] {
    match beside {
        [whole @ .., _] if !whole.is_empty() => whole,
        all => all,
    }
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
