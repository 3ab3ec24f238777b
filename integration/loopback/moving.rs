//! A cluster whose nodes come back under other addresses, behind the same contact point.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::site::{Serve, Site};
use crate::wire::{Wire, raw};
use helix_proxy::cluster::call::Line;
use helix_proxy::cluster::topology::Topology;
use helix_proxy::cluster::{Config, ContactPoint, ContactPoints, Name, discover, watch as facts};
use helix_proxy::pair::Side;
use helix_proxy::wire::put;

const SERVICE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const BEFORE: [Ipv4Addr; 3] = [
    Ipv4Addr::new(127, 9, 0, 1),
    Ipv4Addr::new(127, 9, 0, 2),
    Ipv4Addr::new(127, 9, 0, 3),
];
const AFTER: [Ipv4Addr; 3] = [
    Ipv4Addr::new(127, 9, 1, 1),
    Ipv4Addr::new(127, 9, 1, 2),
    Ipv4Addr::new(127, 9, 1, 3),
];
/// A contact point of its own.
const DISTURBED: Ipv4Addr = Ipv4Addr::new(127, 9, 2, 1);
/// Longer than a question may take once it was sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(25);
/// Of the paused clock: more than a session's life and the pauses behind it.
const AGES: Duration = Duration::from_secs(600);

/// How a node is unwell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Malady {
    /// It lets in, and answers all else with an ERROR.
    Refusing,
    /// The same for all that the driver asks.
    Reserved,
    /// It answers nothing at all.
    Silent,
}

/// One of three nodes, which knows its own place and the others' addresses.
struct Node {
    place: u8,
    addresses: Cell<[Ipv4Addr; 3]>,
    malady: Option<Malady>,
}

impl Node {
    fn new(place: u8, addresses: [Ipv4Addr; 3], malady: Option<Malady>) -> Rc<Self> {
        Rc::new(Self {
            place,
            addresses: Cell::new(addresses),
            malady,
        })
    }

    /// The rows that a text of the driver or of ours asks for; `None` where there is no such table.
    fn rows(&self, text: &str) -> Option<Vec<u8>> {
        let (columns, rest) = text.strip_prefix("SELECT ")?.split_once(" FROM ")?;
        let columns: Vec<_> = columns.split(", ").collect();
        if self.malady == Some(Malady::Refusing)
            || self.malady == Some(Malady::Reserved) && columns.first() != Some(&"cluster_name")
        {
            return None;
        }
        let places: Vec<u8> = match rest.split_whitespace().next()? {
            "system.local" => vec![self.place],
            "system.peers" => (0..3).filter(|it| *it != self.place).collect(),
            "system_schema.keyspaces" => vec![],
            _ => return None,
        };
        let mut out = metadata(&columns);
        put::i32(&mut out, i32::try_from(places.len()).unwrap());
        for place in places {
            for column in &columns {
                put::bytes(&mut out, &self.cell(column, place));
            }
        }
        Some(out)
    }

    fn cell(&self, column: &str, place: u8) -> Vec<u8> {
        let address = self.addresses.get()[usize::from(place)];
        match column {
            "host_id" => vec![place + 1; 16],
            "schema_version" => vec![7; 16],
            "rpc_address" => address.octets().to_vec(),
            "partitioner" => b"org.apache.cassandra.dht.Murmur3Partitioner".to_vec(),
            "tokens" => {
                let mut out = Vec::new();
                put::i32(&mut out, 1);
                put::bytes(&mut out, format!("{place}00").as_bytes());
                out
            }
            _ => b"same".to_vec(),
        }
    }

    /// What comes of a prepared text: its id is the text itself.
    fn prepared(&self, text: &str) -> Option<Vec<u8>> {
        self.rows(text)?;
        let (columns, _) = text.strip_prefix("SELECT ")?.split_once(" FROM ")?;
        let mut out = Vec::new();
        put::short_bytes(&mut out, text.as_bytes());
        // No variables.
        for number in [0, 0, 0] {
            put::i32(&mut out, number);
        }
        out.extend(metadata(&columns.split(", ").collect::<Vec<_>>()));
        Some(out)
    }
}

