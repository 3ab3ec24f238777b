//! What a worker thread counts, whom it waits for and whom it asks, over two clusters that fail as the test says.
//!
//! The clock is real, as in all that has sockets; deadlines are short and checks are generous.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name};
use helix_proxy::dispatch::{self, Deadlines, Desk, Shared};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{
    self, OnQueueFailure, Preferred, ReadStrategy, Report, View, WriteStrategy,
};
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::Version;

use crate::data_plane;

const INVALID: i32 = 0x2200;
const OVERLOADED: i32 = 0x1001;
const SERVER_ERROR: i32 = 0x0000;
const UNAVAILABLE: i32 = 0x1000;
const WRITE_TIMEOUT: i32 = 0x1100;
const WRITE: &str = "INSERT INTO ks.t (k, v) VALUES (1, 2)";
const READ: &str = "SELECT v FROM ks.t WHERE k = 1";
const UNKNOWN: &str = "FROBNICATE ks.t";
const CONDITIONAL: &str = "INSERT INTO ks.t (k, v) VALUES (1, 2) IF NOT EXISTS";

/// What a fake node does with a QUERY.
#[derive(Clone, Copy, Default)]
enum Mood {
    #[default]
    Done,
    Error(i32),
    Gone,
    /// It answers once it is in another mood, as that one would.
    Held,
    /// An ERROR that ends before its code does.
    Nonsense,
    Silent,
    /// An answer of another version.
    Stray,
}

type Moods = Pair<Rc<Cell<Mood>>>;

/// The QUERYs that reached each node.
type Asked = Pair<Rc<Cell<usize>>>;

/// Deadlines that silence runs into soon.
const SHORT: Deadlines = Deadlines {
    read: Duration::from_millis(300),
    failover_after: Duration::from_millis(100),
    write: Duration::from_millis(200),
    schema: Duration::from_secs(60),
};

/// Deadlines that nothing here runs into.
const LONG: Deadlines = Deadlines {
    read: Duration::from_secs(120),
    failover_after: Duration::from_secs(60),
    write: Duration::from_secs(120),
    schema: Duration::from_secs(120),
};

/// A proxy of one worker over two fake clusters, and one client.
struct Stage {
    moods: Moods,
    asked: Asked,
    metrics: Metrics,
    client: TcpStream,
    reports: mpsc::Receiver<(Side, Report)>,
    view: watch::Sender<View>,
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn new(rules: policy::Config, deadlines: Deadlines, records: usize) -> Self {
        let (moods, mut tasks) = (Moods::default(), JoinSet::new());
        let asked = Asked::default();
        let mut points = Pair::<Option<Arc<cluster::Config>>>::default();
        for side in Side::ALL {
            let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = node.local_addr().unwrap().port();
            points[side] = Some(Arc::new(cluster_of(side, port)));
            let (mood, asked) = (Rc::clone(&moods[side]), Rc::clone(&asked[side]));
            tasks.spawn_local(accept(node, mood, asked));
        }
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let (to, reports) = mpsc::channel(64);
        let mut shared = shared((rules, deadlines), records, to);
        let (view, seen) = watch::channel(*shared.view.borrow());
        Arc::get_mut(&mut shared).unwrap().view = seen;
        let desk: Rc<Desk<Outlet>> = Desk::new(shared, &points, Rc::new(metrics.worker()));
        let address = data_plane::run(desk, Version::V4, &mut tasks);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&request(0x01, &startup())).await.unwrap();
        assert_eq!(frame(&mut client).await.unwrap().0[4], 0x02);
        Self {
            moods,
            asked,
            metrics,
            client,
            reports,
            view,
            _tasks: tasks,
        }
    }

    /// Asks, and returns the answer's opcode.
    async fn query(&mut self, text: &str) -> u8 {
        self.client.write_all(&query(text)).await.unwrap();
        frame(&mut self.client).await.expect("an answer").0[4]
    }

    /// Asks, and returns the code of the error that comes.
    async fn refused(&mut self, text: &str) -> i32 {
        self.client.write_all(&query(text)).await.unwrap();
        let (head, body) = frame(&mut self.client).await.expect("an answer");
        assert_eq!(head[4], 0x00, "{text} was not refused");
        i32::from_be_bytes(*body.first_chunk().unwrap())
    }

    /// Returns once a node was asked so often.
    async fn reached(&self, side: Side, times: usize) {
        for _look in 0..2_000 {
            if self.asked[side].get() == times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.asked[side].get(), times, "{side}");
    }

    /// Asks while A keeps its answers to itself. B's breaker opens, then A answers in this mood.
    async fn opened_meanwhile(&mut self, text: &str, mood: Mood) -> u8 {
        let before = self.asked.a.get();
        self.view.send_modify(|view| view.out = Sides::NONE);
        self.moods.a.set(Mood::Held);
        self.client.write_all(&query(text)).await.unwrap();
        self.reached(Side::A, before + 1).await;
        self.view
            .send_modify(|view| view.out = Sides::only(Side::B));
        self.moods.a.set(mood);
        frame(&mut self.client).await.expect("an answer").0[4]
    }

    /// Returns once the page has all these lines.
    async fn shows(&self, lines: &[&str]) {
        let missing = || {
            let page = self.metrics.text().unwrap();
            let missing = lines
                .iter()
                .find(|line| !page.lines().any(|at| at == **line));
            missing.map(|line| format!("{line} in\n{page}"))
        };
        for _look in 0..200 {
            if missing().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(missing(), None);
    }
}

