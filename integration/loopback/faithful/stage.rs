//! The data plane of one thread over two nodes, and clients that speak bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name, ProtocolMax};
use helix_proxy::dispatch::{self, Deadlines, Desk};
use helix_proxy::pair::{Pair, Side};
use helix_proxy::policy::{self, Preferred, ReadStrategy};
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::Version;

use super::node::Node;
use crate::data_plane;
use crate::wire::{Got, Wire};

/// Generous: whatever takes this long has failed. A deadline of the proxy's would be a failure, too.
const SOON: Duration = Duration::from_secs(60);

/// A client is told apart by its version and the keyspace that it uses.
type Who = (u8, Option<&'static str>);

/// See the module.
pub(crate) struct Stage {
    pub(crate) nodes: Pair<Rc<Node>>,
    address: SocketAddr,
    clients: HashMap<Who, Wire>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// Reads stick to this side.
    pub(crate) async fn new(preferred: Side) -> Self {
        let mut rules = policy::Config::default();
        rules.reads.strategy = ReadStrategy::Sticky {
            preferred: Preferred::Side(preferred),
            cooldown: Duration::ZERO,
        };
        let nodes = Pair::new(Node::new(b'a'), Node::new(b'b'));
        let mut tasks = JoinSet::new();
        let mut points = Pair::<Option<Arc<cluster::Config>>>::default();
        for side in Side::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            points[side] = Some(Arc::new(cluster_of(side, port)));
            tasks.spawn_local(accept(listener, Rc::clone(&nodes[side])));
        }
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let config = dispatch::Config {
            deadlines: Deadlines {
                read: SOON,
                failover_after: SOON,
                write: SOON,
                schema: SOON,
            },
            protocol_max: ProtocolMax::V5,
            ..dispatch::Config::default()
        };
        let shared = data_plane::shared("faithful", (config, rules), 100, mpsc::channel(64).0);
        let desk: Rc<Desk<Outlet>> = Desk::new(shared, &points, Rc::new(metrics.worker()));
        let address = data_plane::run(desk, Version::V5, &mut tasks);
        Self {
            nodes,
            address,
            clients: HashMap::new(),
            _tasks: tasks,
        }
    }

    /// Sends a frame of this client's, and returns the answer.
    pub(crate) async fn ask(&mut self, who: Who, frame: &Got) -> Option<Got> {
        if !self.clients.contains_key(&who) {
            let client = self.client(who).await;
            self.clients.insert(who, client);
        }
        let client = self.clients.get_mut(&who)?;
        let talk = async {
            client.write(&frame.bytes()).await;
            client.read().await
        };
        timeout(SOON, talk).await.ok().flatten()
    }

    async fn client(&self, (version, keyspace): Who) -> Wire {
        let mut wire = Wire::new(TcpStream::connect(self.address).await.unwrap());
        let request = |opcode, body| Got {
            version,
            flags: 0,
            stream: [0, 1],
            opcode,
            body,
        };
        let mut startup = vec![0, 1];
        for text in ["CQL_VERSION", "3.0.0"] {
            startup.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            startup.extend(text.as_bytes());
        }
        wire.write(&request(0x01, startup).bytes()).await;
        assert_eq!(wire.read().await.unwrap().opcode, 0x02);
        wire.framed = version == 5;
        if let Some(keyspace) = keyspace {
            let text = format!("USE \"{keyspace}\"");
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            let rest: &[u8] = if version == 5 { &[0; 4] } else { &[0] };
            let body = [&length[..], text.as_bytes(), &[0, 1], rest].concat();
            wire.write(&request(0x07, body).bytes()).await;
            assert_eq!(wire.read().await.unwrap().opcode, 0x08);
        }
        wire
    }
}

fn cluster_of(side: Side, port: u16) -> cluster::Config {
    let host = "127.0.0.1".to_owned();
    let points = ContactPoints::new(ContactPoint { host, port }, []);
    let mut config = cluster::Config::new(Name::new(side.label()).unwrap(), points);
    config.protocol_max = ProtocolMax::V5;
    config.connect_timeout = SOON;
    config
}

async fn accept(listener: TcpListener, node: Rc<Node>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn_local(Rc::clone(&node).serve(stream));
    }
}
