//! What version 5 and compression with clients cost, beside the forwarder, which passes the same bytes on.

use super::Options;
use super::bed::Bed;
use super::cost;
use super::report::Report;
use super::sample::Load;
use crate::Fault;
use crate::load::{Kind, Tongue};

#[rustfmt::skip]
const TONGUES: [(&str, Tongue<'static>); 4] = [
    ("v5", Tongue { version: 5, compression: None }),
    ("v5, LZ4", Tongue { version: 5, compression: Some("lz4") }),
    ("v4, LZ4", Tongue { version: 4, compression: Some("lz4") }),
    ("v4, Snappy", Tongue { version: 4, compression: Some("snappy") }),
];

pub(super) fn measure(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    for (spoken, tongue) in TONGUES {
        for (kind, done) in [(Kind::Read, "read"), (Kind::Write, "dual write")] {
            let mut load = Load::new(8, 32, kind, options.seconds());
            load.tongue = tongue;
            let name = format!("{spoken}: 8 x 32 {done}");
            cost::beside_the_forwarder(bed, options, report, (&name, load))?;
        }
    }
    Ok(())
}
