//! A proxy of one worker over two fake clusters, and one client.

use std::cell::Cell;
use std::num::NonZeroUsize;
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
use helix_proxy::replay::Queue;
use helix_proxy::replay::queue::Memory;
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::Version;

use crate::data_plane;

pub(crate) const INVALID: i32 = 0x2200;
pub(crate) const OVERLOADED: i32 = 0x1001;
pub(crate) const SERVER_ERROR: i32 = 0x0000;
pub(crate) const UNAVAILABLE: i32 = 0x1000;
pub(crate) const WRITE_TIMEOUT: i32 = 0x1100;
pub(crate) const WRITE: &str = "INSERT INTO ks.t (k, v) VALUES (1, 2)";
pub(crate) const READ: &str = "SELECT v FROM ks.t WHERE k = 1";
pub(crate) const CONDITIONAL: &str = "INSERT INTO ks.t (k, v) VALUES (1, 2) IF NOT EXISTS";

/// What a fake node does with a QUERY.
#[derive(Clone, Copy, Default)]
pub(crate) enum Mood {
    #[default]
    Done,
    Error(i32),
    /// It has forgotten every statement again when it is to run it.
    Forgetful,
    Gone,
    /// It answers once it is in another mood, as that one would.
    Held,
    /// An ERROR that ends before its code does.
    Nonsense,
    Silent,
    /// An answer of another version.
    Stray,
}

pub(crate) type Moods = Pair<Rc<Cell<Mood>>>;
/// The QUERYs that reached each node.
type Asked = Pair<Rc<Cell<usize>>>;

/// Deadlines that silence runs into soon.
pub(crate) const SHORT: Deadlines = Deadlines {
    read: Duration::from_millis(300),
    failover_after: Duration::from_millis(100),
    write: Duration::from_millis(200),
    schema: Duration::from_secs(60),
};

/// Deadlines that nothing here runs into.
pub(crate) const LONG: Deadlines = Deadlines {
    read: Duration::from_secs(120),
    failover_after: Duration::from_secs(60),
    write: Duration::from_secs(120),
    schema: Duration::from_secs(120),
};

