//! What version 5 and compression with clients cost, beside the forwarder, which passes the same bytes on.

use super::Options;
use super::bed::Bed;
use super::report::{Report, Target};
use super::sample::{Load, interleave};
use crate::Fault;
use crate::load::{Kind, Tongue};

#[rustfmt::skip]
const TONGUES: [(&str, Tongue<'static>); 4] = [
    ("v5", Tongue { version: 5, compression: None }),
    ("v5, LZ4", Tongue { version: 5, compression: Some("lz4") }),
    ("v4, LZ4", Tongue { version: 4, compression: Some("lz4") }),
    ("v4, Snappy", Tongue { version: 4, compression: Some("snappy") }),
];
const BLOCKS_MAX: usize = 3;

pub(super) fn measure(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    let ways: Vec<_> = bed.ways().into_iter().take(2).collect();
    for (spoken, tongue) in TONGUES {
        for (kind, done) in [(Kind::Read, "read"), (Kind::Write, "dual write")] {
            let name = format!("{spoken}: 8 x 32 {done}");
            eprintln!("  {name}");
            let mut load = Load::new(8, 32, kind, options.seconds());
            load.tongue = tongue;
            let blocks = options.blocks().min(BLOCKS_MAX);
            let found = interleave(blocks, ways.len(), |at| load.through(bed, ways[at]))?;
            for (at, way) in ways.iter().enumerate() {
                let targets = (Target::None, Target::None);
                report.cost(&name, way.name, &found[at], &found[0], targets);
            }
        }
    }
    Ok(())
}
