//! A disk that is really full: replay goes on, and what it made room for is taken again.
//!
//! The disk is a small tmpfs of the test's own, in namespaces where whoever runs it may mount one.
#![allow(clippy::print_stderr, reason = "a test")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_proxy::pair::{Side, Sides};
use helix_proxy::replay::queue::{Disk, Options};
use helix_proxy::replay::{Change, Lease, Parked, Queue, Receipt, Receipts, Refused, Seq};

const FOLDER: &str = "QUEUE_FULL_FOLDER";
/// Runs the rest of its arguments over a disk of 64 MiB, mounted at the first.
const OVER_A_SMALL_DISK: &str =
    r#"mount -t tmpfs -o size=64m none "$0" && exec "$@" --exact --ignored --nocapture"#;
const SOON: Duration = Duration::from_secs(30);

/// Runs that test over a disk of its own, where whoever runs this may mount one.
fn over_a_small_disk(victim: &str) {
    let folder = tempfile::tempdir().unwrap();
    let own = ["--user", "--map-root-user", "--mount"];
    let may = Command::new("unshare").args(own).arg("true").output();
    if !may.is_ok_and(|it| it.status.success()) {
        eprintln!("not tried: nobody may mount anything here");
        return;
    }
    let ran = Command::new("unshare")
        .args(own)
        .args(["sh", "-c", OVER_A_SMALL_DISK])
        .args([folder.path(), &std::env::current_exe().unwrap()])
        .arg(format!("queue_full::{victim}"))
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{told}");
    assert!(said.contains("1 passed"), "{said}");
}

/// The small disk, if a test above runs this one over it.
fn small_disk() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

#[test]
fn replay_goes_on_from_a_full_disk_and_what_leaves_makes_room() {
    over_a_small_disk("goes_on_from_a_full_disk");
}

#[test]
fn a_queue_opens_on_a_disk_that_filled_while_it_was_closed() {
    over_a_small_disk("opens_on_a_full_disk");
}

#[test]
fn a_large_dead_letter_does_not_keep_back_what_makes_room_for_it() {
    over_a_small_disk("writes_a_large_letter_without_a_reserve");
}