/// A proxy of one worker over two fake clusters, and one client.
pub(crate) struct Stage {
    pub(crate) moods: Moods,
    pub(crate) asked: Asked,
    metrics: Metrics,
    pub(crate) client: TcpStream,
    pub(crate) shared: Arc<Shared>,
    pub(crate) view: watch::Sender<View>,
    pub(crate) reports: mpsc::Receiver<(Side, Report)>,
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn new(rules: policy::Config, deadlines: Deadlines, queue: Arc<dyn Queue>) -> Self {
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
        let mut shared = shared((rules, deadlines), to);
        let (view, seen) = watch::channel(*shared.view.borrow());
        let mine = Arc::get_mut(&mut shared).unwrap();
        mine.view = seen;
        mine.queue = Some(queue);
        let desk: Rc<Desk<Outlet>> =
            Desk::new(Arc::clone(&shared), &points, Rc::new(metrics.worker()));
        let address = data_plane::run(desk, Version::V4, &mut tasks);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&request(0x01, &startup())).await.unwrap();
        assert_eq!(frame(&mut client).await.unwrap().0[4], 0x02);
        Self {
            moods,
            asked,
            metrics,
            client,
            shared,
            view,
            reports,
            _tasks: tasks,
        }
    }

    /// Asks, and returns the answer's opcode.
    pub(crate) async fn query(&mut self, text: &str) -> u8 {
        self.client.write_all(&query(text)).await.unwrap();
        frame(&mut self.client).await.expect("an answer").0[4]
    }

    /// Asks, and returns the code of the error that comes.
    pub(crate) async fn refused(&mut self, text: &str) -> i32 {
        self.client.write_all(&query(text)).await.unwrap();
        self.error().await.0
    }

    /// The next answer, which is an error: its code and its sentence.
    pub(crate) async fn error(&mut self) -> (i32, String) {
        let (head, body) = frame(&mut self.client).await.expect("an answer");
        assert_eq!(head[4], 0x00, "no error");
        let code = i32::from_be_bytes(*body.first_chunk().unwrap());
        let length = usize::from(u16::from_be_bytes([body[4], body[5]]));
        (
            code,
            String::from_utf8(body[6..6 + length].to_vec()).unwrap(),
        )
    }

    /// Prepares, and returns the id.
    pub(crate) async fn prepare(&mut self, text: &str) -> Vec<u8> {
        self.client
            .write_all(&request(0x09, &long(text)))
            .await
            .unwrap();
        let (head, body) = frame(&mut self.client).await.expect("an answer");
        assert_eq!((head[4], &body[..4]), (0x08, &[0, 0, 0, 4][..]));
        let length = usize::from(u16::from_be_bytes([body[4], body[5]]));
        body[6..6 + length].to_vec()
    }

    /// Sends a message that a node answers with RESULT.
    pub(crate) async fn done(&mut self, message: &[u8]) {
        self.client.write_all(message).await.unwrap();
        assert_eq!(frame(&mut self.client).await.expect("an answer").0[4], 0x08);
    }

    /// Returns once a node was asked so often.
    pub(crate) async fn reached(&self, side: Side, times: usize) {
        for _look in 0..2_000 {
            if self.asked[side].get() == times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.asked[side].get(), times, "{side}");
    }

    /// Asks while A keeps its answers to itself. B's breaker opens, then A answers in this mood.
    pub(crate) async fn opened_meanwhile(&mut self, text: &str, mood: Mood) -> u8 {
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
    pub(crate) async fn shows(&self, lines: &[&str]) {
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

/// Runs a story with `ack_anyway` and a queue for so many records; reads begin at A.
pub(crate) async fn staged<F: Future<Output = ()>>(records: usize, story: impl FnOnce(Stage) -> F) {
    staged_over(memory(records), anyway(), story).await;
}

/// The same where writes go to one side after the other.
pub(crate) async fn synced<F: Future<Output = ()>>(
    first: Side,
    deadlines: Deadlines,
    story: impl FnOnce(Stage) -> F,
) {
    let writes = policy::Writes {
        strategy: WriteStrategy::Sync { first },
        ..anyway()
    };
    play(memory(10), (writes, deadlines), story).await;
}

/// The same over this queue, by these rules.
pub(crate) async fn staged_over<F: Future<Output = ()>>(
    queue: Arc<dyn Queue>,
    writes: policy::Writes,
    story: impl FnOnce(Stage) -> F,
) {
    play(queue, (writes, SHORT), story).await;
}

fn memory(records: usize) -> Arc<dyn Queue> {
    Arc::new(Memory::new(NonZeroUsize::new(records).unwrap(), || 0))
}

/// The default, but for `ack_anyway`.
pub(crate) fn anyway() -> policy::Writes {
    policy::Writes {
        on_queue_failure: OnQueueFailure::AckAnyway,
        ..policy::Writes::default()
    }
}

/// The same with deadlines of its own.
pub(crate) async fn play<F: Future<Output = ()>>(
    queue: Arc<dyn Queue>,
    (writes, deadlines): (policy::Writes, Deadlines),
    story: impl FnOnce(Stage) -> F,
) {
    let mut rules = policy::Config {
        writes,
        ..policy::Config::default()
    };
    rules.reads.strategy = ReadStrategy::Sticky {
        preferred: Preferred::Side(Side::A),
        cooldown: Duration::ZERO,
    };
    let local = LocalSet::new();
    local
        .run_until(async { story(Stage::new(rules, deadlines, queue).await).await })
        .await;
}

fn cluster_of(side: Side, port: u16) -> cluster::Config {
    let host = "127.0.0.1".to_owned();
    let points = ContactPoints::new(ContactPoint { host, port }, []);
    cluster::Config::new(Name::new(side.label()).unwrap(), points)
}

fn shared(
    (rules, deadlines): (policy::Config, Deadlines),
    reports: mpsc::Sender<(Side, Report)>,
) -> Arc<Shared> {
    let config = dispatch::Config {
        deadlines,
        ..dispatch::Config::default()
    };
    data_plane::shared("counted", (config, rules), 1, reports)
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
            (0x09, Mood::Done | Mood::Forgetful) => (0x08, prepared()),
            (_, Mood::Forgetful) => (0x00, unprepared()),
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

/// RESULT of PREPARE: an id, no variables, no columns.
fn prepared() -> Vec<u8> {
    let [kind, empty, flags] = [4, 0, 0].map(|it: i32| it.to_be_bytes());
    let variables = [flags, empty, empty].concat();
    let columns = [flags, empty].concat();
    [&kind[..], &[0, 2], b"id", &variables, &columns].concat()
}

/// ERROR UNPREPARED of that id.
fn unprepared() -> Vec<u8> {
    [&0x2500_i32.to_be_bytes()[..], &short(b"?"), &short(b"id")].concat()
}

/// A whole QUERY at consistency ONE.
pub(crate) fn query(text: &str) -> Vec<u8> {
    request(0x07, &[&long(text)[..], &[0, 1, 0]].concat())
}

/// A whole EXECUTE without values, at consistency ONE.
pub(crate) fn execute(id: &[u8]) -> Vec<u8> {
    request(0x0A, &[&short(id)[..], &[0, 1, 0]].concat())
}

/// A whole logged BATCH of texts and ids without values, at consistency ONE.
pub(crate) fn batch(texts: &[&str], ids: &[&[u8]]) -> Vec<u8> {
    let count = u16::try_from(texts.len() + ids.len()).unwrap();
    let mut body = [&[0][..], &count.to_be_bytes()].concat();
    for text in texts {
        body.extend([&[0][..], &long(text), &[0, 0]].concat());
    }
    for id in ids {
        body.extend([&[1][..], &short(id), &[0, 0]].concat());
    }
    body.extend([0, 1, 0]);
    request(0x0D, &body)
}

fn long(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn short(id: &[u8]) -> Vec<u8> {
    let length = u16::try_from(id.len()).unwrap().to_be_bytes();
    [&length[..], id].concat()
}

pub(crate) fn request(opcode: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x04, 0, 0, 1, opcode], &length[..], body].concat()
}

pub(crate) async fn frame(stream: &mut TcpStream) -> Option<([u8; 9], Vec<u8>)> {
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
