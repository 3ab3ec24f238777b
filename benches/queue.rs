//! What the disk queue costs: durable records a second, a journalled write, a drain, a reopening.
//!
//! `cargo bench --bench queue [-- RECORDS]`; the file goes to `$TMPDIR`. The figures that the design names
//! are judged at the end.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program"
)]

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::replay::queue::{Disk, Options};
use helix_proxy::replay::record::{Child, Draft, Reason, Record, Repeat};
use helix_proxy::replay::schedule::Limits;
use helix_proxy::replay::worker::{Applied, Apply, Worker};
use helix_proxy::replay::{Change, Queue, Receipt, Receipts, Seq};
use helix_proxy::telemetry::Metrics;
use tokio::sync::watch;

const WRITERS: usize = 256;
const A: Sides = Sides::only(Side::A);
const B: Sides = Sides::only(Side::B);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let records = std::env::args()
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(1_000_000_usize);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replay.db");
    let disk = open(&path);
    println!(
        "bodies of {} bytes, {WRITERS} writers in closed loop, {records} records",
        record(0).len()
    );

    one_by_one(&disk).await;
    timed(
        "journalled, landed on both",
        &disk,
        records / 4,
        async |n| closed_loop(&disk, n, Sides::NONE, Sides::BOTH).await,
    )
    .await;
    let kept = timed("kept for B, landed on A", &disk, records, async |n| {
        closed_loop(&disk, n, B, A).await
    })
    .await;
    println!("depth {:?}", disk.depth());
    disk.close().await.unwrap();
    drop(disk);

    let start = Instant::now();
    let disk = Arc::new(open(&path));
    println!(
        "reopened with {} owed in {:?}",
        disk.depth().owed.b,
        start.elapsed()
    );
    timed(
        "kept for B, landed on A, on top of those",
        &disk,
        records / 4,
        async |n| closed_loop(&disk, n, B, A).await,
    )
    .await;
    let owed = usize::try_from(disk.depth().owed.b).unwrap();
    timed("drained", &disk, owed, async |_| drain(&disk).await).await;
    let half = records / 2;
    closed_loop(&disk, half, B, A).await;
    let replayed = timed("replayed by the worker", &disk, half, async |_| {
        replay(&disk).await
    })
    .await;
    println!("depth {:?}, resident {}", disk.depth(), resident());

    println!("\n| the queue alone | records/s | target | |\n|---|---|---|---|");
    judge("made durable for 256 writers", kept, 100_000.0);
    judge(
        "replayed from disk into a cluster that answers at once",
        replayed,
        50_000.0,
    );
}

/// A row of the closing table.
fn judge(what: &str, rate: f64, least: f64) {
    let verdict = if least <= rate { "ok" } else { "MISSED" };
    println!("| {what} | {rate:.0} | >= {least:.0} | {verdict} |");
}

fn open(path: &Path) -> Disk {
    Disk::open(Options::new(path.to_owned(), 8 << 30, || 0)).unwrap()
}

/// Runs `work` on so many records; prints its rate, which is returned, and the writer thread's share of
/// the CPU.
async fn timed(
    what: &str,
    disk: &Disk,
    records: usize,
    work: impl AsyncFn(usize) -> Vec<u64>,
) -> f64 {
    let (start, before) = (Instant::now(), writer_nanos());
    let mut waits = work(records).await;
    disk.reserve_clock(0).await.unwrap();
    let (took, cpu) = (start.elapsed(), writer_nanos() - before);
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 1_000).copied().unwrap_or(0) / 1_000;
    let rate = records as f64 / took.as_secs_f64();
    println!(
        "{what}: {rate:.0}/s, writer {:.2} us CPU each, wait p50 {} p99 {} p999 {} max {} us",
        cpu as f64 / 1e3 / records as f64,
        at(500),
        at(990),
        at(999),
        waits.last().map_or(0, |wait| wait / 1_000),
    );
    rate
}

async fn one_by_one(disk: &Disk) {
    let (start, count) = (Instant::now(), 500_u32);
    let receipts = Receipts::new();
    let mut told = Vec::new();
    for ticket in 0..count {
        let seq = disk.next_seq();
        disk.submit(&mut vec![keep(
            seq,
            Sides::NONE,
            A,
            &receipts,
            ticket.into(),
        )]);
        receipts.arrived().await;
        receipts.take(&mut told);
        disk.submit(&mut vec![Change::Landed { seq, side: Side::A }]);
    }
    println!("one at a time: {:?} each", start.elapsed() / count);
}

