//! A cluster whose nodes come back under other addresses, behind the same contact point.

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
/// Of the paused clock: more than a session's life and the pauses behind it.
const AGES: Duration = Duration::from_secs(600);

/// One of three nodes, which knows its own place and the others' addresses.
struct Node {
    place: u8,
    addresses: [Ipv4Addr; 3],
}

impl Node {
    /// The rows that a text of the driver or of ours asks for; `None` where there is no such table.
    fn rows(&self, text: &str) -> Option<Vec<u8>> {
        let (columns, rest) = text.strip_prefix("SELECT ")?.split_once(" FROM ")?;
        let columns: Vec<_> = columns.split(", ").collect();
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
        let address = self.addresses[usize::from(place)];
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
    async fn new() -> Self {
        let node = Rc::new(Node {
            place: 0,
            addresses: BEFORE,
        });
        let service = Site::open_at((SERVICE, 0).into(), node).await;
        let port = service.address.port();
        let point = ContactPoint {
            host: SERVICE.to_string(),
            port,
        };
        let name = Name::new("B").unwrap();
        let config = Arc::new(Config::new(name, ContactPoints::new(point, [])));
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
        tasks.spawn_local(discover::follow(config, line, to));
        stage._tasks = tasks;
        stage
    }

    async fn open(&mut self, addresses: [Ipv4Addr; 3]) {
        for (place, ip) in (0..).zip(addresses) {
            let node = Rc::new(Node { place, addresses });
            let site = Site::open_at((ip, self.port).into(), node).await;
            self.sites.push(site);
        }
    }

    async fn service_leads_to(&mut self, addresses: [Ipv4Addr; 3]) {
        let node = Rc::new(Node {
            place: 1,
            addresses,
        });
        let at = SocketAddr::from((SERVICE, self.port));
        self.sites.push(Site::open_at(at, node).await);
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
    let on_stage = async { story(Stage::new().await).await };
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
