//! Reads and dual writes of values of 1 MiB, beside the forwarder.

use super::Options;
use super::bed::Bed;
use super::cost;
use super::report::Report;
use super::sample::Load;
use crate::Fault;
use crate::load::Kind;

pub(super) fn measure(bed: &Bed, options: &Options, report: &mut Report) -> Result<(), Fault> {
    for (kind, done) in [(Kind::Read, "read"), (Kind::Write, "dual write")] {
        let mut load = Load::new(2, 4, kind, options.seconds());
        load.large = true;
        let name = format!("1 MiB: 2 x 4 {done}");
        cost::beside_the_forwarder(bed, options, report, (&name, load))?;
    }
    Ok(())
}
