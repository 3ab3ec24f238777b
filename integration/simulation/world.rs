//! The world of one seed: virtual time, two clusters, a disk, clients, and a proxy that dies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use helix_proxy::pair::{Pair, Side, Sides};
use helix_proxy::policy::{Health, Policy, Report, State, Verdict, View};

use super::book::Book;
use super::cluster::{Cluster, Mutation};
use super::dice::Dice;
use super::faults::{Disk, Faults};
use super::live::Request;
use super::queue::{Kept, Queue, Record, Waiter};
use super::replay::Lane;
use super::settings::{Broken, DRAIN, END, MS, Micros, PROBE_TIMEOUT, SECOND, Settings};

/// Who hears an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ticket {
    Live(u64),
    Replay(u64),
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Answer(Ticket, Side, Verdict, Report),
    Apply(Side, Mutation, i64),
    Client(usize),
    /// A commit that started in this process ends.
    Committed(u32),
    Crash,
    Deadline(u64),
    /// A connection may be there now for what could not be sent.
    Dispatch(u64, Side),
    /// The worker waited long enough.
    GiveUp(Side, u64),
    /// A refused record is tried again.
    Persist(u64),
    Probed(u32, Side, bool),
    Pulse,
    Restart,
    Slow(u64),
    Step(i64),
    /// The worker looks for work.
    Work(Side),
}

/// Everything that a crash forgets.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) policy: Policy,
    pub(crate) health: Health,
    pub(crate) view: View,
    pub(crate) last: i64,
    pub(crate) requests: BTreeMap<u64, Request>,
    /// Refused records, by number.
    pub(crate) stubborn: BTreeMap<u64, Record>,
    pub(crate) lanes: Pair<Lane>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) settings: Settings,
    pub(crate) now: Micros,
    pub(crate) clusters: Pair<Cluster>,
    pub(crate) faults: Faults,
    pub(crate) queue: Queue,
    pub(crate) book: Book,
    pub(crate) proxy: Option<Proxy>,
    /// Who waits for an answer to which request.
    pub(crate) clients: Vec<Option<u64>>,
    /// The timestamp that the next process starts above.
    pub(crate) ceiling: i64,
    pub(crate) wall_step: i64,
    pub(crate) numbers: u64,
    epoch: Instant,
    generation: u32,
    events: BTreeMap<(Micros, u64), Event>,
    trace: Option<Vec<String>>,
    fault: Option<String>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) fault: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) writes: usize,
}

impl World {
    pub(crate) fn run(seed: u64, broken: Option<Broken>, traced: bool) -> Outcome {
        let mut world = Self::new(seed, broken, traced);
        world.schedule();
        while let Some(((at, _), event)) = world.events.pop_first() {
            if END + DRAIN < at || world.fault.is_some() || world.is_quiet() {
                break;
            }
            world.now = at;
            world.handle(event);
            world.after_each();
        }
        if world.fault.is_none() {
            world.check_end();
        }
        Outcome {
            fault: world.fault,
            trace: world.trace.unwrap_or_default(),
            writes: world.book.entries.len(),
        }
    }

    fn new(seed: u64, broken: Option<Broken>, traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Settings::roll(&mut dice, broken);
        let faults = Faults::roll(&mut dice, settings.flaky);
        let mut world = Self {
            clients: vec![None; settings.clients],
            dice,
            settings,
            now: 0,
            clusters: Pair::default(),
            faults,
            queue: Queue::default(),
            book: Book::default(),
            proxy: None,
            ceiling: 0,
            wall_step: 0,
            numbers: 0,
            epoch: Instant::now(),
            generation: 0,
            events: BTreeMap::new(),
            trace: traced.then(Vec::new),
            fault: None,
        };
        world.say(|world| format!("{:#?}\n{:#?}", world.settings, world.faults));
        world.start();
        world
    }

