//! What the disk queue promises beyond the common suite: restarts, crashes, full disks, bad paths.

mod full;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::pair::{Side, Sides};
use crate::replay::queue::conformance::{self, A, B, Writer, body, noon};

use super::*;

const ROOMY: u64 = 1 << 30;

fn options(folder: &TempDir) -> Options {
    Options::new(folder.path().join("data/replay.db"), ROOMY, noon)
}

fn open(folder: &TempDir) -> Disk {
    Disk::open(options(folder)).unwrap()
}

/// What a crash at this moment would leave: the files as they are, in another folder.
fn crashed(folder: &TempDir) -> TempDir {
    let after = TempDir::new().unwrap();
    fs::create_dir(after.path().join("data")).unwrap();
    for name in ["replay.db", "replay.db-wal"] {
        let name = Path::new("data").join(name);
        fs::copy(folder.path().join(&name), after.path().join(&name)).unwrap();
    }
    after
}

fn pay(writer: &Writer<'_>, leases: &[Lease]) {
    for lease in leases {
        writer.tell(Change::Applied {
            seq: lease.seq,
            side: lease.side,
        });
    }
}

/// Makes sure that everything told so far was done.
async fn settled(disk: &Disk) {
    disk.reserve_clock(0).await.unwrap();
}

async fn eventually(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "it took too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_keeps_the_promises_of_every_queue() {
    let folders = std::cell::RefCell::new(Vec::new());
    conformance::holds(async || {
        let folder = TempDir::new().unwrap();
        let disk = Arc::new(open(&folder)) as Arc<dyn Queue>;
        folders.borrow_mut().push(folder);
        disk
    })
    .await;
}

#[tokio::test]
async fn debts_letters_and_numbers_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let (kept, parked, gone) = {
        let disk = open(&folder);
        let writer = Writer::new(&disk);
        let kept = writer.keep(B, A).await;
        let parked = writer.keep(A, Sides::NONE).await;
        let gone = writer.keep(B, Sides::NONE).await;
        writer.tell(Change::Landed {
            seq: kept,
            side: Side::A,
        });
        writer.tell(Change::Applied {
            seq: gone,
            side: Side::B,
        });
        writer.sent(kept, Side::B).await.unwrap();
        writer.park(parked, Side::A, "no").await.unwrap();
        disk.close().await.unwrap();
        (kept, parked, gone)
    };
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    let depth = disk.depth();
    assert_eq!((depth.owed.a, depth.owed.b, depth.dead), (0, 1, 1));
    assert_eq!(depth.oldest.b, Some(kept.0));
    let leases = writer.lease(Side::B).await;
    assert_eq!(
        (leases.len(), leases[0].seq, leases[0].sent),
        (1, kept, true)
    );
    assert_eq!(writer.letters().await[0].body, body(parked.0));
    assert!(gone < disk.next_seq());
}

#[tokio::test]
async fn after_a_crash_what_was_live_is_owed() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    let landed = writer.keep(B, A).await;
    let live = writer.keep(B, A).await;
    writer.tell(Change::Landed {
        seq: landed,
        side: Side::A,
    });
    let unknown = writer.keep(Sides::NONE, Sides::BOTH).await;
    for _ in 0..2 {
        let after = crashed(&folder);
        let disk = open(&after);
        let writer = Writer::new(&disk);
        let owed_by_a = writer.lease(Side::A).await;
        assert_eq!(
            owed_by_a.iter().map(|lease| lease.seq).collect::<Vec<_>>(),
            [live, unknown]
        );
        assert!(
            owed_by_a.iter().all(|lease| lease.sent),
            "it may have got there"
        );
        assert_eq!(writer.leased(Side::B).await, [landed, live, unknown]);
        let again = crashed(&after);
        assert_eq!(
            open(&again).depth().owed.a,
            2,
            "also after a crash right after the crash"
        );
    }
}

#[tokio::test]
async fn a_live_record_below_others_that_landed_is_not_forgotten() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    let (late, early) = (disk.next_seq(), writer.keep(Sides::NONE, A).await);
    writer.tell(Change::Landed {
        seq: early,
        side: Side::A,
    });
    settled(&disk).await;
    let receipt = writer.receipt();
    let (owes, live, sent) = (Sides::NONE, A, A);
    writer.tell(Change::Keep {
        seq: late,
        owes,
        live,
        sent,
        body: body(0),
        receipt,
    });
    settled(&disk).await;
    assert_eq!(
        Writer::new(&open(&crashed(&folder))).leased(Side::A).await[0],
        late
    );
}

