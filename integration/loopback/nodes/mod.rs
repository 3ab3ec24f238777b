//! A cluster of several nodes: who gets a request, and what happens when one of them dies.

mod keyspaces;
mod shards;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner as _, PartitionerHasher as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::data_plane;
use crate::site::{Serve, Site};
use crate::wire::{Wire, raw};
use helix_proxy::cluster::call::Line;
use helix_proxy::cluster::topology::{Ring, Topology};
use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name, ProtocolMax};
use helix_proxy::dispatch::{self, Deadlines, Desk};
use helix_proxy::pair::{Pair, Side};
use helix_proxy::policy::{self, Preferred, ReadStrategy, Report};
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::request::{Execute, Parameters, Prepare, Values};
use helix_proxy::wire::{Consistency, Cursor, Opcode, Version, put};

const READ: &str = "SELECT v FROM ks.t WHERE k = ?";
const WRITE: &str = "INSERT INTO ks.t (k) VALUES (?)";
const CONDITIONAL: &str = "INSERT INTO ks.t (k) VALUES (?) IF NOT EXISTS";
const QUERY: u8 = 0x07;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0A;
const UNPREPARED: i32 = 0x2500;
const WRITE_TIMEOUT: i32 = 0x1100;
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
    /// It leaves these opcodes without an answer, but does what they ask for.
    mute: RefCell<HashSet<u8>>,
    /// It hangs up on whoever has it execute something, after it did.
    hangs_up: Cell<bool>,
    /// It lets everybody in and hangs up.
    is_rude: Cell<bool>,
    /// Connections that wait for a keyspace, and the most that did at a time.
    binding: Cell<(usize, usize)>,
    /// Connections that it took.
    accepted: Cell<usize>,
    /// Of these, so many hear nothing any more once they use a keyspace.
    deaf: Cell<usize>,
    /// QUERYs that it answered, but for USE.
    queried: Cell<usize>,
    /// EXECUTEs that came by a connection that uses a keyspace.
    executed_bound: Cell<usize>,
    /// Its answers to EXECUTE are for streams that nobody uses.
    is_confused: Cell<bool>,
}

impl Node {
    fn query(&self, body: &[u8]) -> Vec<u8> {
        if !body[4..].starts_with(b"USE") {
            self.queried.set(self.queried.get() + 1);
            return VOID.to_vec();
        }
        let mut out = vec![0, 0, 0, 3];
        put::string(&mut out, "ks");
        out
    }

    /// Takes its time, so that all who come at once are there at once.
    async fn bind(&self) {
        let (now, most) = self.binding.get();
        self.binding.set((now + 1, most.max(now + 1)));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let (now, most) = self.binding.get();
        self.binding.set((now - 1, most));
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

impl Serve for Node {
    async fn serve(self: Rc<Self>, stream: TcpStream) {
        self.accepted.set(self.accepted.get() + 1);
        let mut wire = Wire::new(stream);
        let (number, mut is_bound) = (self.accepted.get(), false);
        while let Some(got) = wire.read().await {
            if is_bound && number <= self.deaf.get() {
                continue;
            }
            if self.is_silent.get() && got.opcode != 0x01 {
                continue;
            }
            let (opcode, body) = match got.opcode {
                QUERY => {
                    if !is_bound && got.body[4..].starts_with(b"USE") {
                        is_bound = true;
                        self.bind().await;
                    }
                    (0x08, self.query(&got.body))
                }
                PREPARE => (0x08, self.learn(&got.body)),
                EXECUTE => {
                    let bound = self.executed_bound.get() + usize::from(is_bound);
                    self.executed_bound.set(bound);
                    self.execute(&got.body)
                }
                _ => (0x02, Vec::new()),
            };
            if opcode == 0x08 && got.opcode == EXECUTE && self.hangs_up.get() {
                return;
            }
            if self.mute.borrow().contains(&got.opcode) {
                continue;
            }
            let mut stream = got.stream;
            if got.opcode == EXECUTE && self.is_confused.get() {
                stream[0] ^= 0x40;
            }
            let frame = raw(0x80 | got.version, stream, opcode, &body);
            wire.write(&frame).await;
            if self.is_rude.get() {
                return;
            }
        }
    }
}

/// The data plane of one thread: three nodes of A, one of B.
struct Stage {
    a: Vec<Site<Node>>,
    _b: Site<Node>,
    /// Where clients connect.
    address: SocketAddr,
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
            a.push(open_site().await);
        }
        let (first, topology) = (a[0].address, topology(&a));
        Self::over(a, points(Side::A, &[first]), Some(topology)).await
    }