    fn schedule(&mut self) {
        for client in 0..self.clients.len() {
            let at = self.dice.below(SECOND);
            self.push(at, Event::Client(client));
        }
        for at in self.faults.crashes.clone() {
            self.push(at, Event::Crash);
        }
        for (at, by) in self.faults.steps.clone() {
            self.push(at, Event::Step(by));
        }
        self.push(0, Event::Pulse);
        for side in Side::ALL {
            self.push(0, Event::Work(side));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Answer(Ticket::Live(id), side, verdict, report) => {
                self.answered(id, side, verdict, report);
            }
            Event::Answer(Ticket::Replay(attempt), side, verdict, _) => {
                self.attempted(side, attempt, verdict);
            }
            Event::Apply(side, mutation, shift) => self.apply(side, mutation, shift),
            Event::Client(client) => self.request(client),
            Event::Committed(generation) if generation == self.generation => self.committed(),
            Event::Crash => self.crash(),
            Event::Deadline(id) => self.deadline(id),
            Event::Dispatch(id, side) => self.dispatch(id, side),
            Event::GiveUp(side, attempt) => self.attempted(side, attempt, Verdict::Maybe),
            Event::Persist(number) => self.persist(number),
            Event::Probed(generation, side, ok) if generation == self.generation => {
                self.probed(side, ok);
            }
            Event::Committed(_) | Event::Probed(..) => {}
            Event::Pulse => self.pulse(),
            Event::Restart => self.start(),
            Event::Slow(id) => self.slow(id),
            Event::Step(by) => {
                self.say(|_| format!("wall clock steps by {by} us"));
                self.wall_step += by;
            }
            Event::Work(side) => self.work(side),
        }
    }

    fn after_each(&mut self) {
        if self.queue.poll_commit() {
            let wait = match self.faults.disk(self.now) {
                Disk::Hanging => self.dice.between(MS, 2_500 * MS),
                Disk::Full | Disk::Good => self.dice.between(200, 3 * MS),
            };
            self.push(self.now + wait, Event::Committed(self.generation));
        }
    }

    fn start(&mut self) {
        let policy = Policy::new(self.settings.policy.clone(), Sides::BOTH);
        let health = Health::new(&self.settings.policy, Sides::BOTH, self.dice.roll());
        let last = if self.settings.breaks(Broken::ClockForgetsItsCeiling) {
            0
        } else {
            self.ceiling
        };
        let lanes = Pair::from_fn(|_side| Lane::new(self.dice.roll()));
        self.proxy = Some(Proxy {
            view: health.view(),
            policy,
            health,
            last,
            requests: BTreeMap::new(),
            stubborn: BTreeMap::new(),
            lanes,
        });
        self.say(|_| "proxy starts".to_owned());
    }

    fn crash(&mut self) {
        if self.proxy.take().is_none() {
            return;
        }
        self.generation += 1;
        let batch_survives = self.dice.chance(50);
        self.say(|_| format!("proxy is killed, batch survives: {batch_survives}"));
        let drops_live = self.settings.breaks(Broken::LiveDroppedAtRecovery);
        let committed = self.queue.crash(batch_survives, drops_live);
        self.park(&committed.parked);
        self.book.crash(&self.queue);
        self.check_acknowledged();
        let back = self.now + self.dice.between(50 * MS, 2 * SECOND);
        self.push(back.min(END), Event::Restart);
        for client in 0..self.clients.len() {
            if self.clients[client].take().is_some() {
                self.push(back + MS, Event::Client(client));
            }
        }
    }

    fn apply(&mut self, side: Side, mutation: Mutation, shift: i64) {
        self.clusters[side].apply(mutation, shift);
        self.say(|_| format!("{side} applies w{} +{shift}", mutation.id));
        let checked = self
            .book
            .check_applied(mutation, side, &self.clusters[side]);
        self.hold(checked);
    }

    fn committed(&mut self) {
        let ok = self.faults.disk(self.now) != Disk::Full;
        let committed = self.queue.handle_commit(ok);
        self.say(|_| format!("commit ok={ok}: {committed:?}"));
        self.park(&committed.parked);
        for (waiter, kept) in committed.receipts {
            match waiter {
                Waiter::Mark(side, seq) => self.marked(side, seq, kept),
                Waiter::Request(id) => self.kept(id, kept == Kept::Durable),
                Waiter::Stubborn(number) => self.persisted(number, kept == Kept::Durable),
            }
        }
        self.check_acknowledged();
    }

