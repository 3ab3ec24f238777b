//! The connections of one thread to the shards of one node, and which of them a request takes.
//!
//! A connection has a seat only once the node itself said where it leads, see `docs/TOPOLOGY.md`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::rc::Rc;

use super::connection::{Owner, State};
use super::dial::Purpose;
use super::host::Host;
use super::sharding::Sharding;
use super::{Cluster, Connection, Held, Sink};
use crate::wire::request::Query;
use crate::wire::response::result::Rows;
use crate::wire::{Frame, Opcode};

/// How often the pause between two rounds is doubled.
const DOUBLINGS_MAX: u32 = 5;
/// Which node answers.
const IDENTITY: &str = "SELECT host_id FROM system.local WHERE key = 'local'";

/// Where a connection should lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    /// The node.
    pub(super) peer: SocketAddr,
    /// Its shard-aware port, and the shard; without it the node chooses one.
    pub(super) door: Option<(NonZeroU16, u16)>,
    pub(super) sharding: Sharding,
}

/// Connections by the shards that they lead to.
#[derive(Debug)]
pub(super) struct Shards<T> {
    sharding: Sharding,
    peer: SocketAddr,
    is_tls: bool,
    /// One for each shard, or for a few neighbours.
    seats: Box<[Option<Rc<Connection<T>>>]>,
    /// The node has not said yet where they lead.
    arriving: Vec<Rc<Connection<T>>>,
    /// Whose turn it is among requests that belong to no shard.
    turn: Cell<usize>,
    /// In a row that left a seat empty.
    rounds: u32,
    /// Pulses before another one.
    rest: u32,
}

impl<T: Copy> Shards<T> {
    /// Empty seats, at most so many; `None` where one is enough.
    pub(super) fn new(
        (sharding, peer): (Sharding, SocketAddr),
        is_tls: bool,
        seats_max: usize,
    ) -> Option<Self> {
        let count = sharding.seats(seats_max);
        (1 < count).then(|| Self {
            sharding,
            peer,
            is_tls,
            seats: std::iter::repeat_with(|| None).take(count).collect(),
            arriving: Vec::new(),
            turn: Cell::new(0),
            rounds: 0,
            rest: 0,
        })
    }

    /// Whether the node that says this is the one that the seats are for.
    pub(super) fn are_of(&self, said: &Sharding) -> bool {
        self.sharding.is_like(said)
    }

    /// Its address.
    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The connection for a request: that of the token's shard, or the next that has room.
    #[inline]
    pub(super) fn pick(&self, token: Option<i64>) -> Option<Rc<Connection<T>>> {
        let count = self.seats.len();
        let at = match token {
            Some(token) => self.sharding.seat_of(self.sharding.shard_of(token), count),
            None => self.turn.replace((self.turn.get() + 1) % count),
        };
        let (before, from) = self.seats.split_at_checked(at)?;
        let mut seated = from.iter().chain(before).flatten();
        seated.find(|it| it.has_room()).map(Rc::clone)
    }

    /// A connection's node says where it leads. The first one is used in any case; one that was dialled
    /// for a seat and gets none is closed; all others have theirs, or a keyspace.
    pub(super) fn seat(
        &mut self,
        connection: &Rc<Connection<T>>,
        said: Option<&Sharding>,
        is_first: bool,
    ) {
        let is_it = |it: &Rc<Connection<T>>| Rc::ptr_eq(it, connection);
        let arrived = self.arriving.iter().position(is_it);
        arrived.map(|at| self.arriving.swap_remove(at));
        if !is_first && arrived.is_none() {
            return;
        }
        let count = self.seats.len();
        let seat = said
            .filter(|said| self.are_of(said))
            .and_then(|said| self.seats.get_mut(said.seat_of(said.shard, count)));
        match seat {
            Some(seat) if is_free(seat.as_ref()) => {
                *seat = Some(Rc::clone(connection));
                if self.free().next().is_none() {
                    self.forget_rounds();
                }
            }
            Some(_) | None if is_first => {}
            Some(_) | None => connection.outbox.close(),
        }
    }

