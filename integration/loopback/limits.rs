//! What a client hears when a limit is reached or a cluster is away, and that nobody else suffers from it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::data_plane;
use crate::site::{Serve, Site};
use crate::wire::{Wire, prepared, raw};
use helix_proxy::cluster::inflight::STREAMS_MAX;
use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name};
use helix_proxy::dispatch::{self, Deadlines, Desk, Registry};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{self, Preferred, ReadStrategy, View};
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::request::{Execute, Parameters, Prepare, Query, Values};
use helix_proxy::wire::{Consistency, Cursor, Version, put};

const QUERY: u8 = 0x07;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0A;
const RESULT: u8 = 0x08;
const VOID: [u8; 4] = [0, 0, 0, 1];
const OVERLOADED: i32 = 0x1001;
const READ_TIMEOUT: i32 = 0x1200;
const UNPREPARED: i32 = 0x2500;
/// Statements that the proxy has room for here.
const STATEMENTS: usize = 256;
const SERIAL: Consistency = Consistency(8);
const READ: &str = "SELECT v FROM ks.t WHERE k = 1";
const WRITE: &str = "INSERT INTO ks.t (k) VALUES (1)";
const CONDITIONAL: &str = "INSERT INTO ks.t (k) VALUES (1) IF NOT EXISTS";
/// What the proxy does not understand, and so sends to both sides, one after the other.
const UNKNOWN: &str = "FROBNICATE ks.t";
/// Requests in flight that one client may have.
const CLIENT_MAX: i16 = 2_048;
const MIB: usize = 1 << 20;

/// A node that answers when it is told to.
#[derive(Default)]
struct Node {
    /// It takes QUERYs and leaves them without an answer.
    keeps: Cell<bool>,
    /// QUERYs that it took and did not answer.
    kept: Cell<usize>,
    /// Has it answer them.
    release: Notify,
    /// It reads nothing.
    is_deaf: Cell<bool>,
    hears: Notify,
    /// Bytes of the large QUERYs that it read, and how many others.
    read: Cell<usize>,
    small: Cell<usize>,
}

impl Node {
    fn count(&self, size: usize) {
        match MIB <= size {
            true => self.read.set(self.read.get() + size),
            false => self.small.set(self.small.get() + 1),
        }
    }

    /// Rows without columns, and a page to come.
    async fn answer(&self, wire: &mut Wire, stream: [u8; 2]) {
        let mut body = Vec::new();
        for number in [2, 0x02 | 0x04, 0] {
            put::i32(&mut body, number);
        }
        put::bytes(&mut body, b"page");
        put::i32(&mut body, 0);
        wire.write(&raw(0x84, stream, RESULT, &body)).await;
    }
}

impl Serve for Node {
    async fn serve(self: Rc<Self>, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        let mut owed = Vec::new();
        loop {
            if self.is_deaf.get() {
                self.hears.notified().await;
            }
            let got = tokio::select! {
                got = wire.read() => got,
                () = self.release.notified() => {
                    for stream in owed.drain(..) {
                        self.answer(&mut wire, stream).await;
                    }
                    continue;
                }
            };
            let Some(got) = got else { return };
            let (opcode, body) = match got.opcode {
                0x05 => (0x06, vec![0, 0]),
                QUERY if got.body[4..].starts_with(b"USE") => {
                    let mut used = vec![0, 0, 0, 3];
                    put::string(&mut used, "ks");
                    (RESULT, used)
                }
                QUERY => {
                    self.count(got.body.len());
                    if self.keeps.get() {
                        self.kept.set(self.kept.get() + 1);
                        owed.push(got.stream);
                    } else {
                        self.answer(&mut wire, got.stream).await;
                    }
                    continue;
                }
                PREPARE => (RESULT, prepared(&id(&got.body))),
                EXECUTE => (RESULT, VOID.to_vec()),
                _ => (0x02, Vec::new()),
            };
            wire.write(&raw(0x84, got.stream, opcode, &body)).await;
        }
    }
}