    fn park(&mut self, parked: &[(u32, Side)]) {
        for (id, side) in parked {
            let entry = self.book.entry(*id);
            entry.parked = entry.parked.with(*side);
        }
    }

    fn pulse(&mut self) {
        self.push(self.now + 50 * MS, Event::Pulse);
        if self.faults.disk(self.now) == Disk::Good && self.proxy.is_some() {
            self.queue.recovered();
            self.queue.reserve();
        }
        let now = self.instant();
        while let Some(side) = self
            .proxy
            .as_mut()
            .and_then(|proxy| proxy.health.poll_probe(now))
        {
            let ok = self.faults.answers_probe(side, self.now);
            let wait = if ok { 2 * MS } else { PROBE_TIMEOUT };
            self.push(self.now + wait, Event::Probed(self.generation, side, ok));
        }
    }

    fn probed(&mut self, side: Side, ok: bool) {
        let now = self.instant();
        if let Some(proxy) = &mut self.proxy {
            proxy.health.handle_probe(side, ok, now);
            self.say(|_| format!("probe of {side}: ok={ok}"));
            self.publish();
        }
    }

    /// Tells health what was seen, and everybody what health makes of it.
    pub(crate) fn report(&mut self, side: Side, report: Report) {
        let now = self.instant();
        if let Some(proxy) = &mut self.proxy {
            proxy.health.handle_report(side, report, now);
            self.publish();
        }
    }

    fn publish(&mut self) {
        let Some(proxy) = &mut self.proxy else { return };
        let before = std::mem::replace(&mut proxy.view, proxy.health.view());
        let after = proxy.view;
        if after.out == Sides::BOTH {
            self.fail("S17: both sides are out".to_owned());
        }
        if before.out != after.out {
            self.say(|_| format!("out: {:?}", after.out));
        }
        for side in after.out.minus(before.out).iter() {
            self.opened(side);
        }
    }

    pub(crate) fn check_acknowledged(&mut self) {
        let checked = self.book.check_acknowledged(&self.clusters, &self.queue);
        self.hold(checked);
    }

    /// Only the two lanes and the pulse go on, and they find nothing to do.
    fn is_quiet(&self) -> bool {
        END < self.now && self.events.len() < 3 && self.unrest().is_none()
    }

    fn check_end(&mut self) {
        let checked = self.book.check_end(&self.clusters);
        self.hold(checked);
        if let Some(why) = self.unrest() {
            self.fail(why);
        }
    }

    /// What is still open although all faults are over.
    fn unrest(&self) -> Option<String> {
        let Some(proxy) = &self.proxy else {
            return Some("I11: the proxy did not come back".to_owned());
        };
        let health = &proxy.health;
        if let Some(side) = Side::ALL
            .into_iter()
            .find(|side| health.state(*side) != State::Closed)
        {
            return Some(format!("I11: the breaker of {side} did not close"));
        }
        if let Some(request) = proxy.requests.values().next() {
            return Some(format!("I13: never answered: {request:?}"));
        }
        let left = self.queue.stored();
        let is_drained = left.is_empty() && self.queue.is_settled() && proxy.stubborn.is_empty();
        (!is_drained).then(|| format!("I11: the queue did not drain: {left:?}"))
    }

    /// Virtual time as the machines want it.
    pub(crate) fn instant(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn push(&mut self, at: Micros, event: Event) {
        let number = self.number();
        self.events.insert((at, number), event);
    }

    /// A line for whoever replays the seed.
    pub(crate) fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>10.3} ms  {}", self.millis(), line(self));
            self.trace.get_or_insert_default().push(line);
        }
    }

    pub(crate) fn fail(&mut self, why: String) {
        self.say(|_| format!("FAULT {why}"));
        self.fault.get_or_insert(why);
    }

    pub(crate) fn hold(&mut self, checked: Result<(), String>) {
        if let Err(why) = checked {
            self.fail(why);
        }
    }

    fn millis(&self) -> f64 {
        Duration::from_micros(self.now).as_secs_f64() * 1_000.0
    }
}