    /// The same with other nodes of A.
    async fn over(
        a: Vec<Site<Node>>,
        config_a: cluster::Config,
        topology: Option<Topology>,
    ) -> Self {
        let b = open_site().await;
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
        let topology = topology.map(Arc::new);
        let (told, topologies) = watch::channel(topology.clone());
        let mut shared = data_plane::shared("nodes", (config, rules), 1_000, to);
        Arc::get_mut(&mut shared).unwrap().topologies.a = topologies;
        let points = Pair::new(
            Some(Arc::new(config_a)),
            Some(Arc::new(points(Side::B, &[b.address]))),
        );
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let desk: Rc<Desk<Outlet>> = Desk::new(shared, &points, Rc::new(metrics.worker()));
        let mut tasks = JoinSet::new();
        let address = data_plane::run(desk, Version::V4, &mut tasks);
        Self {
            a,
            _b: b,
            address,
            client: open(address).await,
            topology: topology.unwrap_or_default(),
            told,
            reports,
            _tasks: tasks,
        }
    }

    async fn prepare(&mut self, text: &str) -> Vec<u8> {
        let keyspace = None;
        let mut body = Vec::new();
        Prepare { text, keyspace }.put(&mut body, Version::V4);
        let (opcode, body) = self.ask(PREPARE, &body).await;
        assert_eq!(opcode, 0x08);
        let mut cursor = Cursor::new(&body);
        assert_eq!(cursor.i32(), Ok(4));
        cursor.short_bytes().unwrap().to_vec()
    }

    /// Executes for this key; the answer's opcode and body.
    async fn execute(&mut self, id: &[u8], key: i32) -> (u8, Vec<u8>) {
        self.ask(EXECUTE, &execute(id, key)).await
    }

    /// The opcode of the answer to a text.
    async fn query(&mut self, text: &str) -> u8 {
        self.ask(QUERY, &query(text)).await.0
    }

    /// Executes for these keys, all at once.
    async fn burst(&mut self, id: &[u8], keys: std::ops::Range<i32>) {
        let mut burst = Vec::new();
        for (stream, key) in (2..).zip(keys) {
            burst.extend(raw(4, [0, stream], EXECUTE, &execute(id, key)));
        }
        self.client.write(&burst).await;
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
        self.a.iter().map(take).collect()
    }

    /// From now on A has only its first node.
    async fn has_one_node(&self) {
        let one = Topology::new(self.topology.addresses()[..1].to_vec(), vec![], vec![]);
        self.told.send_replace(Some(Arc::new(one)));
        tokio::task::yield_now().await;
    }

    fn strikes(&mut self) -> usize {
        std::iter::from_fn(|| self.reports.try_recv().ok())
            .filter(|it| *it == (Side::A, Report::Strike))
            .count()
    }
}

async fn open_site() -> Site<Node> {
    Site::open(Rc::default()).await
}

fn take(site: &Site<Node>) -> Vec<i32> {
    site.node.executed.take()
}

fn query(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put::i32(&mut body, i32::try_from(text.len()).unwrap());
    body.extend_from_slice(text.as_bytes());
    body.extend_from_slice(&[0, 1, 0]);
    body
}