/// A text of its own has an id of its own.
fn id(body: &[u8]) -> [u8; 16] {
    let mut id = [7_u8; 16];
    for (at, byte) in body.iter().enumerate() {
        id[at % 16] = id[at % 16].wrapping_mul(31) ^ byte;
    }
    id
}

/// The data plane of one thread over a node a side; conditionals are A's.
struct Stage {
    nodes: Pair<Rc<Node>>,
    _sites: Pair<Site<Node>>,
    address: SocketAddr,
    view: watch::Sender<View>,
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn new(write: Duration) -> Self {
        let (nodes, mut tasks) = (Pair::<Rc<Node>>::default(), JoinSet::new());
        let open = |side| Site::open(Rc::clone(&nodes[side]));
        let sites = Pair::new(open(Side::A).await, open(Side::B).await);
        let config_of = |side, site: &Site<Node>| Arc::new(cluster_of(side, site.address.port()));
        let points = sites.as_ref().map(|side, site| Some(config_of(side, site)));
        let config = dispatch::Config {
            deadlines: Deadlines {
                write,
                ..Deadlines::default()
            },
            ..dispatch::Config::default()
        };
        let mut rules = policy::Config::default();
        rules.reads.strategy = ReadStrategy::Sticky {
            preferred: Preferred::Side(Side::A),
            cooldown: Duration::ZERO,
        };
        let reports = mpsc::channel(1_024).0;
        let mut shared = data_plane::shared("limits", (config, rules), 1_000, reports);
        let before = *shared.view.borrow();
        let (view, seen) = watch::channel(before);
        let own = Arc::get_mut(&mut shared).unwrap();
        own.view = seen;
        own.registry = Registry::bounded(false, STATEMENTS * 1_124);
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let desk: Rc<Desk<Outlet>> = Desk::new(shared, &points, Rc::new(metrics.worker()));
        let address = data_plane::run(desk, Version::V4, &mut tasks);
        Self {
            nodes,
            _sites: sites,
            address,
            view,
            _tasks: tasks,
        }
    }

    async fn client(&self) -> Client {
        Client(Wire::started(self.address, Version::V4).await)
    }

    /// This side's breaker is open.
    async fn out(&self, out: Sides) {
        self.view.send_modify(|view| view.out = out);
        tokio::task::yield_now().await;
    }
}

struct Client(Wire);

impl Client {
    async fn ask(&mut self, body: &[u8]) -> Told {
        self.0.write(&raw(4, [0, 1], QUERY, body)).await;
        self.answer().await
    }

    /// The id of the SELECT of this number.
    async fn prepare(&mut self, number: usize) -> Vec<u8> {
        let (text, keyspace) = (&*format!("SELECT v FROM ks.t WHERE k = {number:073}"), None);
        let mut body = Vec::new();
        Prepare { text, keyspace }.put(&mut body, Version::V4);
        self.0.write(&raw(4, [0, 1], PREPARE, &body)).await;
        let body = self.answer().await.result();
        Cursor::new(&body[4..]).short_bytes().unwrap().to_vec()
    }

    async fn execute(&mut self, id: &[u8]) -> Told {
        let (mut body, columns) = (Vec::new(), &[][..]);
        let parameters = Parameters::plain(Consistency::ONE);
        Execute {
            id,
            columns,
            parameters,
        }
        .put(&mut body, Version::V4);
        self.0.write(&raw(4, [0, 1], EXECUTE, &body)).await;
        self.answer().await
    }

    async fn query(&mut self, text: &str) -> Told {
        self.ask(&query(text, Consistency::ONE, None)).await
    }