#[tokio::test]
async fn a_side_that_is_silent_until_the_deadline_has_failed_the_write() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Silent);
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage
            .shows(&[
                r#"helix_write_total{cluster="A"} 1"#,
                r#"helix_write_errors_total{cluster="A"} 0"#,
                r#"helix_write_total{cluster="B"} 1"#,
                r#"helix_write_errors_total{cluster="B"} 1"#,
                r#"helix_write_duration_seconds_bucket{cluster="B",le="0.1"} 0"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_has_failed_what_was_sent_on_it() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Gone);
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage
            .shows(&[
                r#"helix_write_errors_total{cluster="B"} 1"#,
                r#"helix_write_total{cluster="B"} 1"#,
                r#"helix_backend_connections{cluster="A"} 1"#,
                r#"helix_backend_connections{cluster="B"} 0"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_one_strike_however_many_waited_on_it() {
    staged(20, async |mut stage| {
        // Both sides have a connection before B hangs up.
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.moods.b.set(Mood::Gone);
        let burst = query(WRITE).repeat(10);
        stage.client.write_all(&burst).await.unwrap();
        for _write in 0..10 {
            assert_eq!(frame(&mut stage.client).await.unwrap().0[4], 0x08);
        }
        stage
            .shows(&[r#"helix_write_errors_total{cluster="B"} 10"#])
            .await;
        let mut strikes = 0;
        while let Ok((side, report)) = stage.reports.try_recv() {
            assert_eq!((side, report), (Side::B, Report::Strike));
            strikes += 1;
        }
        assert_eq!(strikes, 1);
    })
    .await;
}

#[tokio::test]
async fn a_conditional_that_may_have_been_applied_is_told_so_and_never_as_overloaded() {
    let moods = [
        Mood::Error(OVERLOADED),
        Mood::Error(UNAVAILABLE),
        Mood::Error(SERVER_ERROR),
        Mood::Gone,
        Mood::Nonsense,
        Mood::Silent,
        Mood::Stray,
    ];
    for mood in moods {
        staged(10, async |mut stage| {
            stage.moods.a.set(mood);
            assert_eq!(stage.refused(CONDITIONAL).await, WRITE_TIMEOUT);
            stage.moods.a.set(Mood::Error(INVALID));
            // Whatever became of the connection, what is refused for good is told as it is.
            let told = stage.refused(CONDITIONAL).await;
            assert!([INVALID, OVERLOADED].contains(&told), "{told:#x}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_of_another_version_or_kind_is_no_acknowledgement() {
    for mood in [Mood::Stray, Mood::Nonsense] {
        staged(10, async |mut stage| {
            stage.moods.a.set(mood);
            stage.moods.b.set(mood);
            assert_eq!(stage.refused(WRITE).await, WRITE_TIMEOUT);
        })
        .await;
    }
}

#[tokio::test]
async fn a_silent_side_is_struck_by_reads_that_move_on() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Silent);
        assert_eq!(stage.query(READ).await, 0x08);
        let report = stage.reports.try_recv();
        assert_eq!(report, Ok((Side::A, Report::Strike)));
    })
    .await;
}

#[tokio::test]
async fn a_read_that_moves_counts_as_failover_and_as_failed_where_it_was() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(READ).await, 0x08);
        stage
            .shows(&[
                r#"helix_failover_total{from="A",to="B"} 1"#,
                r#"helix_failover_total{from="B",to="A"} 0"#,
                r#"helix_read_errors_total{cluster="A"} 1"#,
                r#"helix_read_errors_total{cluster="B"} 0"#,
                r#"helix_read_total{cluster="B"} 1"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_read_that_nobody_answers_has_failed_where_it_waited() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Silent);
        stage.moods.b.set(Mood::Silent);
        assert_eq!(stage.query(READ).await, 0x00);
        stage
            .shows(&[r#"helix_read_errors_total{cluster="A"} 1"#])
            .await;
    })
    .await;
}

#[tokio::test]
async fn what_one_side_refuses_for_good_and_the_other_accepts_is_a_divergence() {
    staged(10, async |mut stage| {
        stage.moods.b.set(Mood::Error(INVALID));
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage
            .shows(&[
                r#"helix_divergence_total{cluster="A"} 0"#,
                r#"helix_divergence_total{cluster="B"} 1"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_acknowledged_write_whose_record_was_refused_is_counted() {
    staged(1, async |mut stage| {
        stage.moods.b.set(Mood::Error(OVERLOADED));
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.shows(&["helix_ack_unqueued_total 0"]).await;
        assert_eq!(stage.query(WRITE).await, 0x08);
        stage.shows(&["helix_ack_unqueued_total 1"]).await;
    })
    .await;
}

#[tokio::test]
async fn an_error_that_is_passed_on_is_counted_once() {
    staged(10, async |mut stage| {
        stage.moods.a.set(Mood::Error(INVALID));
        stage.moods.b.set(Mood::Error(INVALID));
        assert_eq!(stage.query(WRITE).await, 0x00);
        stage
            .shows(&[
                r#"helix_client_errors_total{code="invalid"} 1"#,
                r#"helix_divergence_total{cluster="A"} 0"#,
                r#"helix_divergence_total{cluster="B"} 0"#,
            ])
            .await;
    })
    .await;
}

#[tokio::test]
async fn by_sync_a_first_that_is_silent_or_lost_costs_a_record_not_the_write() {
    for (first, mood) in [
        (Side::A, Mood::Silent),
        (Side::B, Mood::Silent),
        (Side::A, Mood::Gone),
        (Side::B, Mood::Gone),
    ] {
        synced(first, SHORT, async |mut stage| {
            stage.moods[first].set(mood);
            for write in 1..=3 {
                assert_eq!(stage.query(WRITE).await, 0x08);
                assert_eq!(stage.asked[!first].get(), write);
            }
            let errors = format!(r#"helix_write_errors_total{{cluster="{first}"}} 3"#);
            stage.shows(&[&errors]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn by_sync_the_second_is_asked_while_a_slow_first_is_still_waited_for() {
    let deadlines = Deadlines {
        write: Duration::from_secs(2),
        ..LONG
    };
    for first in Side::ALL {
        synced(first, deadlines, async |mut stage| {
            stage.moods[first].set(Mood::Held);
            stage.client.write_all(&query(WRITE)).await.unwrap();
            stage.reached(!first, 1).await;
            stage.moods[first].set(Mood::Done);
            assert_eq!(frame(&mut stage.client).await.unwrap().0[4], 0x08);
            let both = |line: &str| Side::ALL.map(|side| line.replace('?', side.label()));
            for line in both(r#"helix_write_total{cluster="?"} 1"#) {
                stage.shows(&[&line]).await;
            }
            for line in both(r#"helix_write_errors_total{cluster="?"} 0"#) {
                stage.shows(&[&line]).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_still_to_go_to_a_side_does_not_once_its_breaker_opened() {
    synced(Side::A, LONG, async |mut stage| {
        let write = stage.opened_meanwhile(WRITE, Mood::Done).await;
        assert_eq!((write, stage.asked.b.get()), (0x08, 0), "a write by sync");
        let read = stage.opened_meanwhile(READ, Mood::Error(OVERLOADED)).await;
        assert_eq!((read, stage.asked.b.get()), (0x00, 0), "a read");
        let unknown = stage.opened_meanwhile(UNKNOWN, Mood::Done).await;
        assert_eq!((unknown, stage.asked.b.get()), (0x00, 0), "a text");
    })
    .await;
}

#[tokio::test]
async fn of_a_doubted_side_every_good_answer_is_told_whoever_heard_the_bad_ones() {
    staged(10, async |mut stage| {
        assert_eq!(stage.query(WRITE).await, 0x08);
        assert!(stage.reports.try_recv().is_err(), "nothing is told usually");
        let doubted = Sides::only(Side::B);
        stage.view.send_modify(|view| view.doubted = doubted);
        for _write in 0..3 {
            assert_eq!(stage.query(WRITE).await, 0x08);
            let report = stage.reports.recv().await;
            assert_eq!(report, Some((Side::B, Report::Success)));
        }
    })
    .await;
}

/// Runs a story with `ack_anyway` and a queue for so many records; reads begin at A.
async fn staged<F: Future<Output = ()>>(records: usize, story: impl FnOnce(Stage) -> F) {
    play(WriteStrategy::Concurrent, SHORT, records, story).await;
}

/// The same where writes go to one side after the other.
async fn synced<F: Future<Output = ()>>(
    first: Side,
    deadlines: Deadlines,
    story: impl FnOnce(Stage) -> F,
) {
    play(WriteStrategy::Sync { first }, deadlines, 10, story).await;
}

async fn play<F: Future<Output = ()>>(
    strategy: WriteStrategy,
    deadlines: Deadlines,
    records: usize,
    story: impl FnOnce(Stage) -> F,
) {
    let mut rules = policy::Config::default();
    rules.writes.strategy = strategy;
    rules.writes.on_queue_failure = OnQueueFailure::AckAnyway;
    rules.reads.strategy = ReadStrategy::Sticky {
        preferred: Preferred::Side(Side::A),
        cooldown: Duration::ZERO,
    };
    let local = LocalSet::new();
    local
        .run_until(async { story(Stage::new(rules, deadlines, records).await).await })
        .await;
}

fn cluster_of(side: Side, port: u16) -> cluster::Config {
    let host = "127.0.0.1".to_owned();
    let points = ContactPoints::new(ContactPoint { host, port }, []);
    cluster::Config::new(Name::new(side.label()).unwrap(), points)
}

fn shared(
    (rules, deadlines): (policy::Config, Deadlines),
    records: usize,
    reports: mpsc::Sender<(Side, Report)>,
) -> Arc<Shared> {
    let config = dispatch::Config {
        deadlines,
        ..dispatch::Config::default()
    };
    data_plane::shared("counted", (config, rules), records, reports)
}

async fn accept(node: TcpListener, mood: Rc<Cell<Mood>>, asked: Rc<Cell<usize>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = node.accept().await {
        connections.spawn_local(answer(stream, Rc::clone(&mood), Rc::clone(&asked)));
    }
}

/// One connection of a fake node.
async fn answer(mut stream: TcpStream, mood: Rc<Cell<Mood>>, asked: Rc<Cell<usize>>) {
    while let Some((head, _)) = frame(&mut stream).await {
        if head[4] == 0x07 {
            asked.set(asked.get() + 1);
        }
        while matches!(mood.get(), Mood::Held) && head[4] == 0x07 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (opcode, body) = match (head[4], mood.get()) {
            (0x01, _) => (0x02, Vec::new()),
            // A sign of life that the proxy asks for at its start too.
            (_, Mood::Silent) => continue,
            (0x05, _) => (0x06, vec![0, 0]),
            (_, Mood::Done | Mood::Held) => (0x08, vec![0, 0, 0, 1]),
            (_, Mood::Error(code)) => (0x00, [&code.to_be_bytes()[..], &[0, 1, b'?']].concat()),
            (_, Mood::Gone) => return,
            (_, Mood::Nonsense) => (0x00, vec![0, 0]),
            (_, Mood::Stray) => (0x08, vec![0, 0, 0, 1]),
        };
        let is_stray = matches!(mood.get(), Mood::Stray) && opcode == 0x08;
        let mut out = vec![
            if is_stray { 0x83 } else { 0x84 },
            0,
            head[2],
            head[3],
            opcode,
        ];
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&body);
        stream.write_all(&out).await.unwrap();
    }
}

/// A whole QUERY at consistency ONE.
fn query(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    request(0x07, &[&length[..], text.as_bytes(), &[0, 1, 0]].concat())
}

fn request(opcode: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x04, 0, 0, 1, opcode], &length[..], body].concat()
}

async fn frame(stream: &mut TcpStream) -> Option<([u8; 9], Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// The body of STARTUP: one option.
fn startup() -> Vec<u8> {
    let mut body = vec![0, 1];
    for text in ["CQL_VERSION", "3.0.0"] {
        body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    body
}
