//! The data plane of one thread over two nodes.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use helix_proxy::cluster::{self, ContactPoint, ContactPoints, Name, ProtocolMax};
use helix_proxy::dispatch::clock::Clock;
use helix_proxy::dispatch::news::unseen;
use helix_proxy::dispatch::{self, Deadlines, Desk, Registry, Shared};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{self, Health, Policy, Preferred, ReadStrategy, Report};
use helix_proxy::replay::queue::Memory;
use helix_proxy::session::{self, Acceptor, Outlet, Sessions, serve};
use helix_proxy::statement::{Schema, schema};
use helix_proxy::telemetry::Metrics;
use helix_proxy::wire::Version;

use crate::client::Client;
use crate::node::Node;

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
        let address = run(desk, &mut tasks);
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
    let health = Health::new(&rules, Sides::BOTH, 0);
    let mut news = unseen(&config.advertise, config.protocol_max.version());
    news.schema = Arc::new(Schema::new([schema::Row {
        keyspace: "ks",
        table: "t",
        column: "k",
        kind: "partition_key",
        position: 0,
        type_text: "int",
    }]));
    Arc::new(Shared {
        config,
        instance: "versions".to_owned(),
        policy: Policy::new(rules, Sides::BOTH),
        clock: Clock::new(0),
        registry: Registry::new(false),
        queue: Some(Arc::new(Memory::new(NonZeroUsize::new(100).unwrap(), || 0))),
        news: ArcSwap::from_pointee(news),
        view: watch::channel(health.view()).1,
        renewed: watch::channel(0).1,
        reports,
        jobs: mpsc::channel(1).0,
        names: Pair::from_fn(|side| side.label().to_owned()),
    })
}

fn run(desk: Rc<Desk<Outlet>>, tasks: &mut JoinSet<()>) -> SocketAddr {
    let config = session::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..session::Config::default()
    };
    let mut acceptor = Acceptor::bind(&config).unwrap();
    let (address, arrivals) = (acceptor.address().unwrap(), acceptor.arrivals());
    let sessions = Sessions::new(config, Version::V5);
    let stop = watch::Sender::new(false);
    let (stopped, until) = (stop.subscribe(), stop.subscribe());
    tasks.spawn_local(async move {
        let _stop = stop;
        acceptor.run(until).await.unwrap();
    });
    tasks.spawn_local(async move {
        let _loops = desk.start();
        serve(arrivals, desk, sessions, stopped, Duration::ZERO).await;
    });
    address
}
