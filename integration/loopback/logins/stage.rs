//! The data plane of one thread in front of two clusters that ask who everybody is, with their replay.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use helix_proxy::cluster::call::Line;
use helix_proxy::cluster::topology::Topology;
use helix_proxy::cluster::{self, Account, ContactPoint, ContactPoints, Kept, Name};
use helix_proxy::dispatch::{self, Deadlines, Desk, News, Shared};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{self, Preferred, ReadStrategy, Report, View};
use helix_proxy::replay::apply::Applier;
use helix_proxy::replay::schedule::Limits;
use helix_proxy::replay::worker::Worker;
use helix_proxy::replay::{DeadLetter, Parked};
use helix_proxy::session::{Door, Outlet};
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::request::{Credentials, Execute, Parameters, Prepare, Query};
use helix_proxy::wire::{Consistency, Cursor, Version, put};

use super::node::Node;
use crate::data_plane;
use crate::site::Site;
use crate::wire::{Got, Wire, raw};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(20);
pub(crate) const WRITE_WITHIN: Duration = Duration::from_millis(400);

/// See the module.
pub(crate) struct Stage {
    pub(crate) sites: Pair<Site<Node>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) view: watch::Sender<View>,
    pub(crate) metrics: Arc<Metrics>,
    /// Tells of the nodes of A.
    told: watch::Sender<Option<Arc<Topology>>>,
    /// Rings when there are news.
    renewed: watch::Sender<u64>,
    address: SocketAddr,
    reports: mpsc::Receiver<(Side, Report)>,
    _stop: watch::Sender<bool>,
    _up: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

/// Both clusters know tom, whose password is `in`.
pub(crate) async fn staged<F: Future<Output = ()>>(story: impl FnOnce(Stage) -> F) {
    let nodes = || Node::with(&[("tom", "in")]);
    staged_over(Pair::new(nodes(), nodes()), story).await;
}

pub(crate) async fn staged_over<F: Future<Output = ()>>(
    nodes: Pair<Rc<Node>>,
    story: impl FnOnce(Stage) -> F,
) {
    let play = async { story(Stage::new(nodes).await).await };
    LocalSet::new().run_until(play).await;
}

impl Stage {
    async fn new(nodes: Pair<Rc<Node>>) -> Self {
        let Pair { a, b } = nodes;
        let sites = Pair::new(Site::open(a).await, Site::open(b).await);
        let configs = sites
            .as_ref()
            .map(|side, site| Some(Arc::new(config(side, site))));
        let (to, reports) = mpsc::channel(1_024);
        let mut rules = policy::Config::default();
        rules.reads.strategy = ReadStrategy::Sticky {
            preferred: Preferred::Side(Side::A),
            cooldown: Duration::ZERO,
        };
        let settings = dispatch::Config {
            deadlines: Deadlines {
                read: Duration::from_secs(2),
                write: WRITE_WITHIN,
                ..Deadlines::default()
            },
            passthrough: true,
            ..dispatch::Config::default()
        };
        let mut shared = data_plane::shared("logins", (settings, rules), 1_000, to);
        let (view, seen) = watch::channel(*shared.view.borrow());
        let (told, topology) = watch::channel(None);
        let (renewed, rung) = watch::channel(0);
        let mine = Arc::get_mut(&mut shared).unwrap();
        mine.view = seen;
        mine.topologies.a = topology;
        mine.renewed = rung;
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let metrics = Arc::new(metrics);
        let desk: Rc<Desk<Outlet>> =
            Desk::new(Arc::clone(&shared), &configs, Rc::new(metrics.worker()));
        let mut tasks = JoinSet::new();
        let address = data_plane::run_behind(desk, Door::Clusters, Version::V4, &mut tasks);
        let (up, may_replay) = watch::channel(true);
        let stop = watch::Sender::new(false);
        for side in Side::ALL {
            let line = Line::new(side, configs[side].clone().unwrap(), Rc::default());
            let worker = Worker {
                side,
                queue: shared.queue.clone().unwrap(),
                apply: Applier::new(line, Duration::from_secs(1)),
                limits: Limits::default(),
                timeout: Duration::from_secs(1),
                metrics: Arc::clone(&metrics),
                seed: 1,
            };
            tasks.spawn_local(worker.run(may_replay.clone(), stop.subscribe()));
        }
        Self {
            sites,
            shared,
            view,
            metrics,
            told,
            renewed,
            address,
            reports,
            _stop: stop,
            _up: up,
            _tasks: tasks,
        }
    }