fn keep(seq: Seq, owes: Sides, live: Sides, to: &Arc<Receipts>, ticket: u64) -> Change {
    let receipt = Some(Receipt {
        to: Arc::clone(to),
        ticket,
    });
    Change::Keep {
        seq,
        owes,
        live,
        sent: live,
        body: record(ticket),
        receipt,
    }
}

/// Each writer keeps a record, waits for its receipt, lands it, and keeps the next.
async fn closed_loop(disk: &Disk, records: usize, owes: Sides, live: Sides) -> Vec<u64> {
    let receipts = Receipts::new();
    let (mut changes, mut arrived, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    let mut began = VecDeque::new();
    let mut told = 0;
    while waits.len() < records {
        while told < records && told - waits.len() < WRITERS {
            let seq = disk.next_seq();
            changes.push(keep(seq, owes, live, &receipts, seq.0.unsigned_abs()));
            began.push_back(Instant::now());
            told += 1;
        }
        disk.submit(&mut changes);
        receipts.arrived().await;
        receipts.take(&mut arrived);
        for (ticket, answer) in arrived.drain(..) {
            answer.unwrap();
            let seq = Seq(i64::try_from(ticket).unwrap());
            changes.extend(live.iter().map(|side| Change::Landed { seq, side }));
            waits.push(
                began
                    .pop_front()
                    .unwrap()
                    .elapsed()
                    .as_nanos()
                    .try_into()
                    .unwrap(),
            );
        }
    }
    disk.submit(&mut changes);
    waits
}

async fn drain(disk: &Disk) -> Vec<u64> {
    let mut changes = Vec::new();
    loop {
        let leases = disk.lease(Side::B, 1_000).await.unwrap();
        if leases.is_empty() {
            return Vec::new();
        }
        changes.extend(leases.iter().map(|l| Change::Applied {
            seq: l.seq,
            side: Side::B,
        }));
        disk.submit(&mut changes);
    }
}

/// CPU of the writer thread so far.
fn writer_nanos() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let paths = tasks.map(|task| task.unwrap().path());
    let is_writer = |path: &PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "replay-queue")
    };
    let nanos = |path: PathBuf| {
        let stat = fs::read_to_string(path.join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    paths.filter(is_writer).map(nanos).sum()
}

fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default()
        .to_owned()
}

/// A cluster that answers at once.
struct AtOnce;

impl Apply for AtOnce {
    async fn apply(&self, _: Side, _: Rc<Record>, _: bool) -> Applied {
        Applied::Done
    }
}

/// The worker, from disk into a cluster that answers at once.
async fn replay(disk: &Arc<Disk>) -> Vec<u64> {
    let queue: Arc<dyn Queue> = Arc::<Disk>::clone(disk);
    let (up, stop) = (watch::channel(true).0, watch::channel(false).0);
    let names = Pair::from_fn(|side| Some(side.label().to_owned()));
    let worker = Worker {
        side: Side::B,
        queue: Arc::clone(&queue),
        apply: AtOnce,
        limits: Limits::default(),
        timeout: Duration::from_secs(30),
        metrics: Arc::new(Metrics::new(names).expect("metrics")),
        seed: 1,
    };
    let empty = async {
        while queue.is_behind(Side::B) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.send_replace(true);
    };
    tokio::join!(worker.run(up.subscribe(), stop.subscribe()), empty);
    Vec::new()
}

/// A record of about the given size, of one of 10,000 partitions.
fn record(partition: u64) -> Vec<u8> {
    let values = [&200_u32.to_be_bytes()[..], &[7; 200]].concat();
    let child = Child {
        text: "INSERT INTO t (k) VALUES (?)",
        keyspace: None,
        bind_types: 0,
        values: &values,
        count: 1,
        named: false,
    };
    let mut out = Vec::new();
    Draft {
        origin: "bench",
        statements: &[child],
        consistency: 6,
        timestamp: Some(1),
        partition: partition % 10_000,
        reason: Reason::Down,
        repeat: Repeat::Yes,
        single_partition: true,
        ..Draft::default()
    }
    .encode(&mut out);
    out
}