    /// A connection that is being dialled for a seat.
    pub(super) fn expect(&mut self, connection: &Rc<Connection<T>>) {
        connection.is_extra.set(true);
        self.arriving.push(Rc::clone(connection));
    }

    /// Whom to dial now. To be asked at each pulse.
    pub(super) fn handle_pulse(&mut self) -> Vec<Aim> {
        self.arriving.retain(|it| it.state.get() != State::Gone);
        let before = self.rest;
        self.rest = before.saturating_sub(1);
        match before == 0 && self.arriving.is_empty() && self.free().next().is_some() {
            true => self.round(),
            false => Vec::new(),
        }
    }

    /// The next pulse begins a round, as if none had failed.
    pub(super) const fn forget_rounds(&mut self) {
        (self.rounds, self.rest) = (0, 0);
    }

    /// The places of the seats that lead nowhere.
    fn free(&self) -> impl Iterator<Item = usize> {
        let free = |(at, seat): (usize, &Option<_>)| is_free(seat.as_ref()).then_some(at);
        self.seats.iter().enumerate().filter_map(free)
    }

    /// By turns through the shard-aware port and the usual one: behind a NAT only the other gets us
    /// further, and a port that was closed may be open again.
    fn round(&mut self) -> Vec<Aim> {
        let port = match self.is_tls {
            true => self.sharding.port_tls,
            false => self.sharding.port,
        };
        let port = port.filter(|_| self.rounds.is_multiple_of(2));
        self.rest = 1 << self.rounds.min(DOUBLINGS_MAX);
        self.rounds = self.rounds.saturating_add(1);
        let seats = NonZeroUsize::new(self.seats.len()).unwrap_or(NonZeroUsize::MIN);
        let aim = |seat| {
            let shard = self.sharding.shard_in(seat, seats, self.turn.get());
            Aim {
                peer: self.peer,
                door: port.map(|port| (port, shard)),
                sharding: self.sharding,
            }
        };
        self.free().map(aim).collect()
    }

    /// All connections that there are for shards, once each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Connection<T>>> {
        self.seated().chain(&self.arriving)
    }

    /// Those of which the node said where they lead.
    pub(super) fn seated(&self) -> impl Iterator<Item = &Rc<Connection<T>>> {
        self.seats.iter().flatten()
    }
}

impl<S: Sink> Cluster<S> {
    /// Asks a node of which we know nothing which shard this leads to, if it has any.
    pub(super) fn ask_who(&self, connection: &Connection<S::Ticket>) {
        if 1 < self.seats_max {
            // One that is too busy for it is asked when it is idle.
            let asked = self.ask_options(connection, Owner::Introduction);
            tracing::trace!(is_asked = asked.is_ok(), "has it shards");
        }
    }

    /// A node answered OPTIONS.
    pub(super) fn introduced(
        &self,
        host: &Rc<Host<S::Ticket>>,
        connection: &Held<S>,
        frame: &Frame<'_>,
    ) {
        if self.seats_max < 2 || !host.may_seat(connection) {
            return;
        }
        if frame.header.opcode != Opcode::Supported {
            return leave(connection);
        }
        let content = frame.content().ok();
        let said = content.and_then(|(_, content)| Sharding::read(content));
        let said = said.map(|it| it.of(connection.identity.get()));
        if said.is_some_and(|it| !it.is_signed()) {
            return self.ask_identity(connection);
        }
        let limits = (self.config.tls.is_some(), self.seats_max);
        if host.introduce(connection, said.as_ref(), limits) {
            self.has_shards.set(true);
            self.fill(host);
        }
    }