#[tokio::test]
#[ignore = "run by the test above, over a disk of its own"]
async fn goes_on_from_a_full_disk() {
    let Some(folder) = small_disk() else { return };
    for (body, restarts) in [(4_000, false), (40_000, true)] {
        let path = folder.join(format!("{body}-{restarts}/replay.db"));
        let mut disk = open(&path);
        let kept = fill(&disk, body).await;
        let others = take_the_rest(&folder, 0);
        if restarts {
            drop(disk);
            disk = open(&path);
        }
        assert_eq!(drained(&disk, kept.len()).await, kept, "{body} {restarts}");
        eventually(|| disk.depth().owed.b == 0).await;
        drop(disk);

        let disk = open(&path);
        assert_eq!(disk.depth().owed.b, 0, "what was applied is owed again");
        std::fs::remove_file(others).unwrap();
        eventually(|| disk.accepts()).await;
        keep(&disk, body).await.unwrap();
        drop(disk);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
#[ignore = "run by the test above, over a disk of its own"]
async fn opens_on_a_full_disk() {
    let Some(folder) = small_disk() else { return };
    let path = folder.join("replay.db");
    let disk = open(&path);
    let kept = [
        keep(&disk, 4_000).await.unwrap(),
        keep(&disk, 4_000).await.unwrap(),
    ];
    // What is live when the process ends is owed by the next, which has to be written.
    disk.submit(&mut vec![kept_by(disk.next_seq(), Sides::only(Side::A))]);
    drop(disk);
    assert!(folder.join("replay.db.reserve").exists());
    take_the_rest(&folder, 0);

    let disk = open(&path);
    assert_eq!(disk.depth().owed.a, 1);
    assert_eq!(drained(&disk, kept.len()).await, kept);
    eventually(|| disk.depth().owed.b == 0).await;
}

#[tokio::test]
#[ignore = "run by the test above, over a disk of its own"]
async fn writes_a_large_letter_without_a_reserve() {
    let Some(folder) = small_disk() else { return };
    let path = folder.join("replay.db");
    let disk = open(&path);
    let large = keep(&disk, 500_000).await.unwrap();
    let mut small = Vec::new();
    for _ in 0..60 {
        small.push(keep(&disk, 16_000).await.unwrap());
    }
    let leaves = small.split_off(40);
    drained_of(&disk, &leaves).await;
    drop(disk);
    std::fs::remove_file(folder.join("replay.db.reserve")).unwrap();
    take_the_rest(&folder, 20 << 20);

    let disk = open(&path);
    assert!(disk.accepts(), "there is room, but not for a reserve");
    let mut changes = vec![Change::Park {
        seq: large,
        side: Side::B,
        reason: Parked::Refused,
        error: String::new(),
        receipt: None,
    }];
    let leased = disk.lease(Side::B, 100).await.unwrap();
    assert_eq!(leased.len(), 1 + small.len());
    changes.extend(leased[1..].iter().map(paid));
    disk.submit(&mut changes);
    eventually(|| disk.depth().owed.b == 0 && disk.depth().dead == 1).await;
}

fn open(path: &Path) -> Disk {
    Disk::open(Options::new(path.to_owned(), 1 << 30, || 0)).unwrap()
}

/// Keeps records that B owes until the disk is full.
async fn fill(disk: &Disk, body: usize) -> Vec<Seq> {
    let mut kept = Vec::new();
    loop {
        match keep(disk, body).await {
            Ok(seq) => kept.push(seq),
            Err(refused) => {
                assert!(matches!(refused, Refused::Store(_)), "{refused}");
                return kept;
            }
        }
    }
}

/// Somebody else writes until so many bytes are left.
fn take_the_rest(folder: &Path, but: u64) -> PathBuf {
    let path = folder.join("others");
    let mut file = File::create(&path).unwrap();
    while file.write(&[7; 4_096]).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len - but).unwrap();
    path
}

/// Applies these alone.
async fn drained_of(disk: &Disk, only: &[Seq]) {
    let leased = disk.lease(Side::B, 1_000).await.unwrap();
    let mut changes = leased.iter().filter(|it| only.contains(&it.seq));
    disk.submit(&mut changes.by_ref().map(paid).collect());
    let owed = leased.len() - only.len();
    eventually(|| disk.depth().owed.b == owed as u64).await;
}

/// Applies what B owes, so many records.
async fn drained(disk: &Disk, count: usize) -> Vec<Seq> {
    let (mut applied, until) = (Vec::new(), Instant::now() + SOON);
    while applied.len() < count {
        assert!(
            Instant::now() < until,
            "{} of {count} were applied",
            applied.len()
        );
        let leases = disk.lease(Side::B, 100).await.unwrap_or_default();
        if leases.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut changes = leases.iter().map(paid).collect();
        applied.extend(leases.iter().map(|it| it.seq));
        disk.submit(&mut changes);
    }
    applied.sort_unstable();
    applied
}

fn paid(lease: &Lease) -> Change {
    Change::Applied {
        seq: lease.seq,
        side: lease.side,
    }
}

async fn keep(disk: &Disk, body: usize) -> Result<Seq, Refused> {
    let (receipts, seq) = (Receipts::new(), disk.next_seq());
    let keep = Change::Keep {
        seq,
        owes: Sides::only(Side::B),
        live: Sides::NONE,
        sent: Sides::NONE,
        body: vec![1; body],
        receipt: Some(Receipt {
            to: Arc::clone(&receipts),
            ticket: 0,
        }),
    };
    disk.submit(&mut vec![keep]);
    let mut arrived = Vec::new();
    while arrived.is_empty() {
        receipts.arrived().await;
        receipts.take(&mut arrived);
    }
    arrived.remove(0).1.map(|()| seq)
}

/// A record that this side may still take.
fn kept_by(seq: Seq, live: Sides) -> Change {
    Change::Keep {
        seq,
        owes: Sides::NONE,
        live,
        sent: live,
        body: vec![1; 100],
        receipt: None,
    }
}

async fn eventually(holds: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "it took too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