fn execute(id: &[u8], key: i32) -> Vec<u8> {
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
    body
}

async fn open(address: SocketAddr) -> Wire {
    Wire::started(address, Version::V4).await
}

fn points(side: Side, at: &[SocketAddr]) -> cluster::Config {
    let mut points = at.iter().map(|it| ContactPoint {
        host: it.ip().to_string(),
        port: it.port(),
    });
    let points = ContactPoints::new(points.next().unwrap(), points);
    let mut config = cluster::Config::new(Name::new(side.label()).unwrap(), points);
    config.protocol_max = ProtocolMax::V4;
    config.connect_timeout = Duration::from_secs(1);
    config
}

/// Each third of the ring is held by two of three nodes.
fn topology(sites: &[Site<Node>]) -> Topology {
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

        stage.a[1].leave().await;
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

#[tokio::test]
async fn a_conditional_runs_once_also_when_its_node_dies_over_it() {
    staged(async |mut stage| {
        let id = stage.prepare(CONDITIONAL).await;
        stage.executes(&id, 0..60).await;
        stage.shares();
        stage.a[1].node.hangs_up.set(true);
        let mut unknown = 0;
        for key in 0..40 {
            let (opcode, body) = stage.execute(&id, key).await;
            if opcode == 0x00 {
                unknown += 1;
                let mut cursor = Cursor::new(&body);
                assert_eq!(
                    cursor.i32(),
                    Ok(WRITE_TIMEOUT),
                    "nobody repeats that by himself"
                );
            }
        }
        assert!(0 < unknown, "the node was never asked");
        let mut keys = stage.shares().concat();
        keys.sort_unstable();
        assert_eq!(keys, Vec::from_iter(0..40), "each ran once");
    })
    .await;
}

#[tokio::test]
async fn what_waits_on_a_silent_node_is_neither_cut_off_nor_sent_again() {
    staged(async |mut stage| {
        let id = stage.prepare(CONDITIONAL).await;
        stage.executes(&id, 0..60).await;
        stage.shares();
        let accepted = stage.a[1].node.accepted.get();
        stage.a[1].node.mute.borrow_mut().insert(EXECUTE);
        stage.burst(&id, 0..60).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.burst(&id, 60..120).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let mut keys = stage.shares().concat();
        keys.sort_unstable();
        assert_eq!(keys, Vec::from_iter(0..120), "each ran once");
        assert_eq!(
            stage.a[1].node.accepted.get(),
            accepted,
            "it answers OPTIONS"
        );
    })
    .await;
}

#[tokio::test]
async fn a_node_that_cannot_be_taught_is_no_outage() {
    staged(async |mut stage| {
        let id = stage.prepare(WRITE).await;
        let silent = stage.a.iter().find(|it| it.node.taught.borrow().is_empty());
        let silent = &silent.expect("one taught it").node;
        silent.mute.borrow_mut().insert(PREPARE);
        stage.burst(&id, 0..60).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_whose_nodes_only_answer_options_is_out() {
    staged(async |mut stage| {
        let id = stage.prepare(WRITE).await;
        stage.executes(&id, 0..60).await;
        for site in &stage.a {
            site.node.mute.borrow_mut().insert(EXECUTE);
        }
        for key in 0..6 {
            stage.execute(&id, key).await;
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(3 <= stage.strikes());
    })
    .await;
}

#[tokio::test]
async fn a_node_that_lets_us_in_and_hangs_up_is_left_alone() {
    staged(async |mut stage| {
        stage.a[1].leave().await;
        stage.a[1].node.is_rude.set(true);
        stage.a[1].come_back().await;
        stage.a[1].node.accepted.set(0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let accepted = stage.a[1].node.accepted.get();
        assert!(
            (1..20).contains(&accepted),
            "{accepted} connections in a second"
        );
    })
    .await;
}

/// The control thread forgets the pause before each try, as the cluster may be back.
#[tokio::test]
async fn a_line_leaves_a_dead_node() {
    let story = async {
        let (mut first, second) = (open_site().await, open_site().await);
        let addresses = [first.address, second.address];
        let line = || {
            Line::new(
                Side::A,
                Arc::new(points(Side::A, &addresses)),
                Rc::default(),
            )
        };
        let early = line();
        assert!(answers(&early).await);
        assert_eq!(second.node.accepted.get(), 0, "one at a time");

        first.leave().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(answers(&early).await, "the second serves");

        let late = line();
        assert!(!answers(&late).await, "nobody is at the first");
        assert!(answers(&late).await, "the second serves");
    };
    LocalSet::new().run_until(story).await;
}

async fn answers(line: &Line) -> bool {
    line.cluster().redial_now();
    let (way, what) = ((Version::V4, None), (0, Opcode::Register));
    let reply = line.call(way, what, |_| {}, Duration::from_secs(2));
    reply.await.is_ok()
}

#[tokio::test]
async fn a_connection_that_alone_is_silent_is_replaced() {
    staged(async |mut stage| {
        stage.has_one_node().await;
        let id = stage.prepare(WRITE).await;
        assert_eq!(stage.query("USE ks").await, 0x08);
        assert_eq!(stage.query("INSERT INTO t (k) VALUES (1)").await, 0x08);
        let node = Rc::clone(&stage.a[0].node);
        assert_eq!(node.queried.get(), 1);

        node.deaf.set(node.accepted.get());
        let lost = query("INSERT INTO t (k) VALUES (2)");
        stage.client.write(&raw(4, [0, 9], QUERY, &lost)).await;
        // Its plain connection serves all the while; one of the answers is that of B to the other write.
        for key in 0..20 {
            stage.executes(&id, key..key + 1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(stage.client.read().await.unwrap().opcode, 0x08);
        assert_eq!(node.queried.get(), 1);
        assert_eq!(stage.query("INSERT INTO t (k) VALUES (3)").await, 0x08);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(node.queried.get(), 2, "another connection was dialled");
        assert_eq!(stage.strikes(), 1, "what waited there was lost with it");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_reaches_nobody_and_costs_the_connection() {
    staged(async |mut stage| {
        stage.has_one_node().await;
        let conditional = stage.prepare(CONDITIONAL).await;
        stage.executes(&conditional, 0..3).await;
        let node = Rc::clone(&stage.a[0].node);
        let accepted = node.accepted.get();
        node.is_confused.set(true);
        let (opcode, body) = stage.execute(&conditional, 7).await;
        assert_eq!(opcode, 0x00, "an answer to nobody is none");
        assert_eq!(Cursor::new(&body).i32(), Ok(WRITE_TIMEOUT));

        node.is_confused.set(false);
        stage.executes(&conditional, 8..20).await;
        assert_eq!(node.accepted.get(), accepted + 1, "it was replaced");
        let keys: Vec<_> = [0, 1, 2, 7].into_iter().chain(8..20).collect();
        assert_eq!(stage.shares()[0], keys, "each ran once");
    })
    .await;
}

#[tokio::test]
async fn the_contact_points_serve_again_where_no_nodes_are_told_any_more() {
    staged(async |mut stage| {
        let id = stage.prepare(WRITE).await;
        let gone = ["127.0.0.1:1", "127.0.0.1:2"].map(Box::from).to_vec();
        let gone = Topology::new(gone, vec![], vec![]);
        stage.told.send_replace(Some(Arc::new(gone)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        stage.shares();
        stage.executes(&id, 0..5).await;
        assert_eq!(stage.shares().concat(), [0; 0], "B alone took them");

        stage.told.send_replace(None);
        tokio::time::sleep(Duration::from_millis(50)).await;
        stage.executes(&id, 5..10).await;
        let at_contact_point = &stage.shares()[0];
        assert_eq!(*at_contact_point, [5, 6, 7, 8, 9]);
    })
    .await;
}
