//! A disk without room, and the reserve that is kept for it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::replay::Parked;
use crate::replay::queue::disk::store::Store;

fn reserve(folder: &TempDir) -> PathBuf {
    fs::create_dir_all(folder.path().join("data")).unwrap();
    folder.path().join("data/replay.db.reserve")
}

#[tokio::test]
async fn a_full_disk_refuses_records_and_takes_them_again_once_some_left() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::open(options(&folder).pages_max(60)).unwrap();
    let writer = Writer::new(&disk);
    let mut kept = Vec::new();
    let refused = loop {
        match writer.kept(B, Sides::NONE).await {
            Ok(seq) => kept.push(seq),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Refused::Store(_)) && 100 < kept.len());
    assert!(!disk.accepts());
    assert!(matches!(
        writer.kept(B, Sides::NONE).await,
        Err(Refused::Store(_))
    ));

    // Once it is open again records leave, and that makes room.
    let mut leased = Vec::new();
    while leased.is_empty() {
        leased = disk.lease(Side::B, 10_000).await.unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        leased.iter().map(|lease| lease.seq).collect::<Vec<_>>(),
        kept
    );
    pay(&writer, &leased);
    while !disk.accepts() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    writer.keep(B, Sides::NONE).await;
    assert_eq!(disk.depth().owed.b, 1, "what was refused is not there");
}

#[tokio::test]
async fn a_miss_that_cannot_be_stored_makes_its_side_behind_all_the_same() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::open(options(&folder).pages_max(60)).unwrap();
    let writer = Writer::new(&disk);
    let seq = writer.keep(Sides::NONE, Sides::BOTH).await;
    while writer.kept(Sides::NONE, A).await.is_ok() {}
    assert!(!disk.is_behind(Side::B));
    writer.tell(Change::Landed { seq, side: Side::A });
    let (side, sent, receipt) = (Side::B, true, None);
    writer.tell(Change::Missed {
        seq,
        side,
        sent,
        receipt,
    });
    // Answered after it, whether the file is open again by then or not.
    drop(disk.reserve_clock(1).await);
    assert!(disk.is_behind(Side::B) && !disk.is_behind(Side::A));
}

#[tokio::test]
async fn a_letter_that_found_no_room_is_written_once_there_is_some() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::open(options(&folder).pages_max(60)).unwrap();
    let writer = Writer::new(&disk);
    while writer.kept(B, Sides::NONE).await.is_ok() {}
    let mut leased = Vec::new();
    while leased.is_empty() {
        leased = disk.lease(Side::B, 10_000).await.unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let poison = leased.remove(0).seq;
    assert!(matches!(
        writer.park(poison, Side::B, "no").await,
        Err(Refused::Store(_))
    ));
    pay(&writer, &leased);
    while disk.depth().dead == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(writer.letters().await[0].body, body(poison.0));
    assert_eq!(disk.depth().owed.b, 0);
}

fn keep_long(disk: &Disk, bytes: usize) -> Seq {
    let seq = disk.next_seq();
    disk.submit(&mut vec![Change::Keep {
        seq,
        owes: B,
        live: Sides::NONE,
        sent: Sides::NONE,
        body: vec![1; bytes],
        receipt: None,
    }]);
    seq
}

/// A letter that takes more than there is must not keep back what would make room for it.
#[tokio::test]
async fn a_letter_that_finds_no_room_lets_the_others_leave_first() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::open(options(&folder).pages_max(200)).unwrap();
    let writer = Writer::new(&disk);
    let large = keep_long(&disk, 500_000);
    while disk.accepts() {
        keep_long(&disk, 16_000);
        drop(disk.reserve_clock(0).await);
    }
    let mut leased = Vec::new();
    while leased.is_empty() {
        leased = disk.lease(Side::B, 10_000).await.unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(leased.remove(0).seq, large);
    let later = leased.split_off(leased.len() / 4);
    pay(&writer, &leased);
    eventually(|| disk.accepts()).await;

    let mut changes = vec![Change::Park {
        seq: large,
        side: Side::B,
        reason: Parked::Refused,
        error: String::new(),
        receipt: None,
    }];
    changes.extend(later.iter().map(|it| Change::Applied {
        seq: it.seq,
        side: it.side,
    }));
    disk.submit(&mut changes);
    eventually(|| disk.depth().owed.b == 0 && disk.depth().dead == 1).await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_does_not_say_that_it_takes_records() {
    let folder = TempDir::new().unwrap();
    let full = || Disk::open(options(&folder).pages_max(60)).unwrap();
    let disk = full();
    while Writer::new(&disk).kept(B, Sides::NONE).await.is_ok() {}
    drop(disk);

    let disk = full();
    assert!(!disk.accepts());
    let writer = Writer::new(&disk);
    let leases = writer.lease(Side::B).await;
    assert!(100 < leases.len(), "what is owed is there all the same");
    pay(&writer, &leases);
    eventually(|| disk.accepts()).await;
}

#[test]
fn what_a_probe_left_does_not_fail_the_next() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("replay.db"), None).unwrap();
    store.set_fact("probe", b"left over").unwrap();
    store.probe(1_000).unwrap();
    assert_eq!(store.fact("probe").unwrap(), None);
}

#[tokio::test]
async fn a_reserve_that_cannot_be_made_does_not_bound_the_file() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(reserve(&folder)).unwrap();
    let disk = open(&folder);
    let writer = Writer::new(&disk);
    for _ in 0..1_000 {
        writer.keep(B, Sides::NONE).await;
    }
    assert!(disk.accepts());
}

#[test]
fn a_reserve_that_is_something_else_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let (reserve, other) = (reserve(&folder), folder.path().join("other"));
    fs::write(&other, "mine").unwrap();
    symlink(&other, &reserve).unwrap();
    drop(open(&folder));
    assert_eq!(fs::read(&other).unwrap(), b"mine", "behind a link");

    fs::remove_file(&reserve).unwrap();
    fs::write(&reserve, "mine").unwrap();
    drop(open(&folder));
    assert_eq!(fs::read(&reserve).unwrap(), b"mine");
}

#[test]
fn a_reserve_of_before_becomes_private() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder));
    let reserve = reserve(&folder);
    fs::set_permissions(&reserve, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&folder));
    let mode = fs::metadata(&reserve).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_reserve_is_taken_in_pieces_also_from_where_a_crash_left_it() {
    let folder = TempDir::new().unwrap();
    let path = reserve(&folder);
    let len = || fs::metadata(&path).unwrap().len();
    let take = || Reserve::of(&folder.path().join("data/replay.db")).take_piece();
    assert!(!take().unwrap(), "all at once");
    let piece = len();
    assert!(0 < piece && piece < 32 << 20);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(piece - 100)
        .unwrap();
    while !take().unwrap() {}
    assert_eq!(len(), 32 << 20);
}