    pub(crate) fn node(&self, side: Side) -> &Node {
        &self.sites[side].node
    }

    /// A has these nodes, too.
    pub(crate) fn has_nodes(&self, more: &[Site<Node>]) {
        let nodes = std::iter::once(&self.sites.a).chain(more);
        let addresses = nodes.map(|it| it.address.to_string().into()).collect();
        let topology = Topology::new(addresses, Vec::new(), Vec::new());
        self.told.send_replace(Some(Arc::new(topology)));
    }

    /// Somebody changes the schema, maybe to what it was before.
    pub(crate) async fn changes_schema(&self) {
        let before = self.shared.news.load();
        let mut facts = before.facts.clone();
        facts.schema_version = Uuid::from_u128(7);
        self.shared.news.store(Arc::new(News {
            facts,
            schema: Arc::clone(&before.schema),
            offered: before.offered,
        }));
        self.renewed.send_modify(|count| *count += 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// A schema change through the proxy is over, maybe a REVOKE.
    pub(crate) async fn changes_rights(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Says who it is; what the proxy answers, `None` if it hangs up.
    pub(crate) async fn claims(&self, name: &str, password: &str) -> (Client, Option<Got>) {
        let mut client = Client::greeted(self.address).await;
        let answer = client.says(name, password).await;
        (client, answer)
    }

    /// A client that is let in.
    pub(crate) async fn client(&self, name: &str, password: &str) -> Client {
        let (client, answer) = self.claims(name, password).await;
        let answer = answer.expect("an answer, not the end");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.opcode, 0x10, "{said}");
        client
    }

    /// Code and sentence of the ERROR that the proxy answers with.
    pub(crate) async fn refusal(&self, name: &str, password: &str) -> (i32, String) {
        let (mut client, answer) = self.claims(name, password).await;
        let told = error(&answer.expect("an answer, not the end")).expect("an ERROR");
        assert!(client.0.read().await.is_none(), "it is closed then");
        told
    }

    /// The proxy hangs up on who says this, without a word.
    pub(crate) async fn hangs_up(&self, name: &str, password: &str) {
        let (_, answer) = self.claims(name, password).await;
        assert!(answer.is_none(), "told {:?}", answer.map(|it| it.body));
    }

    /// A side's breaker opens.
    pub(crate) async fn out(&self, side: Side) {
        self.view.send_modify(|view| {
            view.out = Sides::only(side);
            view.sick = Sides::only(side);
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    pub(crate) fn strikes(&mut self) -> usize {
        std::iter::from_fn(|| self.reports.try_recv().ok())
            .filter(|(_, report)| *report == Report::Strike)
            .count()
    }

    pub(crate) async fn letters(&self) -> Vec<DeadLetter> {
        let queue = self.shared.queue.as_ref().unwrap();
        queue.dead_letters(0, 100).await.unwrap()
    }

    /// Waits for these sides' debts to be dead letters that nobody was allowed to replay.
    pub(crate) async fn forbids(&self, sides: usize) -> Vec<DeadLetter> {
        let wait = async {
            while self.letters().await.len() < sides {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, wait).await;
        in_time.expect("no dead letters");
        let letters = self.letters().await;
        assert!(letters.iter().all(|it| it.reason == Parked::Forbidden));
        letters
    }

    /// Nothing is owed, and there are no dead letters.
    pub(crate) fn owes_nothing(&self) -> bool {
        let depth = self.shared.queue.as_ref().unwrap().depth();
        (depth.owed.a, depth.owed.b, depth.dead) == (0, 0, 0)
    }

    pub(crate) fn counts(&self, line: &str) -> bool {
        let text = self.metrics.text().unwrap();
        text.lines().any(|at| at == line)
    }
}

fn config(side: Side, site: &Site<Node>) -> cluster::Config {
    let point = ContactPoint {
        host: site.address.ip().to_string(),
        port: site.address.port(),
    };
    let name = Name::new(side.label()).unwrap();
    cluster::Config {
        account: Some(Account {
            username: "helix".to_owned(),
            password: "service".to_owned(),
            kept: Kept::Variable("NOWHERE".to_owned()),
        }),
        connect_timeout: Duration::from_millis(1_500),
        ..cluster::Config::new(name, ContactPoints::new(point, []))
    }
}

/// Code and sentence, if it is an ERROR.
pub(crate) fn error(got: &Got) -> Option<(i32, String)> {
    let mut cursor = Cursor::new(&got.body);
    (got.opcode == 0x00).then(|| {
        let code = cursor.i32().unwrap();
        (code, cursor.string().unwrap().to_owned())
    })
}

/// Somebody who speaks version 4.
pub(crate) struct Client(pub(crate) Wire);

impl Client {
    /// Asked who it is.
    pub(crate) async fn greeted(address: SocketAddr) -> Self {
        let mut wire = Wire::new(TcpStream::connect(address).await.unwrap());
        let mut body = vec![0, 1];
        for text in ["CQL_VERSION", "3.0.0"] {
            put::string(&mut body, text);
        }
        wire.write(&raw(4, [0, 1], 0x01, &body)).await;
        assert_eq!(wire.read().await.unwrap().opcode, 0x03);
        Self(wire)
    }

    pub(crate) async fn says(&mut self, username: &str, password: &str) -> Option<Got> {
        let mut body = Vec::new();
        Credentials { username, password }.put(&mut body);
        self.0.write(&raw(4, [0, 2], 0x0F, &body)).await;
        let read = tokio::time::timeout(SOON, self.0.read()).await;
        read.expect("in time")
    }

    /// What comes of a text: `Ok` or an error's code and sentence.
    pub(crate) async fn query(&mut self, text: &str) -> Result<(), (i32, String)> {
        let mut body = Vec::new();
        Query::plain(text).put(&mut body, Version::V4);
        let got = self.ask(0x07, &body).await;
        error(&got).map_or(Ok(()), Err)
    }

    /// The id of a statement without variables.
    pub(crate) async fn prepare(&mut self, text: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let keyspace = None;
        Prepare { text, keyspace }.put(&mut body, Version::V4);
        let got = self.ask(0x09, &body).await;
        assert_eq!(got.opcode, 0x08, "{:?}", error(&got));
        let mut cursor = Cursor::new(&got.body);
        assert_eq!(cursor.i32(), Ok(4));
        cursor.short_bytes().unwrap().to_vec()
    }

    pub(crate) async fn execute(&mut self, id: &[u8]) -> Result<(), (i32, String)> {
        let mut body = Vec::new();
        let parameters = Parameters::plain(Consistency::ONE);
        let columns = &[][..];
        Execute {
            id,
            columns,
            parameters,
        }
        .put(&mut body, Version::V4);
        let got = self.ask(0x0A, &body).await;
        error(&got).map_or(Ok(()), Err)
    }

    async fn ask(&mut self, opcode: u8, body: &[u8]) -> Got {
        self.0.write(&raw(4, [0, 3], opcode, body)).await;
        let read = tokio::time::timeout(SOON, self.0.read()).await;
        read.expect("in time").expect("an answer, not the end")
    }

    /// Writes this key into a table of `ks`.
    pub(crate) async fn write(&mut self, table: &str, key: u32) -> Result<(), (i32, String)> {
        self.query(&insert(table, key)).await
    }
}

pub(crate) fn insert(table: &str, key: u32) -> String {
    format!("INSERT INTO ks.{table} (k) VALUES ({key})")
}