fn metadata(columns: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    put::i32(&mut out, 1);
    put::i32(&mut out, i32::try_from(columns.len()).unwrap());
    put::string(&mut out, "system");
    put::string(&mut out, "t");
    for column in columns {
        put::string(&mut out, column);
        let kind: &[u16] = match *column {
            "durable_writes" => &[0x04],
            "host_id" | "schema_version" => &[0x0C],
            "replication" => &[0x21, 0x0D, 0x0D],
            "rpc_address" => &[0x10],
            "tokens" => &[0x22, 0x0D],
            _ => &[0x0D],
        };
        kind.iter().for_each(|it| put::u16(&mut out, *it));
    }
    out
}

/// The text of a long or short string at the head of a body.
fn text(body: &[u8], prefix: usize) -> String {
    let (length, rest) = body.split_at(prefix);
    let length = length.iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
    String::from_utf8(rest[..length].to_vec()).unwrap()
}

impl Serve for Node {
    async fn serve(self: Rc<Self>, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        while let Some(got) = wire.read().await {
            if self.malady == Some(Malady::Silent) {
                continue;
            }
            let (kind, result) = match got.opcode {
                0x07 => (2, self.rows(&text(&got.body, 4))),
                0x09 => (4, self.prepared(&text(&got.body, 4))),
                0x0A => (2, self.rows(&text(&got.body, 2))),
                _ => (0, None),
            };
            let (opcode, body) = match (got.opcode, result) {
                (0x05, _) => (0x06, vec![0, 0]),
                (0x07 | 0x09 | 0x0A, Some(result)) => {
                    let mut out = vec![0, 0, 0, kind];
                    out.extend(result);
                    (0x08, out)
                }
                (0x07 | 0x09 | 0x0A, None) => {
                    let mut out = vec![0, 0, 0x22, 0];
                    put::string(&mut out, "unconfigured table");
                    (0x00, out)
                }
                _ => (0x02, vec![]),
            };
            let frame = raw(0x80 | got.version, got.stream, opcode, &body);
            wire.write(&frame).await;
        }
    }
}

/// Whoever learns of the nodes, and a line that follows what it tells.
struct Stage {
    /// The first is the contact point.
    sites: Vec<Site<Node>>,
    port: u16,
    line: Line,
    told: watch::Receiver<Option<Arc<Topology>>>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// The contact point is a service that leads to the first node; in front of it another may be listed.
    async fn new(disturbed: Option<Malady>) -> Self {
        let service = Site::open_at((SERVICE, 0).into(), Node::new(0, BEFORE, None)).await;
        let port = service.address.port();
        let point = |ip: Ipv4Addr| ContactPoint {
            host: ip.to_string(),
            port,
        };
        let points = match disturbed {
            None => ContactPoints::new(point(SERVICE), []),
            Some(_) => ContactPoints::new(point(DISTURBED), [point(SERVICE)]),
        };
        let mut config = Config::new(Name::new("B").unwrap(), points);
        config.connect_timeout = CONNECT_TIMEOUT;
        let config = Arc::new(config);
        let line = Line::new(Side::B, Arc::clone(&config), Rc::default());
        let (to, told) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let (cluster, followed) = (Rc::clone(line.cluster()), told.clone());
        tasks.spawn_local(async move { cluster.follow(followed).await });
        let mut stage = Self {
            sites: vec![service],
            port,
            line: line.clone(),
            told,
            _tasks: JoinSet::new(),
        };
        stage.open(BEFORE).await;
        if let Some(malady) = disturbed {
            stage
                .open_one(DISTURBED, Node::new(0, BEFORE, Some(malady)))
                .await;
        }
        tasks.spawn_local(discover::follow(config, line, to));
        stage._tasks = tasks;
        stage
    }