#[tokio::test]
async fn a_landing_costs_no_commit_and_is_remembered_by_the_next() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    for _ in 0..10 {
        let seq = writer.keep(Sides::NONE, Sides::BOTH).await;
        writer.tell(Change::Landed { seq, side: Side::A });
        writer.tell(Change::Landed { seq, side: Side::B });
    }
    settled(&disk).await;
    let after = open(&crashed(&folder));
    assert_eq!((after.depth().owed.a, after.depth().owed.b), (0, 0));
}

/// A record that comes back after a TRUNCATE or a DROP would be on one side only (S7).
#[tokio::test]
async fn what_was_applied_leaves_the_file_however_busy_the_queue_is() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    writer.keep(B, Sides::NONE).await;
    pay(&writer, &writer.lease(Side::B).await);
    for _ in 0..20 {
        let seq = writer.keep(Sides::NONE, Sides::BOTH).await;
        writer.tell(Change::Landed { seq, side: Side::A });
        writer.tell(Change::Landed { seq, side: Side::B });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    settled(&disk).await;
    let after = crashed(&folder);
    let owed = [&disk, &open(&after)].map(|disk| disk.depth().owed.b);
    assert_eq!(owed, [0, 0], "now, and after a crash");
}

#[tokio::test]
async fn a_torn_tail_of_the_log_loses_only_what_was_not_told_durable() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    let first = writer.keep(B, Sides::NONE).await;
    let durable = fs::metadata(folder.path().join("data/replay.db-wal"))
        .unwrap()
        .len();
    writer.keep(B, Sides::NONE).await;
    let whole = fs::metadata(folder.path().join("data/replay.db-wal"))
        .unwrap()
        .len();
    for len in [
        durable,
        durable + 1,
        durable + 24,
        durable + 2_000,
        whole - 1,
    ] {
        let after = crashed(&folder);
        let log = fs::File::options()
            .write(true)
            .open(after.path().join("data/replay.db-wal"));
        log.unwrap().set_len(len).unwrap();
        assert_eq!(
            Writer::new(&open(&after)).leased(Side::B).await,
            [first],
            "cut at {len}"
        );
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_commit_is_detected() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    let first = writer.keep(B, Sides::NONE).await;
    writer.keep(B, Sides::NONE).await;
    let after = crashed(&folder);
    let log = after.path().join("data/replay.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&log, bytes).unwrap();
    assert_eq!(Writer::new(&open(&after)).leased(Side::B).await, [first]);
}

#[tokio::test]
async fn the_bound_in_bytes_refuses_as_full() {
    let folder = TempDir::new().unwrap();
    let bound = 128 << 10;
    let path = folder.path().join("replay.db");
    let disk = Disk::open(Options::new(path, bound, noon)).unwrap();
    let writer = Writer::new(&disk);
    let refused = loop {
        if let Err(refused) = writer.kept(B, Sides::NONE).await {
            break refused;
        }
    };
    assert_eq!(refused, Refused::Full);
    assert!(bound / 2 < disk.depth().bytes && disk.depth().bytes <= bound);
    let leases = writer.lease(Side::B).await;
    pay(&writer, &leases);
    settled(&disk).await;
    assert!(disk.accepts());
}

#[test]
fn a_second_owner_of_the_file_is_turned_away() {
    let folder = TempDir::new().unwrap();
    let first = open(&folder);
    let second = Disk::open(options(&folder)).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    drop(first);
    drop(open(&folder));
}

#[test]
fn a_path_below_a_file_is_a_clear_error() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("data"), "").unwrap();
    let error = Disk::open(options(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_queue_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data/replay.db");
    fs::create_dir(folder.path().join("data")).unwrap();
    let long = "not a database".repeat(100);
    for foreign in ["x", "SQLite format 3", "SQLite format 3, or so", &long] {
        fs::write(&path, foreign).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Disk::open(options(&folder)).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), foreign.as_bytes());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
    fs::write(&path, "").unwrap();
    drop(open(&folder));

    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE other (a); PRAGMA user_version = 1")
        .unwrap();
    drop(other);
    let error = Disk::open(options(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::Version { .. }), "{error}");
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    Writer::new(&disk).keep(B, A).await;
    for file in fs::read_dir(folder.path().join("data")).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn the_clock_and_facts_survive() {
    let folder = TempDir::new().unwrap();
    let disk = open(&folder);
    assert_eq!(
        (disk.clock_ceiling(), disk.fact("drain").await),
        (0, Ok(None))
    );
    disk.reserve_clock(77).await.unwrap();
    disk.reserve_clock(5).await.unwrap();
    disk.put_fact("drain", b"B").await.unwrap();
    let disk = open(&crashed(&folder));
    assert_eq!(
        (disk.clock_ceiling(), disk.fact("drain").await),
        (77, Ok(Some(b"B".to_vec())))
    );
}
