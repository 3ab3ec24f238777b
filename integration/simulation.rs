//! One process of the proxy in a world of virtual time, where everything goes wrong by a seed.
//!
//! The real machines (`flow`, `policy`, the queue's `ledger`, the worker's `schedule`) run between
//! model clusters, a model disk and clients;
//! messages are lost, late and half-applied, the disk fills and hangs, the clock steps, the proxy
//! is killed at any step. The invariants are checked at every step and when all is quiet again.
//! `SEED=7 cargo test --test simulation -- --nocapture` replays one seed with a trace;
//! `BROKEN=ReplayRestamps` beside it breaks that rule.
#![allow(
    clippy::print_stdout,
    clippy::panic,
    reason = "a trace is for reading, a failing seed should be loud"
)]

mod simulation {
    pub(crate) mod book;
    pub(crate) mod cluster;
    pub(crate) mod dice;
    pub(crate) mod faults;
    pub(crate) mod live;
    pub(crate) mod queue;
    pub(crate) mod replay;
    pub(crate) mod settings;
    pub(crate) mod world;
}

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::settings::Broken;
use simulation::world::World;

/// Seeds in the gate; `SEEDS=20000` tries more.
const SEEDS: u64 = 1_000;

/// A run below this has tested nothing.
const WRITES_MIN: u64 = 50;

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("SEED") {
        return replay(seed);
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let writes = AtomicU64::new(0);
    let failed = first_fault(seeds, None, &writes);
    if let Some((seed, fault)) = failed {
        panic!("seed {seed}: {fault}\nSEED={seed} cargo test --test simulation -- --nocapture");
    }
    assert!(seeds * WRITES_MIN < writes.into_inner(), "too few writes");
}

#[test]
fn every_broken_rule_is_found() {
    for broken in Broken::ALL {
        let found = first_fault(SEEDS, Some(broken), &AtomicU64::new(0));
        let (seed, fault) = found.unwrap_or_else(|| panic!("{broken:?} was not found"));
        println!("{broken:?} is found by seed {seed}: {fault}");
        let rule = fault.split(':').next().unwrap_or_default();
        assert!(broken.found_by().contains(&rule), "{broken:?}: {fault}");
        let whole = World::run(seed, None, false).fault;
        assert_eq!(whole, None, "seed {seed} fails without {broken:?} too");
    }
}

/// The lowest seed that fails, on two threads.
fn first_fault(seeds: u64, broken: Option<Broken>, writes: &AtomicU64) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let search = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds <= seed {
                return None;
            }
            let outcome = World::run(seed, broken, false);
            writes.fetch_add(outcome.writes.try_into().expect("small"), Ordering::Relaxed);
            if let Some(fault) = outcome.fault {
                next.store(seeds, Ordering::Relaxed);
                return Some((seed, fault));
            }
        }
    };
    thread::scope(|scope| {
        let searches = [scope.spawn(search), scope.spawn(search)];
        let found = searches.map(|search| search.join().expect("a machine asserted"));
        found.into_iter().flatten().min()
    })
}

fn replay(seed: u64) {
    let name = std::env::var("BROKEN").ok();
    let broken = Broken::ALL
        .into_iter()
        .find(|broken| name.as_deref() == Some(format!("{broken:?}").as_str()));
    let outcome = World::run(seed, broken, true);
    println!("{}", outcome.trace.join("\n"));
    assert_eq!(outcome.fault, None, "seed {seed}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