    async fn answer(&mut self) -> Told {
        let got = self.0.read().await.expect("an answer");
        if got.opcode == RESULT {
            return Told::Result(got.body);
        }
        let mut cursor = Cursor::new(&got.body);
        Told::Error(cursor.i32().unwrap(), cursor.string().unwrap().to_owned())
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Told {
    Error(i32, String),
    Result(Vec<u8>),
}

impl Told {
    fn is_result(&self) -> bool {
        matches!(self, Self::Result(_))
    }

    fn result(self) -> Vec<u8> {
        let result = match self {
            Self::Result(body) => Ok(body),
            Self::Error(code, sentence) => Err((code, sentence)),
        };
        result.unwrap()
    }

    /// The paging state of rows.
    fn page(self) -> Vec<u8> {
        let body = self.result();
        Cursor::new(&body[12..]).bytes().unwrap().unwrap().to_vec()
    }
}

fn error(code: i32, sentence: &str) -> Told {
    Told::Error(code, sentence.to_owned())
}

fn query(text: &str, consistency: Consistency, page: Option<&[u8]>) -> Vec<u8> {
    let parameters = Parameters {
        paging_state: page,
        ..Parameters::plain(consistency)
    };
    let mut body = Vec::new();
    Query { text, parameters }.put(&mut body, Version::V4);
    body
}

/// A write of 1 MiB.
fn large(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put::bytes(&mut bytes, &vec![b'v'; MIB]);
    let values = Values {
        count: 1,
        named: false,
        bytes: &bytes,
    };
    let parameters = Parameters {
        values: Some(values),
        ..Parameters::plain(Consistency::ONE)
    };
    let mut body = Vec::new();
    Query { text, parameters }.put(&mut body, Version::V4);
    body
}

fn cluster_of(side: Side, port: u16) -> cluster::Config {
    let host = "127.0.0.1".to_owned();
    let points = ContactPoints::new(ContactPoint { host, port }, []);
    let mut config = cluster::Config::new(Name::new(side.label()).unwrap(), points);
    // A node that keeps everything says nothing.
    config.heartbeat = Duration::from_secs(3_600);
    config
}

/// Runs a story where writes have so much time.
async fn staged<F: Future<Output = ()>>(write: Duration, story: impl FnOnce(Stage) -> F) {
    let on_stage = async { story(Stage::new(write).await).await };
    LocalSet::new().run_until(on_stage).await;
}

async fn eventually(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.expect("it never was so");
}

#[tokio::test]
async fn beyond_all_stream_ids_the_client_hears_which_limit_and_others_are_served_again_later() {
    staged(Duration::from_secs(300), async |stage| {
        let node = &stage.nodes.a;
        let mut late = stage.client().await;
        let page = late.query(READ).await.page();
        node.keeps.set(true);
        let mut crowd = Vec::new();
        let body = query(CONDITIONAL, Consistency::ONE, None);
        while node.kept.get() < STREAMS_MAX {
            let mut client = stage.client().await;
            let burst = (0..CLIENT_MAX).flat_map(|it| raw(4, it.to_be_bytes(), QUERY, &body));
            client.0.write(&burst.collect::<Vec<_>>()).await;
            crowd.push(client);
            let all = crowd.len() * usize::try_from(CLIENT_MAX).unwrap();
            eventually(|| node.kept.get() == all).await;
        }

        let full = "cluster A takes no more requests now: all 32,768 stream ids of a connection \
                    are in use; nothing was applied";
        assert_eq!(late.query(CONDITIONAL).await, error(OVERLOADED, full));
        let next = query(READ, Consistency::ONE, Some(&page));
        let ask_again = "the cluster that began this paging takes no more requests now: all \
                         32,768 stream ids of a connection are in use; ask for this page again";
        assert_eq!(late.ask(&next).await, error(READ_TIMEOUT, ask_again));
        assert!(late.query(READ).await.is_result(), "B answers");
        assert!(late.query(WRITE).await.is_result(), "B has it");
        assert_eq!(node.kept.get(), STREAMS_MAX, "no more was sent to A");

        node.keeps.set(false);
        node.release.notify_waiters();
        for client in &mut crowd {
            for _ in 0..CLIENT_MAX {
                assert!(client.answer().await.is_result());
            }
        }
        assert!(late.query(CONDITIONAL).await.is_result());
        assert!(late.ask(&next).await.is_result(), "the page is there still");
    })
    .await;
}

#[tokio::test]
async fn what_only_a_cluster_that_is_away_could_answer_says_which_one() {
    staged(Duration::from_secs(2), async |stage| {
        let mut client = stage.client().await;
        let page = client.query(READ).await.page();
        stage.out(Sides::only(Side::A)).await;
        let away = "cluster A is away, and this needs it; nothing was applied";
        assert_eq!(client.query(CONDITIONAL).await, error(OVERLOADED, away));
        assert_eq!(client.query(UNKNOWN).await, error(OVERLOADED, away));
        let serial = query(READ, SERIAL, None);
        assert_eq!(client.ask(&serial).await, error(OVERLOADED, away));
        let next = query(READ, Consistency::ONE, Some(&page));
        let away = "the cluster that began this paging is away; start it again from the first page";
        assert_eq!(client.ask(&next).await, error(READ_TIMEOUT, away));
        assert!(client.query(READ).await.is_result(), "B answers");

        let page = client.query(READ).await.page();
        stage.out(Sides::NONE).await;
        let next = query(READ, SERIAL, Some(&page));
        let other = "the cluster that began this paging does not answer at a serial consistency; \
                     start it again from the first page";
        assert_eq!(client.ask(&next).await, error(READ_TIMEOUT, other));

        stage.out(Sides::only(Side::B)).await;
        let away = "cluster B is away, and this needs it; nothing was applied";
        assert_eq!(client.query(UNKNOWN).await, error(OVERLOADED, away));
        assert!(client.query(CONDITIONAL).await.is_result());
    })
    .await;
}

#[tokio::test]
async fn what_a_side_does_not_read_costs_the_clients_of_the_other_nothing() {
    staged(Duration::from_secs(2), async |stage| {
        let mut client = stage.client().await;
        assert!(client.query("USE ks").await.is_result());
        // One goes over the plain connection, the other over that of the keyspace.
        let large = [
            large("INSERT INTO ks.t (k, v) VALUES (1, ?)"),
            large("INSERT INTO t (k, v) VALUES (1, ?)"),
        ];
        for body in &large {
            assert!(client.ask(body).await.is_result());
        }
        let silent = &stage.nodes.b;
        silent.is_deaf.set(true);
        let before = silent.read.get();
        for _ in 0..10 {
            for body in &large {
                let frame = raw(4, [0, 1], QUERY, body);
                client.0.write(&frame.repeat(8)).await;
                for _ in 0..8 {
                    let told = client.answer().await;
                    assert!(told.is_result(), "A has it: {told:?}");
                }
            }
        }
        // The last on each connection: all that waited comes before them.
        for text in [WRITE, "INSERT INTO t (k) VALUES (1)"] {
            assert!(client.query(text).await.is_result());
        }
        silent.is_deaf.set(false);
        silent.hears.notify_waiters();
        eventually(|| silent.small.get() == 2).await;
        let waited = (silent.read.get() - before) / MIB;
        // What the sockets took is beside the bound.
        assert!((32..96).contains(&waited), "{waited} MiB waited for B");
    })
    .await;
}

#[tokio::test]
async fn only_what_was_forgotten_is_unprepared_and_what_is_used_is_not_forgotten() {
    staged(Duration::from_secs(2), async |stage| {
        let mut client = stage.client().await;
        let (hot, cold) = (client.prepare(0).await, client.prepare(1).await);
        assert!(client.execute(&cold).await.is_result());
        let mut last = Vec::new();
        for number in 2..8 * STATEMENTS {
            last = client.prepare(number).await;
            assert!(client.execute(&last).await.is_result(), "just prepared");
            assert!(client.execute(&hot).await.is_result(), "at {number}");
        }
        // The thread looks all of them up anew when a cluster is back.
        stage.out(Sides::only(Side::A)).await;
        while client.query(CONDITIONAL).await.is_result() {}
        stage.out(Sides::NONE).await;
        while !client.query(CONDITIONAL).await.is_result() {}

        assert!(client.execute(&hot).await.is_result());
        assert!(client.execute(&last).await.is_result());
        let forgotten = "this prepared statement is not known here; prepare it again";
        assert_eq!(client.execute(&cold).await, error(UNPREPARED, forgotten));
        assert_eq!(client.prepare(1).await, cold, "as drivers do then");
        assert!(client.execute(&cold).await.is_result());
    })
    .await;
}
