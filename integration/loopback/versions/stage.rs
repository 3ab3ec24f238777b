//! The data plane of one thread over two nodes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name, ProtocolMax};
use helix_proxy::dispatch::{self, Deadlines, Desk, Shared};
use helix_proxy::pair::{Pair, Side};
use helix_proxy::policy::{self, Preferred, ReadStrategy, Report};
use helix_proxy::session::Outlet;
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::Version;

use super::client::Client;
use super::node::Node;
use crate::data_plane;

/// See the module.
pub(crate) struct Stage {
    pub(crate) nodes: Pair<Rc<Node>>,
    pub(crate) address: SocketAddr,
    pub(crate) reports: mpsc::Receiver<(Side, Report)>,
    pub(crate) _tasks: JoinSet<()>,
}

pub(crate) async fn staged<F: Future<Output = ()>>(
    nodes: Pair<Rc<Node>>,
    story: impl FnOnce(Stage) -> F,
) {
    LocalSet::new()
        .run_until(async { story(Stage::new(nodes).await).await })
        .await;
}

impl Stage {
    pub(crate) async fn new(nodes: Pair<Rc<Node>>) -> Self {
        let mut rules = policy::Config::default();
        rules.reads.strategy = ReadStrategy::Sticky {
            preferred: Preferred::Side(Side::A),
            cooldown: Duration::ZERO,
        };
        let mut tasks = JoinSet::new();
        let mut points = Pair::<Option<Arc<cluster::Config>>>::default();
        for side in Side::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let host = "127.0.0.1".to_owned();
            let contact = ContactPoints::new(ContactPoint { host, port }, []);
            let mut config = cluster::Config::new(Name::new(side.label()).unwrap(), contact);
            config.protocol_max = ProtocolMax::V5;
            points[side] = Some(Arc::new(config));
            let node = Rc::clone(&nodes[side]);
            tasks.spawn_local(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn_local(Rc::clone(&node).serve(stream));
                }
            });
        }
        let metrics = Metrics::new(Pair::from_fn(|side| Some(side.label().to_owned()))).unwrap();
        let (to, reports) = mpsc::channel(64);
        let desk: Rc<Desk<Outlet>> =
            Desk::new(shared(rules, to), &points, Rc::new(metrics.worker()));
        let address = data_plane::run(desk, Version::V5, &mut tasks);
        Self {
            nodes,
            address,
            reports,
            _tasks: tasks,
        }
    }

    pub(crate) async fn client(&self, version: Version) -> Client {
        Client::open(self.address, version).await
    }

    pub(crate) fn strikes(&mut self) -> Vec<Side> {
        let mut strikes = Vec::new();
        while let Ok((side, report)) = self.reports.try_recv() {
            if report == Report::Strike {
                strikes.push(side);
            }
        }
        strikes
    }
}

fn shared(rules: policy::Config, reports: mpsc::Sender<(Side, Report)>) -> Arc<Shared> {
    let config = dispatch::Config {
        deadlines: Deadlines {
            read: Duration::from_secs(2),
            failover_after: Duration::from_secs(1),
            write: Duration::from_millis(500),
            ..Deadlines::default()
        },
        protocol_max: ProtocolMax::V5,
        ..dispatch::Config::default()
    };
    data_plane::shared("versions", (config, rules), 100, reports)
}
