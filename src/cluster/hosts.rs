//! The nodes of one cluster as one thread uses them, and which of them a request goes to.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::heard::{Asked, Heard, Tallies};
use super::host::{Host, HostId};
use super::topology::Topology;
use super::{ContactPoints, Refused};
use crate::wire::Version;

/// Which node a request should go to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Target<'a> {
    /// Whichever is best.
    #[default]
    Any,
    /// This one, for it was just taught what the request needs.
    Host(HostId),
    /// One that holds this token.
    Replica {
        /// Of the table.
        keyspace: &'a str,
        /// Of the partition.
        token: i64,
    },
}

impl Target<'_> {
    #[inline]
    pub(super) const fn token(self) -> Option<i64> {
        match self {
            Self::Replica { token, .. } => Some(token),
            Self::Any | Self::Host(_) => None,
        }
    }
}

/// Whether several nodes are used at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    /// One, as long as it serves.
    One,
    /// All, once a topology is known.
    Spread,
}

/// The nodes of one cluster.
#[derive(Debug)]
pub(super) struct Hosts<T> {
    /// In the order of the contact points, then of the topology.
    listed: Vec<Rc<Host<T>>>,
    /// No longer listed, but some answers are still to come.
    retired: Vec<Rc<Host<T>>>,
    topology: Option<Arc<Topology>>,
    usage: Use,
    /// Which one is used while one is.
    current: Cell<usize>,
    next: u32,
    dice: Cell<u64>,
    tallies: Rc<Tallies>,
}

impl<T: Copy> Hosts<T> {
    pub(super) fn new(points: &ContactPoints, usage: Use) -> Self {
        let mut hosts = Self::nobody(usage, Rc::default());
        hosts.listed = points
            .iter()
            .map(|it| hosts.host(&it.to_string()))
            .collect();
        hosts
    }

    /// The same nodes, without connections: for somebody else who shares what is known of them.
    pub(super) fn anew(&self) -> Self {
        let mut hosts = Self::nobody(self.usage, Rc::clone(&self.tallies));
        let addresses = self.listed.iter().map(|it| &it.address);
        hosts.listed = addresses.map(|it| hosts.host(it)).collect();
        hosts.topology.clone_from(&self.topology);
        hosts.current.set(self.current.get());
        // Not all of them try the nodes in the same order.
        self.roll(1);
        hosts.dice.set(self.dice.get());
        hosts
    }

    fn nobody(usage: Use, tallies: Rc<Tallies>) -> Self {
        Self {
            listed: Vec::new(),
            retired: Vec::new(),
            topology: None,
            usage,
            current: Cell::new(0),
            next: 0,
            dice: Cell::new(0x9e37_79b9_7f4a_7c15),
            tallies,
        }
    }

    fn host(&mut self, address: &str) -> Rc<Host<T>> {
        let id = HostId(self.next);
        self.next += 1;
        Host::new(id, address, self.tallies.of(address))
    }

    /// Uses these nodes from now on; those that were used before keep their connections.
    pub(super) fn follow(&mut self, topology: Arc<Topology>) {
        self.list(topology.addresses().iter().map(|it| &**it));
        self.topology = Some(topology);
    }

    /// Uses these as before any topology. Whether there was one.
    pub(super) fn unfollow(&mut self, points: &ContactPoints) -> bool {
        let had_one = self.topology.take().is_some();
        if had_one {
            let addresses: Vec<_> = points.iter().map(ToString::to_string).collect();
            self.list(addresses.iter().map(String::as_str));
        }
        had_one
    }