    /// Asks, once, for what older releases do not tell with their shards. Behind the address of a port
    /// that is mapped may be a node of another cluster, with as many of them.
    fn ask_identity(&self, connection: &Connection<S::Ticket>) {
        let body = |out: &mut Vec<u8>| Query::plain(IDENTITY).put(out, connection.version);
        let ask = || connection.send(Owner::Identity, &self.buffers, 0, Opcode::Query, body);
        if connection.is_identity_asked.get() || ask().is_err() {
            return leave(connection);
        }
        connection.is_identity_asked.set(true);
    }

    /// A node said who it is, and is asked again what it said before. Without that it counts as one that
    /// has no shards.
    pub(super) fn identified(&self, connection: &Connection<S::Ticket>, frame: &Frame<'_>) {
        connection.identity.set(identity(frame));
        match connection.identity.get() {
            Some(_) => self.ask_who(connection),
            None => leave(connection),
        }
    }

    /// Dials what leads to shards that no connection leads to.
    pub(super) fn fill(&self, host: &Rc<Host<S::Ticket>>) {
        if !self.is_listed(host) {
            return;
        }
        for (version, aim) in host.handle_pulse() {
            match self.dial(host, version, Purpose::Shard(aim)) {
                Ok(connection) => host.expect(&connection),
                Err(refused) => tracing::trace!(%refused, "shard not dialled"),
            }
        }
    }
}

/// Who cannot say where a connection leads keeps only the first one.
fn leave<T>(connection: &Connection<T>) {
    if connection.is_extra.get() {
        connection.outbox.close();
    }
}

/// The only cell of an answer to [`IDENTITY`].
fn identity(frame: &Frame<'_>) -> Option<u128> {
    if frame.header.opcode != Opcode::Result {
        return None;
    }
    let (_, content) = frame.content().ok()?;
    let row = Rows::parse(content).ok()?.iter().next()?;
    let id = row.first().copied().flatten()?;
    Some(u128::from_be_bytes(id.try_into().ok()?))
}

fn is_free<T: Copy>(seat: Option<&Rc<Connection<T>>>) -> bool {
    seat.is_none_or(|it| it.state.get() == State::Gone)
}

#[cfg(test)]
mod tests {
    use super::super::HostId;
    use super::super::inflight::STREAMS_MAX;
    use super::*;
    use crate::wire::Version;

    type Held = Rc<Connection<u32>>;

    fn said(shard: u16) -> Sharding {
        Sharding::told(shard, 4, [19_042, 19_142])
    }

    /// A node of four shards, the first connection leading to shard 2.
    fn seats(is_tls: bool) -> (Shards<u32>, Held) {
        let peer = "10.0.0.1:9042".parse().unwrap();
        let mut shards = Shards::new((said(2), peer), is_tls, 8).unwrap();
        let first = ready();
        shards.seat(&first, Some(&said(2)), true);
        (shards, first)
    }

    fn ready() -> Held {
        let connection = Connection::new(Version::V4, HostId(0), &Rc::default());
        connection.state.set(State::Ready);
        connection
    }

    /// One that was dialled for a seat, and whose node said this.
    fn arrive(shards: &mut Shards<u32>, said: Option<&Sharding>) -> Held {
        let connection = ready();
        shards.expect(&connection);
        shards.seat(&connection, said, false);
        connection
    }

    /// The middle of what belongs to this of four shards, with no bits ignored.
    fn token(shard: i64) -> Option<i64> {
        Some(((shard << 62) + (1 << 61)) ^ i64::MIN)
    }

    fn leads(shards: &Shards<u32>, token: Option<i64>, to: &Held) -> bool {
        shards.pick(token).is_some_and(|it| Rc::ptr_eq(&it, to))
    }

    #[test]
    fn a_token_takes_its_seat_or_the_next_that_has_room() {
        let (mut shards, first) = seats(false);
        assert!((0..4).all(|shard| leads(&shards, token(shard), &first)));
        let zero = arrive(&mut shards, Some(&said(0)));
        for (shard, to) in [(0, &zero), (1, &first), (2, &first), (3, &zero)] {
            assert!(leads(&shards, token(shard), to), "shard {shard}");
        }
        for number in 0..u32::try_from(STREAMS_MAX).unwrap() {
            let taken = zero.inflight.borrow_mut().take(Owner::Request(number));
            taken.unwrap();
        }
        assert!(leads(&shards, token(0), &first), "it is full");
        first.state.set(State::Gone);
        assert!(shards.pick(token(0)).is_none());
    }

