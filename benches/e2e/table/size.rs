//! What grows with size and must not: memory, connections, prepared statements.

use super::Options;
use super::bed::{Bed, Way};
use super::report::{Report, Target};
use super::sample::{Load, Spread, interleave, ratio};
use crate::Fault;
use crate::child::{Process, myself};
use crate::load::Kind;

const CONNECTIONS: usize = 10_000;
const STATEMENTS: u32 = 100_000;

/// The design says that the cost does not grow; this much is left to caches of the processor.
const GROWTH: f64 = 1.15;

/// Right after the start, before any client.
pub(super) fn at_rest(bed: &Bed, report: &mut Report) -> Result<(), Fault> {
    let way = bed.usual()?;
    let rss = mib(way.process.rss()?);
    report.row(
        &format!("RSS at rest ({})", way.name),
        "MiB",
        one(rss),
        Target::AtMost(20.0),
    );
    Ok(())
}

pub(super) fn measure(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    let way = bed.usual()?;
    let rss = mib(way.process.rss()?);
    report.row(
        &format!("RSS after all loads ({})", way.name),
        "MiB",
        one(rss),
        Target::None,
    );
    statements(bed, options, report)?;
    // The stand-in would need 20,000 threads for them.
    if options.brief || options.stand_in {
        return Ok(());
    }
    connections(bed, options, report)
}

fn statements(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    let Some(way) = bed.proxies.first() else {
        return Ok(());
    };
    let few = Load::new(8, 32, Kind::Read, options.seconds());
    let many = Load {
        prepared: if options.brief { 1_000 } else { STATEMENTS },
        ..few
    };
    let loads = [few, many];
    let found = interleave(options.blocks(), 2, |at| loads[at].through(bed, way))?;
    let growth = ratio(&found[1], &found[0], |sample| sample.cpu);
    let what = format!("CPU with {} prepared statements / with 1", many.prepared);
    report.row(&what, "x", growth, Target::AtMost(GROWTH));
    Ok(())
}

fn connections(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    let way = bed.usual()?;
    let load = Load::new(8, 32, Kind::Read, options.seconds());
    let alone = repeat(bed, way, load, options.blocks())?;
    let before = way.process.rss()?;
    let mut crowd = crowd(bed, way)?;
    let grown = |now: u64| now.saturating_sub(before) as f64 / CONNECTIONS as f64;
    let each = grown(way.process.rss()?);
    report.row(
        "RSS of each of 10000 idle connections",
        "KiB",
        one(each),
        Target::AtMost(8.0),
    );

    let crowded = repeat(bed, way, load, options.blocks())?;
    let growth = Spread::of([crowded.median / alone.median]);
    let what = "CPU with 10000 idle connections / without";
    report.row(what, "x", growth, Target::AtMost(GROWTH));

    crowd.go_on()?;
    let said = crowd.line()?;
    if said != "done" {
        return Err(format!("the idle connections said: {said}").into());
    }
    let each = grown(way.process.rss()?);
    let what = "RSS of each of 10000 connections after a burst of 64 KiB on each";
    report.row(what, "KiB", one(each), Target::AtMost(8.0));
    crowd.finish()?;
    Ok(())
}

/// Ten thousand clients that finished their handshake.
fn crowd(bed: &Bed, way: &Way) -> Result<Process, Fault> {
    let (target, count) = (way.address(), CONNECTIONS.to_string());
    let arguments = ["idle", "--target", &target, "--connections", &count];
    let mut process = bed.nest.start(myself()?.args(arguments))?;
    let said = process.line()?;
    if said == "ready" {
        Ok(process)
    } else {
        Err(format!("idle connections: {said}").into())
    }
}

/// CPU of one request.
fn repeat(bed: &Bed, way: &Way, load: Load, times: usize) -> Result<Spread, Fault> {
    let cpu = |_| Ok(load.through(bed, way)?.cpu);
    Ok(Spread::of(
        (0..times).map(cpu).collect::<Result<Vec<_>, Fault>>()?,
    ))
}

fn one(figure: f64) -> Spread {
    Spread::of([figure])
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
