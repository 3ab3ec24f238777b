//! A cluster of several nodes: who gets a request, and what happens when one of them dies.
#![allow(clippy::unwrap_used, reason = "a test")]

mod data_plane;
#[path = "versions/wire.rs"]
#[expect(dead_code, reason = "each test needs a part of it")]
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner as _, PartitionerHasher as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use helix_proxy::cluster::topology::{Ring, Topology};
use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name, ProtocolMax};
use helix_proxy::dispatch::{self, Deadlines, Desk};
use helix_proxy::pair::{Pair, Side};
use helix_proxy::policy::{self, Preferred, ReadStrategy, Report};
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::request::{Execute, Parameters, Prepare, Values};
use helix_proxy::wire::{Consistency, Cursor, Version, put};
use wire::{Wire, raw};

const READ: &str = "SELECT v FROM ks.t WHERE k = ?";
const WRITE: &str = "INSERT INTO ks.t (k) VALUES (?)";
const UNPREPARED: i32 = 0x2500;
const VOID: [u8; 4] = [0, 0, 0, 1];

/// A node that knows only what it was taught itself.
#[derive(Default)]
struct Node {
    taught: RefCell<HashSet<Vec<u8>>>,
    /// The keys of what it executed.
    executed: RefCell<Vec<i32>>,
    unprepared: Cell<usize>,
    /// It takes requests and answers none.
    is_silent: Cell<bool>,
}

impl Node {
    async fn serve(self: Rc<Self>, stream: TcpStream) {
        let mut wire = Wire::new(stream, Version::V4);
        while let Some(got) = wire.read().await {
            if self.is_silent.get() && got.opcode != 0x01 {
                continue;
            }
            let (opcode, body) = match got.opcode {
                0x09 => (0x08, self.learn(&got.body)),
                0x0A => self.execute(&got.body),
                _ => (0x02, Vec::new()),
            };
            let frame = raw(0x80 | got.version, got.stream, opcode, &body);
            wire.write(&frame).await;
        }
    }

    /// One variable, which is the partition key.
    fn learn(&self, body: &[u8]) -> Vec<u8> {
        let mut id = vec![body.iter().fold(7, |sum: u8, it| sum.wrapping_mul(31) ^ it); 16];
        id[0] = 1;
        self.taught.borrow_mut().insert(id.clone());
        let mut out = Vec::new();
        put::i32(&mut out, 4);
        put::short_bytes(&mut out, &id);
        for number in [1, 1, 1] {
            put::i32(&mut out, number);
        }
        put::u16(&mut out, 0);
        for text in ["ks", "t", "k"] {
            put::string(&mut out, text);
        }
        put::u16(&mut out, 0x09);
        for number in [4, 0] {
            put::i32(&mut out, number);
        }
        out
    }

    fn execute(&self, body: &[u8]) -> (u8, Vec<u8>) {
        let execute = Execute::parse(Cursor::new(body), Version::V4).unwrap();
        if !self.taught.borrow().contains(execute.id) {
            self.unprepared.set(self.unprepared.get() + 1);
            let mut out = Vec::new();
            put::i32(&mut out, UNPREPARED);
            put::string(&mut out, "never heard of it");
            put::short_bytes(&mut out, execute.id);
            return (0x00, out);
        }
        let bytes = execute.parameters.values.unwrap().bytes;
        let key = i32::from_be_bytes(bytes[4..].try_into().unwrap());
        self.executed.borrow_mut().push(key);
        (0x08, VOID.to_vec())
    }
}

/// An address with a node behind it, or with nobody.
struct Site {
    node: Rc<Node>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Site {
    async fn open() -> Self {
        let node = Rc::<Node>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut site = Self {
            node,
            address,
            tasks: JoinSet::new(),
        };
        site.listen(listener);
        site
    }

    fn listen(&mut self, listener: TcpListener) {
        let node = Rc::clone(&self.node);
        self.tasks.spawn_local(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn_local(Rc::clone(&node).serve(stream));
            }
        });
    }

    /// Its connections break and no others are accepted.
    async fn die(&mut self) {
        self.tasks.shutdown().await;
    }

    async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }

    fn take(&self) -> Vec<i32> {
        self.node.executed.take()
    }
}

