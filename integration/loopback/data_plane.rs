//! The data plane of one thread, as the tests over fake nodes start it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use helix_proxy::dispatch::clock::Clock;
use helix_proxy::dispatch::news::unseen;
use helix_proxy::dispatch::{self, Desk, Registry, Shared};
use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{self, Health, Policy, Report};
use helix_proxy::replay::queue::Memory;
use helix_proxy::session::{self, Acceptor, Door, Outlet, Sessions, serve};
use helix_proxy::statement::{Schema, schema};
use helix_proxy::wire::Version;

/// What desks share, with a queue in memory for so many records and one table, `ks.t`.
pub(crate) fn shared(
    instance: &str,
    (config, rules): (dispatch::Config, policy::Config),
    records: usize,
    reports: mpsc::Sender<(Side, Report)>,
) -> Arc<Shared> {
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
        instance: instance.to_owned(),
        policy: Policy::new(rules, Sides::BOTH),
        clock: Clock::new(0),
        registry: Registry::new(false),
        queue: Some(Arc::new(Memory::new(
            NonZeroUsize::new(records).unwrap(),
            || 0,
        ))),
        untold: Default::default(),
        news: ArcSwap::from_pointee(news),
        topologies: Pair::from_fn(|_side| watch::channel(None).1),
        view: watch::channel(health.view()).1,
        renewed: watch::channel(0).1,
        reports,
        jobs: mpsc::channel(1).0,
        changes: watch::Sender::new(0),
        traces: Default::default(),
        names: Pair::from_fn(|side| side.label().to_owned()),
    })
}

/// Starts the worker and its acceptor; returns where clients connect.
pub(crate) fn run(
    desk: Rc<Desk<Outlet>>,
    version_max: Version,
    tasks: &mut JoinSet<()>,
) -> SocketAddr {
    run_behind(desk, Door::Open, version_max, tasks)
}

/// The same, where clients may have to say who they are.
pub(crate) fn run_behind(
    desk: Rc<Desk<Outlet>>,
    door: Door,
    version_max: Version,
    tasks: &mut JoinSet<()>,
) -> SocketAddr {
    let config = session::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..session::Config::default()
    };
    let mut acceptor = Acceptor::bind(&config).unwrap();
    let (address, arrivals) = (acceptor.address().unwrap(), acceptor.arrivals());
    let sessions = Sessions::secured(config, version_max, None, door);
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