    #[test]
    fn what_has_no_token_takes_all_seats_in_turn() {
        let (mut shards, first) = seats(false);
        let others = [0, 1, 3].map(|shard| arrive(&mut shards, Some(&said(shard))));
        let [zero, one, three] = &others;
        for to in [zero, one, &first, three, zero] {
            assert!(leads(&shards, None, to));
        }
    }

    #[test]
    fn only_what_leads_to_an_empty_seat_of_the_same_node_stays() {
        let (mut shards, first) = seats(false);
        let other_node = Sharding::told(3, 5, [0, 0]);
        for said in [Some(&said(2)), Some(&other_node), None] {
            assert!(arrive(&mut shards, said).outbox.is_closed());
        }
        // Answers to heartbeats: of one that has its seat, and of one that is for a keyspace.
        let bound = ready();
        shards.seat(&bound, Some(&said(3)), false);
        shards.seat(&first, Some(&said(2)), true);
        assert!(!bound.outbox.is_closed() && !first.outbox.is_closed());
        assert!(leads(&shards, token(3), &first), "shard 3 has nobody");

        first.state.set(State::Gone);
        let second = arrive(&mut shards, Some(&said(2)));
        assert!(leads(&shards, token(2), &second));
    }

    #[test]
    fn empty_seats_are_dialled_in_rounds_ever_further_apart_by_turns_through_both_ports() {
        let (mut shards, _first) = seats(false);
        let mut rounds = Vec::new();
        for pulse in 0..150 {
            let aims = shards.handle_pulse();
            if let Some(aim) = aims.first() {
                assert_eq!(aims.len(), 3);
                rounds.push((pulse, aim.door.is_some()));
            }
        }
        let at: Vec<_> = rounds.iter().map(|it| it.0).collect();
        assert_eq!(at, [0, 2, 5, 10, 19, 36, 69, 102, 135]);
        let aimed = rounds
            .iter()
            .enumerate()
            .all(|(at, it)| it.1 == (at % 2 == 0));
        assert!(aimed, "{rounds:?}");
    }

    #[test]
    fn a_round_waits_for_the_one_before_and_begins_at_once_for_a_seat_that_was_lost() {
        let (mut shards, _first) = seats(false);
        let aims = shards.handle_pulse();
        let doors: Vec<_> = aims.iter().filter_map(|it| it.door).collect();
        let port = NonZeroU16::new(19_042).unwrap();
        assert_eq!(doors, [(port, 0), (port, 1), (port, 3)]);
        let dialled = ready();
        shards.expect(&dialled);
        assert!((0..99).all(|_| shards.handle_pulse().is_empty()));
        dialled.state.set(State::Gone);
        assert_eq!(shards.handle_pulse().len(), 3);

        let [zero, ..] = [0, 1, 3].map(|shard| arrive(&mut shards, Some(&said(shard))));
        assert!(shards.handle_pulse().is_empty(), "all are taken");
        zero.state.set(State::Gone);
        let aims = shards.handle_pulse();
        assert_eq!(aims.len(), 1);
        assert_eq!(aims[0].door, Some((port, 0)), "as if nothing had failed");
    }

    #[test]
    fn with_tls_the_port_for_that_is_taken() {
        let (mut shards, _first) = seats(true);
        let door = shards.handle_pulse()[0].door.unwrap();
        assert_eq!(door.0.get(), 19_142);
    }

    #[test]
    fn one_seat_is_none() {
        let peer = "10.0.0.1:9042".parse().unwrap();
        assert!(Shards::<u32>::new((said(0), peer), false, 1).is_none());
        assert!(Shards::<u32>::new((said(0), peer), false, 0).is_none());
    }
}