/// The data plane of one thread: three nodes of A, one of B.
struct Stage {
    a: Vec<Site>,
    _b: Site,
    client: Wire,
    topology: Arc<Topology>,
    told: watch::Sender<Option<Arc<Topology>>>,
    reports: mpsc::Receiver<(Side, Report)>,
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn new() -> Self {
        let mut a = Vec::new();
        for _ in 0..3 {
            a.push(Site::open().await);
        }
        let b = Site::open().await;
        let config = dispatch::Config {
            deadlines: Deadlines {
                read: Duration::from_secs(2),
                write: Duration::from_millis(500),
                ..Deadlines::default()
            },
            ..dispatch::Config::default()
        };
        let mut rules = policy::Config::default();
        rules.reads.strategy = ReadStrategy::Sticky {
            preferred: Preferred::Side(Side::A),
            cooldown: Duration::ZERO,
        };
        let (to, reports) = mpsc::channel(64);
        let topology = Arc::new(topology(&a));
        let (told, topologies) = watch::channel(Some(Arc::clone(&topology)));
        let mut shared = data_plane::shared("nodes", (config, rules), 1_000, to);
        Arc::get_mut(&mut shared).unwrap().topologies.a = topologies;
        let points = Pair::new(
            Some(Arc::new(points(Side::A, a[0].address))),
            Some(Arc::new(points(Side::B, b.address))),
        );
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let desk: Rc<Desk<Outlet>> = Desk::new(shared, &points, Rc::new(metrics.worker()));
        let mut tasks = JoinSet::new();
        let address = data_plane::run(desk, Version::V4, &mut tasks);
        Self {
            a,
            _b: b,
            client: open(address).await,
            topology,
            told,
            reports,
            _tasks: tasks,
        }
    }

    async fn prepare(&mut self, text: &str) -> Vec<u8> {
        let keyspace = None;
        let mut body = Vec::new();
        Prepare { text, keyspace }.put(&mut body, Version::V4);
        let (opcode, body) = self.ask(0x09, &body).await;
        assert_eq!(opcode, 0x08);
        let mut cursor = Cursor::new(&body);
        assert_eq!(cursor.i32(), Ok(4));
        cursor.short_bytes().unwrap().to_vec()
    }

    /// Executes for this key; the answer's opcode and body.
    async fn execute(&mut self, id: &[u8], key: i32) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        put::bytes(&mut bytes, &key.to_be_bytes());
        let values = Values {
            count: 1,
            named: false,
            bytes: &bytes,
        };
        let parameters = Parameters {
            values: Some(values),
            ..Parameters::plain(Consistency::ONE)
        };
        let (mut body, columns) = (Vec::new(), &[][..]);
        Execute {
            id,
            columns,
            parameters,
        }
        .put(&mut body, Version::V4);
        self.ask(0x0A, &body).await
    }

    async fn executes(&mut self, id: &[u8], keys: std::ops::Range<i32>) {
        for key in keys {
            let answer = self.execute(id, key).await;
            assert_eq!(answer, (0x08, VOID.to_vec()), "key {key}");
        }
    }

    async fn ask(&mut self, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
        self.client.write(&raw(4, [0, 1], opcode, body)).await;
        let got = self.client.read().await.expect("an answer");
        (got.opcode, got.body)
    }

    /// What each node of A executed since the last time.
    fn shares(&self) -> Vec<Vec<i32>> {
        self.a.iter().map(Site::take).collect()
    }

    fn strikes(&mut self) -> usize {
        std::iter::from_fn(|| self.reports.try_recv().ok())
            .filter(|it| *it == (Side::A, Report::Strike))
            .count()
    }
}

async fn open(address: SocketAddr) -> Wire {
    let mut wire = Wire::new(TcpStream::connect(address).await.unwrap(), Version::V4);
    let mut body = vec![0, 1];
    for text in ["CQL_VERSION", "3.0.0"] {
        put::string(&mut body, text);
    }
    wire.write(&raw(4, [0, 1], 0x01, &body)).await;
    assert_eq!(wire.read().await.unwrap().opcode, 0x02);
    wire
}

fn points(side: Side, first: SocketAddr) -> cluster::Config {
    let (host, port) = (first.ip().to_string(), first.port());
    let points = ContactPoints::new(ContactPoint { host, port }, []);
    let mut config = cluster::Config::new(Name::new(side.label()).unwrap(), points);
    config.protocol_max = ProtocolMax::V4;
    config
}

