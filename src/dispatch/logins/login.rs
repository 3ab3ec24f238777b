//! One role on one thread: its clusters, what it is known to be allowed, and whether it is let in.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::plain;
use super::rights::Rights;
use crate::cluster::{Cluster, Role, Ruling};
use crate::dispatch::request::What;
use crate::dispatch::{Client, Desk};
use crate::pair::{Pair, Side};
use crate::wire::Version;

/// How long a ruling is believed: a fleet that reconnects asks once.
const BELIEVED_FOR: Duration = Duration::from_secs(2);
/// For one cluster to say whether a role is let in.
const ASKED_WITHIN: Duration = Duration::from_secs(4);
/// How long the first cluster is asked alone.
const HEAD_START: Duration = Duration::from_secs(1);

/// A ruling, and who gave it.
pub(super) type Ruled = (Side, Ruling);
type Held<C> = Rc<Cluster<Desk<C>>>;

/// A client's role as one thread knows it. Its clients share connections of its own.
pub struct Login<C: Client> {
    /// Of its name and password.
    pub(super) digest: [u8; 32],
    pub(in crate::dispatch) role: Role,
    pub(in crate::dispatch) clusters: Pair<Option<Held<C>>>,
    rights: RefCell<Rights>,
    ruled: RefCell<Option<(Instant, Ruled)>>,
    /// One asks, the others wait for what it hears.
    turn: Semaphore,
    /// When it was last seen to have clients.
    pub(super) used: Cell<Instant>,
    upkeep: RefCell<JoinSet<()>>,
}

impl<C: Client> fmt::Debug for Login<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl<C: Client> Login<C> {
    /// Nobody has asked the clusters yet, and nothing is dialled.
    pub(super) fn new(desk: &Desk<C>, digest: [u8; 32], role: Role) -> Rc<Self> {
        let clusters = desk.clusters.as_ref().map(|side, cluster| {
            let cluster = cluster.as_ref()?.under(role.clone());
            let topology = desk.shared.topologies[side].borrow().clone();
            topology.into_iter().for_each(|it| cluster.know(it));
            Some(cluster)
        });
        Rc::new(Self {
            digest,
            role,
            clusters,
            rights: RefCell::default(),
            ruled: RefCell::default(),
            turn: Semaphore::new(1),
            used: Cell::new(Instant::now()),
            upkeep: RefCell::default(),
        })
    }

    /// Whether it was let in when that was last asked.
    pub(super) fn is_welcome(&self) -> bool {
        let ruled = self.ruled.borrow();
        matches!(&*ruled, Some((_, (_, Ruling::In))))
    }

    /// Whether the role is let in: what a cluster said of late, or what it says now. The first that can tell
    /// decides; the other is asked once the first has said nothing for a while, or cannot tell. Where it is
    /// let in anew its connections begin.
    pub(super) async fn rule(&self, first: Side, version: Version) -> Ruled {
        let nobody = || (first, Ruling::Unknown("asked by nobody".to_owned()));
        let Ok(_turn) = self.turn.acquire().await else {
            return nobody();
        };
        if let Some((at, ruled)) = &*self.ruled.borrow()
            && at.elapsed() < BELIEVED_FOR
        {
            return ruled.clone();
        }
        let ruled = match (&self.clusters[first], &self.clusters[!first]) {
            (Some(one), Some(other)) => decide((first, one), (!first, other), version).await,
            (Some(one), None) => (first, ask(one, version).await),
            (None, Some(other)) => (!first, ask(other, version).await),
            (None, None) => nobody(),
        };
        if ruled.1 == Ruling::In {
            let clusters = self.clusters.iter().filter_map(|(_, it)| it.as_ref());
            clusters.for_each(|it| it.warm(version));
        }
        if !matches!(ruled.1, Ruling::Unknown(_)) {
            *self.ruled.borrow_mut() = Some((Instant::now(), ruled.clone()));
        }
        ruled
    }

    /// A client is let in: its clusters are kept in shape from now on.
    pub(super) fn enter(&self, desk: &Desk<C>) {
        self.used.set(Instant::now());
        let mut upkeep = self.upkeep.borrow_mut();
        if !upkeep.is_empty() {
            return;
        }
        for (side, cluster) in self.clusters.iter() {
            let Some(cluster) = cluster else { continue };
            let (kept, follower) = (Rc::clone(cluster), Rc::clone(cluster));
            let told = desk.shared.topologies[side].clone();
            upkeep.spawn_local(async move { kept.keep_alive().await });
            upkeep.spawn_local(async move { follower.follow(told).await });
        }
    }

    /// A cluster took this write.
    pub(in crate::dispatch) fn took(
        &self,
        what: &What,
        keyspace: Option<&str>,
        now: std::time::Instant,
    ) {
        self.rights.borrow_mut().took(what, keyspace, now);
    }

    /// A cluster says that the role may not do this.
    pub(in crate::dispatch) fn refused(&self, what: &What, keyspace: Option<&str>) {
        self.rights.borrow_mut().refused(what, keyspace);
    }

    /// What it was known to be allowed is not known any more.
    pub(super) fn forget_rights(&self) {
        self.rights.take();
    }

    /// Whether the role is known to be allowed this write.
    pub(in crate::dispatch) fn may(
        &self,
        what: &What,
        keyspace: Option<&str>,
        now: std::time::Instant,
    ) -> bool {
        self.rights.borrow().cover(what, keyspace, now)
    }
}

impl<C: Client> Drop for Login<C> {
    fn drop(&mut self) {
        for (_, cluster) in self.clusters.iter() {
            cluster.iter().for_each(|it| it.close());
        }
    }
}

async fn decide<C: Client>(
    (first, one): (Side, &Held<C>),
    (second, other): (Side, &Held<C>),
    version: Version,
) -> Ruled {
    let mut of_one = pin!(ask(one, version));
    let early = timeout(HEAD_START, of_one.as_mut()).await;
    match early {
        Ok(Ruling::Unknown(why)) => {
            let ruling = ask(other, version).await;
            return (second, or_neither(ruling, &why));
        }
        Ok(ruling) => return (first, ruling),
        Err(_elapsed) => {}
    }
    let mut of_other = pin!(ask(other, version));
    tokio::select! {
        ruling = of_one.as_mut() => match ruling {
            Ruling::Unknown(why) => (second, or_neither(of_other.await, &why)),
            Ruling::In | Ruling::Out(_) => (first, ruling),
        },
        ruling = of_other.as_mut() => match ruling {
            Ruling::In => (second, ruling),
            // A refusal is the end for most drivers: the first one's word is waited for.
            Ruling::Out(_) | Ruling::Unknown(_) => match of_one.await {
                Ruling::Unknown(why) => (second, or_neither(ruling, &why)),
                known => (first, known),
            },
        },
    }
}

async fn ask<C: Client>(cluster: &Held<C>, version: Version) -> Ruling {
    let asking = Box::pin(cluster.ask_in(version));
    match timeout(ASKED_WITHIN, asking).await {
        Ok(Ruling::Unknown(why)) => Ruling::Unknown(plain(&why)),
        Ok(ruling) => ruling,
        Err(_elapsed) => Ruling::Unknown(format!("no answer in {ASKED_WITHIN:?}")),
    }
}

fn or_neither(ruling: Ruling, before: &str) -> Ruling {
    match ruling {
        Ruling::Unknown(why) => Ruling::Unknown(format!("{before}; {why}")),
        Ruling::In | Ruling::Out(_) => ruling,
    }
}
