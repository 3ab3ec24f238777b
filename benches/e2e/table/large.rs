//! Reads and dual writes of values of 1 MiB, beside the forwarder.

use super::Options;
use super::bed::Bed;
use super::report::{Report, Target};
use super::sample::{Load, interleave};
use crate::Fault;
use crate::load::Kind;

const BLOCKS_MAX: usize = 3;

pub(super) fn measure(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    let ways: Vec<_> = bed.ways().into_iter().take(2).collect();
    for (kind, done) in [(Kind::Read, "read"), (Kind::Write, "dual write")] {
        let name = format!("1 MiB: 2 x 4 {done}");
        eprintln!("  {name}");
        let mut load = Load::new(2, 4, kind, options.seconds());
        load.large = true;
        let blocks = options.blocks().min(BLOCKS_MAX);
        let found = interleave(blocks, ways.len(), |at| load.through(bed, ways[at]))?;
        for (at, way) in ways.iter().enumerate() {
            let targets = (Target::None, Target::None);
            report.cost(&name, way.name, &found[at], &found[0], targets);
        }
    }
    Ok(())
}
