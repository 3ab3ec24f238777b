//! A Go application that writes with gocql: straight to one stub, and through the proxy to two.

use std::path::Path;
use std::process::Command;

use super::Options;
use super::bed::{Bed, Way};
use super::report::{Report, Target};
use super::sample::{Sample, interleave, measure as sample, ratio, spread};
use crate::Fault;

pub(super) fn measure(
    bed: &Bed,
    options: &Options,
    source: &Path,
    report: &mut Report,
) -> Result<(), Fault> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let binary = dir.path().join("bench");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(source)
        .status();
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("go build in {}: {status}", source.display()).into()),
        Err(error) => {
            report.note(
                "Go application",
                &format!("not measured: go is missing ({error})"),
            );
            return Ok(());
        }
    }
    let Some(way) = bed.proxies.first() else {
        return Ok(());
    };
    // Plain: the process in the middle does nothing, so its CPU is left out below.
    let ways = [(bed.stub_ports[0], &bed.forwarder), (way.port, way)];
    let found = interleave(options.blocks(), ways.len(), |at| {
        let (port, middle) = ways[at];
        run(bed, options, &binary, port, middle)
    })?;
    let (plain, through) = (&found[0], &found[1]);
    for (name, samples) in [("plain", plain), ("through the proxy", through)] {
        let row = |what: &str| format!("gocql, 64 workers, {name}: {what}");
        report.row(
            &row("writes/s"),
            "",
            spread(samples, |s| s.rate),
            Target::None,
        );
        report.row(&row("p99"), "us", spread(samples, |s| s.p99), Target::None);
        let app = spread(samples, |s| s.app);
        report.row(
            &row("CPU of the application"),
            "us/write",
            app,
            Target::None,
        );
    }
    let proxy = spread(through, |s| s.cpu);
    report.row(
        "gocql, 64 workers: CPU of the proxy",
        "us/write",
        proxy,
        Target::None,
    );
    let whole: Vec<Sample> = through
        .iter()
        .map(|s| Sample {
            app: s.app + s.cpu,
            ..*s
        })
        .collect();
    let growth = ratio(&whole, plain, |s| s.app);
    let what = "gocql, 64 workers: CPU of application and proxy / plain";
    report.row(what, "x", growth, Target::AtMost(1.4));
    Ok(())
}

fn run(
    bed: &Bed,
    options: &Options,
    binary: &Path,
    port: u16,
    middle: &Way,
) -> Result<Sample, Fault> {
    let mut command = Command::new(binary);
    command
        .arg("--paced")
        .arg("--target")
        .arg(format!("127.0.0.1:{port}"));
    command.arg("--seconds").arg(options.seconds().to_string());
    sample(bed.nest.start(&mut command)?, &middle.process)
}
