//! The watchdog: nothing that the table started outlives it, however it ends.
//!
//! It runs in its own process group, so Ctrl-C does not reach it, and reads one order a line:
//! `+ PID`, `- PID`, `dir PATH`. When its input ends, for whatever reason, it kills the
//! processes that are still listed and removes the directory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, stdin};

use rustix::process::{Pid, Signal, kill_process};

use crate::Fault;

pub(crate) fn run() -> Result<(), Fault> {
    let mut alive = BTreeSet::new();
    let mut dir = None;
    for line in stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("+", pid)) => alive.extend([pid.parse::<i32>()?]),
            Some(("-", pid)) => {
                alive.remove(&pid.parse::<i32>()?);
            }
            Some(("dir", path)) => dir = Some(path.to_owned()),
            Some(_) | None => return Err(format!("not an order: {line}").into()),
        }
    }
    for pid in alive.into_iter().filter_map(Pid::from_raw) {
        // Gone already is as good as killed.
        if kill_process(pid, Signal::KILL).is_err() {
            continue;
        }
    }
    if let Some(dir) = dir {
        drop(fs::remove_dir_all(dir));
    }
    Ok(())
}
