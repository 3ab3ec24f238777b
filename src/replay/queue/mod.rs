//! Where records wait: in memory or on disk, with one meaning and one conformance suite.

mod board;
#[cfg(test)]
mod conformance;
mod disk;
pub mod ledger;
mod memory;
mod seqs;

pub use disk::{Disk, OpenError, Options};
pub use memory::Memory;

/// Tells the time in microseconds since 1970, for the letters' `parked_at`.
pub type Clock = fn() -> i64;

/// The longest error text kept with a dead letter.
const ERROR_BYTES_MAX: usize = 1_024;

/// The text, cut to what a dead letter keeps.
fn shortened(error: &str) -> &str {
    let end = (0..=ERROR_BYTES_MAX.min(error.len()))
        .rev()
        .find(|&at| error.is_char_boundary(at));
    error.split_at(end.unwrap_or(0)).0
}
