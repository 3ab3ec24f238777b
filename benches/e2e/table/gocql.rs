//! A Go application that writes with gocql: straight to one stub, through the raw forwarder to one,
//! and through the proxy to two.

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
    let forwarder = &bed.forwarder;
    let ways = [
        (bed.stub_ports[0], forwarder),
        (forwarder.port, forwarder),
        (way.port, way),
    ];
    let found = interleave(options.blocks(), ways.len(), |at| {
        let (port, middle) = ways[at];
        run(bed, options, &binary, port, middle)
    })?;
    let [plain, forwarded, through] = &found[..] else {
        return Err("three ways, three results".into());
    };
    let names = ["plain", "through the forwarder", "through the proxy"];
    for (name, samples) in names.into_iter().zip(&found) {
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
    // The forwarder copies bytes to one cluster: what any process in between costs at least.
    let middles = [
        ("forwarder", forwarded, Target::None),
        ("proxy", through, Target::AtMost(1.4)),
    ];
    for (name, samples, target) in middles {
        let row = |what: &str| format!("gocql, 64 workers: CPU of {what}");
        let middle = spread(samples, |s| s.cpu);
        report.row(&row(name), "us/write", middle, Target::None);
        let whole = ratio(&both(samples), plain, |s| s.app);
        let what = row(&format!("application and {name} / plain"));
        report.row(&what, "x", whole, target);
    }
    Ok(())
}

/// The application's CPU with that of what it goes through.
fn both(samples: &[Sample]) -> Vec<Sample> {
    let sum = |s: &Sample| Sample {
        app: s.app + s.cpu,
        ..*s
    };
    samples.iter().map(sum).collect()
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
