//! A process that keeps records is killed at random moments: what it was told to be durable is there.
//!
//! This proves the order of commit and receipt, not the disk: the page cache survives a kill.
#![allow(clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use helix_proxy::pair::{Side, Sides};
use helix_proxy::replay::queue::{Disk, Options};
use helix_proxy::replay::{Change, Queue, Receipt, Receipts, Seq};

const PATH: &str = "QUEUE_CRASH_PATH";
const ROUNDS: u64 = 20;
const WRITERS: usize = 32;

fn open(path: &Path) -> Disk {
    Disk::open(Options::new(path.to_owned(), 1 << 30, || 0)).unwrap()
}

fn body(seq: Seq) -> Vec<u8> {
    seq.0
        .to_be_bytes()
        .repeat(1 + usize::try_from(seq.0 % 50).unwrap())
}

/// The process that is killed: keeps records and prints each number once it is told durable, then
/// has every third applied and prints that *before* it tells the queue.
#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn the_victim() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else {
        return;
    };
    let disk = open(&path);
    let receipts = Receipts::new();
    let (mut changes, mut arrived) = (Vec::new(), Vec::new());
    let mut waiting = 0;
    loop {
        while waiting < WRITERS {
            let seq = disk.next_seq();
            let receipt = Some(Receipt {
                to: Arc::clone(&receipts),
                ticket: seq.0.unsigned_abs(),
            });
            let (owes, live) = (Sides::only(Side::B), Sides::only(Side::A));
            let keep = Change::Keep {
                seq,
                owes,
                live,
                sent: live,
                body: body(seq),
                receipt,
            };
            changes.push(keep);
            waiting += 1;
        }
        disk.submit(&mut changes);
        receipts.arrived().await;
        receipts.take(&mut arrived);
        let mut lines = String::new();
        for (ticket, answer) in arrived.drain(..) {
            answer.unwrap();
            waiting -= 1;
            let seq = Seq(i64::try_from(ticket).unwrap());
            let applied = ticket.is_multiple_of(3);
            lines += &format!("{} {ticket}\n", if applied { "applied" } else { "kept" });
            changes.push(Change::Landed { seq, side: Side::A });
            changes.extend(applied.then_some(Change::Applied { seq, side: Side::B }));
        }
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn no_record_with_a_receipt_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replay.db");
    let mut promised = BTreeMap::new();
    for round in 0..ROUNDS {
        let before = promised.len();
        kill_after(
            &path,
            Duration::from_millis(20 + round * 37 % 400),
            &mut promised,
        );
        check(&path, &promised).await;
        println!("round {round}: {} more receipts", promised.len() - before);
    }
    assert!(1_000 < promised.len(), "hardly anything was tried");
}

/// Runs the victim so long after its first receipt; notes for each receipt whether B still owes it.
fn kill_after(path: &Path, time: Duration, promised: &mut BTreeMap<u64, bool>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "queue_crash::the_victim",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut kill_at = None;
    let mut lines = BufReader::new(victim.stdout.take().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() != 0 {
        let whole = std::mem::take(&mut line);
        // The kill may cut the last line.
        match whole
            .strip_suffix('\n')
            .and_then(|line| line.split_once(' '))
        {
            Some(("kept", seq)) => drop(promised.insert(seq.parse().unwrap(), true)),
            Some(("applied", seq)) => drop(promised.insert(seq.parse().unwrap(), false)),
            _ => continue,
        }
        let kill_at = kill_at.get_or_insert_with(|| std::time::Instant::now() + time);
        if *kill_at <= std::time::Instant::now() {
            victim.kill().unwrap();
        }
    }
    victim.wait().unwrap();
}

async fn check(path: &Path, promised: &BTreeMap<u64, bool>) {
    let disk = open(path);
    let mut found = BTreeMap::new();
    loop {
        let leases = disk.lease(Side::B, 10_000).await.unwrap();
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            assert_eq!(lease.body, body(lease.seq), "the body of another record");
            found.insert(lease.seq.0.unsigned_abs(), ());
        }
    }
    for (seq, owed) in promised {
        assert!(!owed || found.contains_key(seq), "record {seq} is lost");
    }
    let highest = promised.last_key_value().map_or(0, |(seq, _)| *seq);
    assert!(
        highest < disk.next_seq().0.unsigned_abs(),
        "a number would be used twice"
    );
    disk.close().await.unwrap();
}
