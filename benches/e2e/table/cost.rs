//! CPU, rate and latency of reads and dual writes, interleaved with the forwarder.

use super::Options;
use super::bed::Bed;
use super::report::{Report, Target};
use super::sample::{Load, interleave};
use crate::Fault;
use crate::load::Kind;

/// A load and the most that the proxy with one worker may cost, as ratios to the forwarder.
struct Case {
    connections: usize,
    in_flight: u16,
    kind: Kind,
    cpu: f64,
    p50: Target,
}

#[rustfmt::skip]
const CASES: [Case; 6] = [
    Case { connections: 8, in_flight: 32, kind: Kind::Read, cpu: 1.6, p50: Target::None },
    Case { connections: 8, in_flight: 32, kind: Kind::Write, cpu: 2.5, p50: Target::None },
    Case { connections: 8, in_flight: 1, kind: Kind::Read, cpu: 1.15, p50: Target::AtMost(1.4) },
    Case { connections: 8, in_flight: 1, kind: Kind::Write, cpu: 1.4, p50: Target::AtMost(1.6) },
    Case { connections: 200, in_flight: 1, kind: Kind::Read, cpu: 0.6, p50: Target::None },
    Case { connections: 200, in_flight: 1, kind: Kind::Write, cpu: 0.65, p50: Target::None },
];

/// Of a load that has no target.
const BLOCKS_MAX: usize = 3;

pub(super) fn measure(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    for case in CASES {
        let Case {
            connections,
            in_flight,
            kind,
            cpu,
            p50,
        } = case;
        let kind_name = if kind == Kind::Read {
            "read"
        } else {
            "dual write"
        };
        let name = format!("{connections} x {in_flight} {kind_name}");
        eprintln!("  {name}");
        let load = Load::new(connections, in_flight, kind, options.seconds());
        let ways = bed.ways();
        let found = interleave(options.blocks(), ways.len(), |at| {
            load.through(bed, ways[at])
        })?;
        for (at, way) in ways.iter().enumerate() {
            // The targets are for one worker, which comes right after the forwarder.
            let targets = if at == 1 {
                (Target::AtMost(cpu), p50)
            } else {
                (Target::None, Target::None)
            };
            report.cost(&name, way.name, &found[at], &found[0], targets);
        }
    }
    Ok(())
}

/// What a load costs through the proxy with one worker: reported, not judged.
pub(super) fn beside_the_forwarder(
    bed: &Bed,
    options: &Options,
    report: &mut Report,
    (name, load): (&str, Load),
) -> Result<(), Fault> {
    eprintln!("  {name}");
    let ways: Vec<_> = bed.ways().into_iter().take(2).collect();
    let blocks = options.blocks().min(BLOCKS_MAX);
    let found = interleave(blocks, ways.len(), |at| load.through(bed, ways[at]))?;
    for (at, way) in ways.iter().enumerate() {
        let targets = (Target::None, Target::None);
        report.cost(name, way.name, &found[at], &found[0], targets);
    }
    Ok(())
}