    fn list<'a>(&mut self, addresses: impl Iterator<Item = &'a str>) {
        let current = self.listed.get(self.current.get()).map(|it| it.id);
        let mut before = std::mem::take(&mut self.listed);
        before.append(&mut self.retired);
        for address in addresses {
            let known = before.iter().position(|it| *it.address == *address);
            let host = known.map(|at| before.swap_remove(at));
            let host = host.unwrap_or_else(|| self.host(address));
            self.listed.push(host);
        }
        self.retired = before;
        let at = self.listed.iter().position(|it| Some(it.id) == current);
        self.current.set(at.unwrap_or_default());
    }

    /// Closes those that are no longer listed and owe nothing.
    pub(super) fn reap(&mut self) {
        self.retired.retain(|host| {
            let is_idle = host.is_idle();
            if is_idle {
                host.close();
            }
            !is_idle
        });
    }

    /// All that have connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Host<T>>> {
        self.listed.iter().chain(&self.retired)
    }

    /// All that are used.
    pub(super) const fn listed(&self) -> &[Rc<Host<T>>] {
        self.listed.as_slice()
    }

    /// Whether it matters which node a request goes to.
    #[inline]
    pub(super) const fn has_choice(&self) -> bool {
        1 < self.listed.len() && self.is_spread()
    }

    const fn is_spread(&self) -> bool {
        matches!(self.usage, Use::Spread) && self.topology.is_some()
    }

    /// Whether a request could be sent, or a node dialled for it, now.
    pub(super) fn is_reachable(&self) -> bool {
        let reachable = |it: &Rc<Host<T>>| it.is_up() || it.may_dial().is_ok();
        self.listed.iter().any(reachable)
    }

    /// Whether another node than this one answers.
    pub(super) fn is_served_without(&self, id: HostId) -> bool {
        self.listed.iter().any(|it| it.id != id && it.is_up())
    }

    /// Who answers, where this was not answered in time.
    pub(super) fn heard(&self, asked: Asked) -> Heard {
        let has_answered = |it: &Rc<Host<T>>| it.tally.has_answered(asked);
        if self.find(asked.host).is_some_and(has_answered) {
            return Heard::Itself;
        }
        let serves = |it: &Rc<Host<T>>| it.id != asked.host && it.is_up() && it.tally.is_proven();
        match self.has_choice() && self.listed.iter().any(serves) {
            true => Heard::Others,
            false => Heard::Nobody,
        }
    }

    /// This node, if it has connections.
    pub(super) fn find(&self, id: HostId) -> Option<&Rc<Host<T>>> {
        self.iter().find(|it| it.id == id)
    }

    /// This node failed: where one is used at a time, it is the next one's turn.
    pub(super) fn move_on(&self, from: HostId) {
        let (at, count) = (self.current.get(), self.listed.len());
        if self.listed.get(at).is_some_and(|it| it.id == from) {
            self.current.set((at + 1) % count);
        }
    }

    /// The node for a request.
    ///
    /// # Errors
    /// [`Refused::Down`] if none is up and none may be dialled.
    #[inline]
    pub(super) fn pick(
        &self,
        target: Target<'_>,
        version: Version,
    ) -> Result<Rc<Host<T>>, Refused> {
        if let [only] = self.listed.as_slice() {
            return Ok(Rc::clone(only));
        }
        self.pick_of_many(target, version).map(Rc::clone)
    }

    fn pick_of_many(&self, target: Target<'_>, version: Version) -> Result<&Rc<Host<T>>, Refused> {
        if let Target::Host(id) = target
            && let Some(host) = self.find(id)
            && host.serves(version)
        {
            return Ok(host);
        }
        if !self.is_spread() {
            return self.steady().ok_or(Refused::Down);
        }
        if let (Target::Replica { keyspace, token }, Some(topology)) = (target, &self.topology) {
            let replicas = topology.replicas(keyspace, token).iter();
            let replicas = replicas.filter_map(|at| self.listed.get(usize::from(*at)));
            if let Some(host) = self.better(replicas, version) {
                return Ok(host);
            }
        }
        let up = self.better(self.listed.iter(), version);
        let dialled = || {
            let may = |it: &&Rc<Host<T>>| it.may_dial().is_ok();
            let from = self.roll(self.listed.len());
            let (before, after) = self.listed.split_at_checked(from)?;
            let may = after.iter().chain(before).filter(may);
            may.min_by_key(|it| it.tally.standing())
        };
        up.or_else(dialled).ok_or(Refused::Down)
    }

    /// The one that is used as long as it serves, or the next.
    fn steady(&self) -> Option<&Rc<Host<T>>> {
        let count = self.listed.len();
        let usable = |it: &Rc<Host<T>>| it.is_up() || it.may_dial().is_ok();
        let from = self.current.get();
        let mut places = (0..count).map(|step| (from + step) % count.max(1));
        let at = places.find(|at| self.listed.get(*at).is_some_and(usable))?;
        self.current.set(at);
        self.listed.get(at)
    }

    /// Of two at random that are up, the one with fewer requests in flight. Two are enough to avoid
    /// a slow one: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
    fn better<'a>(
        &'a self,
        among: impl Iterator<Item = &'a Rc<Host<T>>> + Clone,
        version: Version,
    ) -> Option<&'a Rc<Host<T>>> {
        let mut up = among.filter(|it| it.serves(version));
        let count = up.clone().count();
        let one = self.roll(count);
        let other = (one + 1 + self.roll(count.saturating_sub(1))) % count.max(1);
        let (first, last) = (one.min(other), one.max(other));
        let early = up.nth(first)?;
        let late = (last - first).checked_sub(1).and_then(|step| up.nth(step));
        // Of two that have as much to do, the one that was picked first.
        let (one, other) = match late {
            Some(late) if other < one => (late, early),
            late => (early, late.unwrap_or(early)),
        };
        Some(match other.load(version) < one.load(version) {
            true => other,
            false => one,
        })
    }

    /// A random number below this one, by xorshift; 0 below 1.
    fn roll(&self, below: usize) -> usize {
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        let low = usize::try_from(dice & 0xffff_ffff).unwrap_or_default();
        low % below.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ContactPoint;
    use super::super::connection::{Connection, Owner, State};
    use super::super::topology::Ring;
    use super::*;

    const VERSION: Version = Version::V4;

    fn points(names: &[&str]) -> ContactPoints {
        let mut points = names.iter().map(|host| ContactPoint {
            host: (*host).to_owned(),
            port: 1,
        });
        ContactPoints::new(points.next().unwrap(), points)
    }

    fn topology(names: &[&str], replicas: &[u16]) -> Arc<Topology> {
        let addresses = names.iter().map(|it| format!("{it}:1").into()).collect();
        let ring = Ring {
            tokens: vec![(0, replicas.into())],
        };
        Arc::new(Topology::new(addresses, vec![ring], vec![("ks".into(), 0)]))
    }

    /// Hosts of this topology, all up.
    fn spread(names: &[&str], replicas: &[u16]) -> Hosts<u8> {
        let mut hosts = Hosts::new(&points(names), Use::Spread);
        hosts.follow(topology(names, replicas));
        hosts.iter().for_each(|it| it.answered());
        hosts
    }

    fn picked(hosts: &Hosts<u8>, target: Target<'_>) -> Vec<String> {
        let pick = |_| hosts.pick(target, VERSION).unwrap().address.to_string();
        let mut picked: Vec<_> = (0..200).map(pick).collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    const ROW: Target<'_> = Target::Replica {
        keyspace: "ks",
        token: 7,
    };

    #[test]
    fn a_row_goes_to_its_replicas_and_what_has_none_anywhere() {
        let hosts = spread(&["a", "b", "c", "d"], &[1, 3]);
        assert_eq!(picked(&hosts, ROW), ["b:1", "d:1"]);
        assert_eq!(picked(&hosts, Target::Any), ["a:1", "b:1", "c:1", "d:1"]);
        let other = Target::Replica {
            keyspace: "other",
            token: 7,
        };
        assert_eq!(picked(&hosts, other).len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_down_is_left_out_until_nobody_else_is_there() {
        let hosts = spread(&["a", "b", "c"], &[0, 1]);
        hosts.listed()[1].failed();
        assert_eq!(picked(&hosts, ROW), ["a:1"]);
        hosts.listed()[0].failed();
        assert_eq!(picked(&hosts, ROW), ["c:1"], "no replica is up");
        assert!(hosts.is_served_without(hosts.listed()[0].id));
        hosts.listed()[2].failed();
        assert_eq!(hosts.pick(ROW, VERSION).err(), Some(Refused::Down));
        assert!(!hosts.is_reachable());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(picked(&hosts, ROW).len(), 3, "any may be dialled again");
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_that_are_not_up_who_is_known_to_answer_is_dialled_first() {
        let hosts = spread(&["a", "b", "c"], &[0, 1]);
        hosts.listed()[0].failed();
        hosts.listed()[1].tally.answered();
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        let guest = || picked(&hosts.anew(), ROW);
        assert_eq!(guest(), ["b:1"]);
        hosts.listed()[1].suspect();
        assert_eq!(guest(), ["b:1", "c:1"]);
        hosts.listed()[1].failed();
        hosts.listed()[2].failed();
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert_eq!(guest().len(), 3);
    }

    #[test]
    fn guests_do_not_all_begin_with_the_same_node() {
        let hosts = spread(&["a", "b", "c"], &[0, 1]);
        let first = |_| {
            let guest: Hosts<u8> = hosts.anew();
            let picked = guest.pick(Target::Any, VERSION).unwrap();
            picked.address.to_string()
        };
        let mut firsts: Vec<_> = (0..60).map(first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn the_one_with_less_to_do_is_preferred() {
        let hosts = spread(&["a", "b"], &[0, 1]);
        let busy = Connection::new(VERSION, hosts.listed()[0].id, &hosts.listed()[0].tally);
        busy.inflight.borrow_mut().take(Owner::Request(0));
        hosts.listed()[0].add_plain(&busy);
        assert_eq!(picked(&hosts, ROW), ["b:1"]);
    }

    #[test]
    fn the_node_that_was_taught_is_used_while_it_is_up() {
        let hosts = spread(&["a", "b", "c"], &[0, 1]);
        let taught = Target::Host(hosts.listed()[2].id);
        assert_eq!(picked(&hosts, taught), ["c:1"]);
        hosts.listed()[2].failed();
        assert_eq!(picked(&hosts, taught), ["a:1", "b:1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_is_used_as_long_as_it_serves() {
        let mut hosts = Hosts::<u8>::new(&points(&["a", "b", "c"]), Use::One);
        assert_eq!(picked(&hosts, Target::Any), ["a:1"]);
        hosts.listed()[0].failed();
        assert_eq!(picked(&hosts, ROW), ["b:1"]);
        hosts.listed()[1].answered();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(
            picked(&hosts, ROW),
            ["b:1"],
            "also when the first may be dialled again"
        );
        hosts.follow(topology(&["c", "b"], &[0]));
        assert_eq!(picked(&hosts, ROW), ["b:1"], "also when others are listed");
        assert!(!hosts.has_choice());
    }

    #[test]
    fn hosts_that_stay_keep_their_connections_and_those_that_go_finish() {
        let mut hosts = spread(&["a", "b"], &[0]);
        let (stays, goes) = (hosts.listed()[0].id, hosts.listed()[1].id);
        let owing = Connection::new(VERSION, goes, &hosts.listed()[0].tally);
        owing.state.set(State::Ready);
        let stream = owing.inflight.borrow_mut().take(Owner::Request(0)).unwrap();
        hosts.listed()[1].add_plain(&owing);

        hosts.follow(topology(&["c", "a"], &[0]));
        let ids: Vec<_> = hosts.listed().iter().map(|it| it.id).collect();
        assert_eq!(ids[1], stays);
        assert!(![stays, goes].contains(&ids[0]), "ids are not used again");
        hosts.reap();
        assert_eq!(hosts.iter().count(), 3);
        assert!(!owing.outbox.is_closed());

        owing.inflight.borrow_mut().answer(stream).unwrap();
        hosts.reap();
        assert_eq!(hosts.iter().count(), 2);
        assert!(owing.outbox.is_closed());
    }

    #[test]
    fn a_node_that_takes_no_more_connections_is_not_up_by_those_that_it_keeps() {
        let hosts = spread(&["a", "b"], &[0, 1]);
        let host = &hosts.listed()[0];
        let ready = || {
            let connection = Connection::new(VERSION, host.id, &host.tally);
            connection.state.set(State::Ready);
            connection
        };
        let (plain, bound) = (ready(), ready());
        host.add_plain(&plain);
        host.bound.borrow_mut().add("ks", &bound);
        host.failed();
        plain.state.set(State::Gone);
        host.broke(&plain);
        assert_eq!(picked(&hosts, Target::Any), ["b:1"]);
    }

    #[test]
    fn who_refused_a_version_is_asked_in_others() {
        let hosts = spread(&["a", "b"], &[0, 1]);
        hosts.listed()[0].refused(VERSION);
        assert_eq!(picked(&hosts, ROW), ["b:1"]);
        let other = hosts.pick_of_many(Target::Host(hosts.listed()[0].id), Version::V3);
        assert_eq!(other.unwrap().id, hosts.listed()[0].id);
    }
}
