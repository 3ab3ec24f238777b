//! What targets share: memory is counted, and no claimed length may be what is allocated.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Allowed whatever the input: first capacities.
const FREE: usize = 4 * 1024;
/// A row of one null cell, which takes four bytes, is a vector of its own in a vector that doubles.
const GROWTH: usize = 64;

/// Does work on so many bytes of input, and checks that it holds only in proportion to them.
pub fn bounded<T>(input: usize, work: impl FnOnce() -> T) -> T {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let done = work();
    let held = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        held <= FREE + GROWTH * input,
        "{held} bytes held for {input} of input"
    );
    done
}
