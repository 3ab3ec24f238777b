//! One measurement, and what several of them say together.

use std::process::Command;

use serde_json::Value;

use super::bed::{Bed, Way};
use crate::Fault;
use crate::child::{Process, myself};
use crate::load::{Kind, Tongue};

/// A load to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) in_flight: u16,
    pub(super) kind: Kind,
    pub(super) seconds: f64,
    /// Open loop at so many requests a second.
    pub(super) rate: Option<f64>,
    pub(super) prepared: u32,
    /// Values of 1 MiB.
    pub(super) large: bool,
    pub(super) tongue: Tongue<'static>,
}

impl Load {
    pub(super) fn new(connections: usize, in_flight: u16, kind: Kind, seconds: f64) -> Self {
        Self {
            connections,
            in_flight,
            kind,
            seconds,
            rate: None,
            prepared: 1,
            large: false,
            tongue: Tongue::PLAIN,
        }
    }

    fn command(&self, target: &str) -> Result<Command, Fault> {
        let mut command = myself()?;
        command.args([
            "load",
            "--paced",
            "--target",
            target,
            "--kind",
            self.kind.name(),
        ]);
        command
            .arg("--connections")
            .arg(self.connections.to_string());
        command.arg("--in-flight").arg(self.in_flight.to_string());
        command.arg("--seconds").arg(self.seconds.to_string());
        command.arg("--prepared").arg(self.prepared.to_string());
        command
            .arg("--version")
            .arg(self.tongue.version.to_string());
        if let Some(compression) = self.tongue.compression {
            command.args(["--compression", compression]);
        }
        if self.large {
            command.arg("--large");
        }
        if let Some(rate) = self.rate {
            command.arg("--rate").arg(rate.to_string());
        }
        Ok(command)
    }

    /// Sends it through `way` and says what that cost.
    pub(super) fn through(&self, bed: &Bed, way: &Way) -> Result<Sample, Fault> {
        let generator = bed.nest.start(&mut self.command(&way.address())?)?;
        measure(generator, &way.process)
    }
}

/// What one measurement found; times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    /// Of the process in the middle, for each request.
    pub(super) cpu: f64,
    /// Of the application, where it says so itself.
    pub(super) app: f64,
}

/// Runs a generator that waits for us, with the CPU of `middle` read right before and after.
pub(super) fn measure(mut generator: Process, middle: &Process) -> Result<Sample, Fault> {
    let ready = generator.line()?;
    if ready != "ready" {
        return Err(format!("a generator said: {ready}").into());
    }
    let before = middle.cpu()?;
    generator.go_on()?;
    let report: Value = serde_json::from_str(&generator.line()?)?;
    let used = middle.cpu()?.saturating_sub(before);
    generator.go_on()?;
    generator.finish()?;
    let figure = |name: &str| report[name].as_f64().unwrap_or(0.0);
    if 0.0 < figure("errors") {
        return Err(format!("errors under load: {report}").into());
    }
    Ok(Sample {
        rate: figure("rate"),
        p50: figure("p50_us"),
        p99: figure("p99_us"),
        p999: figure("p999_us"),
        cpu: used.as_secs_f64() * 1e6 / figure("requests").max(1.0),
        app: figure("cpu_us"),
    })
}

/// The middle of several figures and how far they spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
            return Self {
                median: f64::NAN,
                low: f64::NAN,
                high: f64::NAN,
            };
        };
        let half = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[half - 1], sorted[half])
        } else {
            sorted[half]
        };
        Self { median, low, high }
    }
}

/// Interleaved measurements: each block goes through all ways forth and back, and gives the mean
/// of the two passes for each way.
pub(super) fn interleave(
    blocks: usize,
    ways: usize,
    mut measure: impl FnMut(usize) -> Result<Sample, Fault>,
) -> Result<Vec<Vec<Sample>>, Fault> {
    let mut found = vec![Vec::with_capacity(blocks); ways];
    for _ in 0..blocks {
        let forth = (0..ways).map(&mut measure).collect::<Result<Vec<_>, _>>()?;
        let mut back = (0..ways)
            .rev()
            .map(&mut measure)
            .collect::<Result<Vec<_>, _>>()?;
        back.reverse();
        for (way, (one, other)) in forth.into_iter().zip(back).enumerate() {
            found[way].push(one.mean(other));
        }
    }
    Ok(found)
}

impl Sample {
    fn mean(self, other: Self) -> Self {
        Self {
            rate: f64::midpoint(self.rate, other.rate),
            p50: f64::midpoint(self.p50, other.p50),
            p99: f64::midpoint(self.p99, other.p99),
            p999: f64::midpoint(self.p999, other.p999),
            cpu: f64::midpoint(self.cpu, other.cpu),
            app: f64::midpoint(self.app, other.app),
        }
    }
}

/// One figure of every sample.
pub(super) fn spread(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Spread {
    Spread::of(samples.iter().map(figure))
}

/// The quotient of one figure, block by block.
pub(super) fn ratio(over: &[Sample], under: &[Sample], figure: impl Fn(&Sample) -> f64) -> Spread {
    Spread::of(
        over.iter()
            .zip(under)
            .map(|(over, under)| figure(over) / figure(under)),
    )
}