    async fn open(&mut self, addresses: [Ipv4Addr; 3]) {
        for (place, ip) in (0..).zip(addresses) {
            self.open_one(ip, Node::new(place, addresses, None)).await;
        }
    }

    async fn open_one(&mut self, ip: Ipv4Addr, node: Rc<Node>) {
        let at = SocketAddr::from((ip, self.port));
        self.sites.push(Site::open_at(at, node).await);
    }

    async fn service_leads_to(&mut self, addresses: [Ipv4Addr; 3]) {
        self.open_one(SERVICE, Node::new(1, addresses, None)).await;
    }

    async fn all_leave(&mut self) {
        for site in &mut self.sites {
            site.leave().await;
        }
        self.sites.clear();
    }

    /// Waits until it is told of these nodes.
    async fn hears_of(&mut self, ips: &[Ipv4Addr]) {
        let expected: Vec<_> = ips.iter().map(|ip| format!("{ip}:{}", self.port)).collect();
        let are_told = |it: &Option<Arc<Topology>>| {
            let told = it.iter().flat_map(|it| it.addresses());
            told.map(ToString::to_string).eq(expected.iter().cloned())
        };
        let heard = timeout(AGES, self.told.wait_for(are_told)).await;
        assert!(heard.is_ok(), "never heard of {expected:?}");
    }

    async fn is_served(&self) -> bool {
        self.line.cluster().redial_now();
        facts::local(&self.line).await.is_ok()
    }
}

async fn staged(story: impl AsyncFnOnce(Stage)) {
    staged_behind(None, story).await;
}

async fn staged_behind(disturbed: Option<Malady>, story: impl AsyncFnOnce(Stage)) {
    let on_stage = async { story(Stage::new(disturbed).await).await };
    LocalSet::new().run_until(on_stage).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_comes_back_under_other_addresses_is_found_behind_its_contact_point() {
    staged(async |mut stage| {
        stage.hears_of(&BEFORE).await;
        assert!(stage.is_served().await);
        stage.all_leave().await;
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert!(!stage.is_served().await);

        stage.open(AFTER).await;
        stage.service_leads_to(AFTER).await;
        // Not only once others were reached, which may take long.
        stage.hears_of(&[]).await;
        stage.hears_of(&AFTER).await;
        tokio::task::yield_now().await;
        assert!(stage.is_served().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_only_the_contact_point_can_be_reached_any_more_it_serves() {
    staged(async |mut stage| {
        stage.hears_of(&BEFORE).await;
        stage.all_leave().await;
        tokio::time::sleep(Duration::from_secs(90)).await;

        stage.service_leads_to(AFTER).await;
        stage.hears_of(&[]).await;
        tokio::task::yield_now().await;
        assert!(stage.is_served().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_contact_point_of_no_use_does_not_keep_the_next_from_being_asked() {
    for malady in [Malady::Refusing, Malady::Silent] {
        staged_behind(Some(malady), async |mut stage| {
            stage.hears_of(&BEFORE).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_are_not_given_up_while_any_of_them_answers() {
    staged(async |mut stage| {
        stage.hears_of(&BEFORE).await;
        stage.all_leave().await;
        tokio::time::sleep(Duration::from_secs(90)).await;
        for (place, malady) in [(0, Malady::Silent), (2, Malady::Reserved)] {
            let node = Node::new(place, BEFORE, Some(malady));
            stage.open_one(BEFORE[usize::from(place)], node).await;
        }
        // A session cannot be had from it.
        let service = Node::new(2, BEFORE, Some(Malady::Reserved));
        stage.open_one(SERVICE, service).await;
        let given_up = timeout(AGES, stage.told.wait_for(Option::is_none)).await;
        assert!(given_up.is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_tell_one_address_from_now_on_are_not_used_under_those_before() {
    staged(async |mut stage| {
        stage.hears_of(&BEFORE).await;
        for site in &stage.sites {
            site.node.addresses.set([SERVICE; 3]);
        }
        stage.hears_of(&[]).await;
    })
    .await;
}