/// Each third of the ring is held by two of three nodes.
fn topology(sites: &[Site]) -> Topology {
    let addresses = sites.iter().map(|it| it.address.to_string().into());
    let third = i64::MAX / 3;
    let tokens = vec![
        (-third, Box::from([0, 1])),
        (third, Box::from([1, 2])),
        (i64::MAX, Box::from([2, 0])),
    ];
    let keyspaces = vec![("ks".into(), 0)];
    Topology::new(addresses.collect(), vec![Ring { tokens }], keyspaces)
}

fn token(key: i32) -> i64 {
    let mut hasher = Murmur3Partitioner.build_hasher();
    hasher.write(&key.to_be_bytes());
    hasher.finish().value()
}

async fn staged<F: Future<Output = ()>>(story: impl FnOnce(Stage) -> F) {
    let on_stage = async {
        let stage = Stage::new().await;
        // The nodes are dialled when the topology is told.
        tokio::time::sleep(Duration::from_millis(200)).await;
        story(stage).await;
    };
    LocalSet::new().run_until(on_stage).await;
}

#[tokio::test]
async fn a_request_goes_to_a_node_that_holds_its_row() {
    staged(async |mut stage| {
        for text in [READ, WRITE] {
            let id = stage.prepare(text).await;
            stage.executes(&id, 0..300).await;
            let shares = stage.shares();
            for (place, keys) in (0_u16..).zip(&shares) {
                assert!(50 < keys.len(), "{text}: node {place} got {}", keys.len());
                for key in keys {
                    let replicas = stage.topology.replicas("ks", token(*key));
                    assert!(replicas.contains(&place), "{text}: key {key}: node {place}");
                }
            }
            let all: HashMap<_, _> = shares.iter().flatten().map(|key| (key, ())).collect();
            assert_eq!(all.len(), 300, "{text}: each was executed, and once");
            assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 300, "{text}");
        }
        // Each node but the one that answered PREPARE is taught once a statement.
        let unprepared = stage.a.iter().map(|it| it.node.unprepared.get());
        assert!(unprepared.sum::<usize>() <= 4);
    })
    .await;
}

#[tokio::test]
async fn a_dead_node_of_three_is_no_outage_and_is_used_again_when_it_is_back() {
    staged(async |mut stage| {
        let read = stage.prepare(READ).await;
        let write = stage.prepare(WRITE).await;
        stage.executes(&read, 0..60).await;
        stage.executes(&write, 0..60).await;
        stage.shares();

        stage.a[1].die().await;
        stage.executes(&read, 0..200).await;
        stage.executes(&write, 0..200).await;
        let shares: Vec<_> = stage.shares().iter().map(Vec::len).collect();
        assert_eq!((shares[0] + shares[2], shares[1]), (400, 0));
        assert_eq!(stage.strikes(), 0, "the cluster serves");

        stage.a[1].come_back().await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        stage.executes(&write, 0..200).await;
        assert!(30 < stage.shares()[1].len());
    })
    .await;
}

#[tokio::test]
async fn a_silent_node_costs_one_deadline_and_no_strike() {
    staged(async |mut stage| {
        let write = stage.prepare(WRITE).await;
        stage.executes(&write, 0..60).await;
        stage.a[1].node.is_silent.set(true);
        // B acknowledges; A's part of it is the queue's affair once its deadline is over.
        stage.executes(&write, 0..20).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        stage.shares();

        stage.executes(&write, 0..100).await;
        let lengths: Vec<_> = stage.shares().iter().map(Vec::len).collect();
        assert_eq!(stage.strikes(), 0, "others serve");
        assert!(90 <= lengths[0] + lengths[2], "{lengths:?}");
    })
    .await;
}

#[tokio::test]
async fn nodes_come_and_go_while_requests_are_served() {
    staged(async |mut stage| {
        let write = stage.prepare(WRITE).await;
        stage.executes(&write, 0..60).await;
        stage.shares();

        let two = topology(&stage.a);
        let addresses = two.addresses()[..2].to_vec();
        let tokens = vec![(0, Box::from([0, 1]))];
        let two = Topology::new(addresses, vec![Ring { tokens }], vec![("ks".into(), 0)]);
        stage.told.send_replace(Some(Arc::new(two)));
        tokio::task::yield_now().await;
        stage.executes(&write, 0..100).await;
        let lengths: Vec<_> = stage.shares().iter().map(Vec::len).collect();
        assert_eq!((lengths[0] + lengths[1], lengths[2]), (100, 0));

        let three = Arc::clone(&stage.topology);
        stage.told.send_replace(Some(three));
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.executes(&write, 0..100).await;
        assert!(20 < stage.shares()[2].len());
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}
