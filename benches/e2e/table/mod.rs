//! The table: forwarder and proxy side by side in one run, against the targets of the design.

mod bed;
mod coding;
mod cost;
mod degraded;
mod gocql;
mod large;
mod report;
mod sample;
mod size;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::Fault;
use crate::idle::raise_file_limit;
use bed::Bed;
use report::Report;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// One block of half a second each, and no 10,000 connections: only that it works.
    #[arg(long)]
    brief: bool,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Blocks (forwarder, proxy, proxy, forwarder) for each figure.
    #[arg(long, default_value_t = 5)]
    blocks: usize,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/helix-proxy")]
    proxy: PathBuf,
    /// A second forwarder stands in for the proxy: tries out the harness itself.
    #[arg(long)]
    stand_in: bool,
    /// Only these parts, separated by commas; all of them when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Also the Go application of `benches/go`, plain and through the proxy.
    #[arg(long)]
    go: bool,
    /// Write all figures to this file as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The parts of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU, rate and latency of reads and dual writes.
    Cost,
    /// The same in version 5, and compressed.
    Coding,
    /// Values of 1 MiB.
    Large,
    /// Many prepared statements, many connections, memory.
    Size,
    /// Cluster B down, and its return.
    Degraded,
}

impl Options {
    fn seconds(&self) -> f64 {
        if self.brief { 0.5 } else { self.seconds }
    }

    fn blocks(&self) -> usize {
        if self.brief { 1 } else { self.blocks.max(1) }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    raise_file_limit()?;
    let mut report = Report::default();
    let outcome = measure(options, &mut report);
    // What was measured before a fault is worth reading all the same.
    println!("{}", report.markdown());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json())?;
    }
    outcome
}

fn measure(options: &Options, report: &mut Report) -> Result<(), Fault> {
    // Not the system's own place: that may be memory, and the queue must pay for a real disk.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut bed = Bed::new(dir.path(), options)?;
    if options.wants(Part::Size) {
        size::at_rest(&bed, report)?;
    }
    if options.wants(Part::Cost) {
        cost::measure(&bed, options, report)?;
    }
    if options.wants(Part::Coding) {
        coding::measure(&bed, options, report)?;
    }
    if options.wants(Part::Large) {
        large::measure(&bed, options, report)?;
    }
    if options.wants(Part::Size) {
        size::measure(&bed, options, report)?;
    }
    if options.go {
        gocql::measure(&bed, options, Path::new("benches/go"), report)?;
    }
    if options.wants(Part::Degraded) && !options.stand_in {
        degraded::measure(&mut bed, options, report)?;
    }
    Ok(())
}
