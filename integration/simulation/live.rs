//! The live path: a shell around `flow`, as thin as the real one, and clients.

use helix_proxy::dispatch::flow::{Action, Actions, Input, Read, Reply, Rules, Write};
use helix_proxy::pair::{Side, Sides};
use helix_proxy::policy::{Ack, Journal, OnQueueFailure, Report, State, Verdict};

use super::book::{Crash, Entry, Heard};
use super::cluster::{Id, Kind, Mutation};
use super::faults::Mode;
use super::queue::{Change, Record, Waiter};
use super::settings::{
    Broken, END, FAILOVER_AFTER, KEEP_ALLOWANCE, MS, Micros, READ_DEADLINE, SECOND, WRITE_DEADLINE,
};
use super::world::{Event, Proxy, Ticket, World};

#[derive(Debug)]
enum Job {
    Read(Read),
    Write(Write, Id),
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct Request {
    client: usize,
    started: Micros,
    job: Job,
    /// Sides whose message is still in our own hands.
    unsent: Sides,
    /// Sides that a write is to be sent to; of them, those that it was sent to, or that are out since.
    plan: Sides,
    attempted: Sides,
    was_sent: bool,
    is_extended: bool,
    replied: bool,
    seq: u64,
}

impl Request {
    fn waiting(&self) -> Sides {
        match &self.job {
            Job::Read(read) => read.waiting(),
            Job::Write(write, _) => write.waiting(),
        }
    }

    fn is_over(&self) -> bool {
        match &self.job {
            Job::Read(read) => read.is_over(),
            Job::Write(write, _) => write.is_over(),
        }
    }

    fn is_forbidden(&self) -> bool {
        matches!(&self.job, Job::Write(write, _) if write.is_forbidden())
    }

    fn is_keeping(&self) -> bool {
        matches!(&self.job, Job::Write(write, _) if write.is_keeping())
    }
}

impl Proxy {
    /// Whether this side owes what the queue has refused, or said nothing of yet.
    fn remembers_debt(&self, side: Side) -> bool {
        let unvouched = |request: &Request| match &request.job {
            Job::Read(_) => false,
            Job::Write(write, _) => write.unvouched().contains(side),
        };
        let refused = |record: &Record| record.owes.contains(side);
        self.stubborn.values().any(refused) || self.requests.values().any(unvouched)
    }
}

impl World {
    /// A client asks for something.
    pub(crate) fn request(&mut self, client: usize) {
        if END <= self.now {
            return;
        }
        if self.proxy.is_none() {
            return self.push(self.now + 100 * MS, Event::Client(client));
        }
        let id = self.number();
        self.clients[client] = Some(id);
        if self.dice.chance(30) {
            self.read(client, id);
        } else {
            self.write(client, id);
        }
    }

    fn read(&mut self, client: usize, id: u64) {
        let Some(proxy) = &self.proxy else { return };
        let ignores = self.settings.breaks(Broken::ReadsIgnoreTheQueue);
        let behind = |side| !ignores && self.is_behind(proxy, side);
        let mut plan = proxy.policy.read(proxy.view, behind);
        self.check_fresh(plan.first);
        if self.dice.chance(20) {
            plan.then = None;
        }
        self.say(|_| format!("c{client} reads {:?} then {:?}", plan.first, plan.then));
        let (read, actions) = Read::new(plan);
        self.insert(client, id, Job::Read(read), Sides::NONE, &actions);
        self.push(self.now + FAILOVER_AFTER, Event::Slow(id));
        self.push(self.now + READ_DEADLINE, Event::Deadline(id));
    }

    /// As the proxy knows it: by the queue, or since the record is only in its memory.
    fn is_behind(&self, proxy: &Proxy, side: Side) -> bool {
        let forgets = self.settings.breaks(Broken::ReadsIgnoreMemory);
        self.queue.is_behind(side) || !forgets && proxy.remembers_debt(side)
    }

    /// I12 by what is true, not by what the queue says: while all is settled and both sides are up,
    /// a read does not start on a side that lacks an acknowledged write if the other lacks none.
    fn check_fresh(&mut self, first: Side) {
        let Some(proxy) = &self.proxy else { return };
        let is_sure = self.queue.is_settled() && proxy.view.out.is_empty();
        if !is_sure || !self.settings.policy.reads.prefer_fresh {
            return;
        }
        let lacks = |side: Side| {
            let known = |id: &Id| {
                let entry = self.book.look(*id);
                !entry.is_excused() && !entry.parked.contains(side)
            };
            let missing = |id: &&Id| !self.clusters[side].has(**id);
            self.book
                .unsettled
                .iter()
                .filter(missing)
                .find(|id| known(id))
        };
        if let (Some(id), None) = (lacks(first), lacks(!first))
            && !self.queue.is_behind(!first)
            && !proxy.remembers_debt(!first)
        {
            let why = format!("I12: a read goes to {first}, which lacks w{id}");
            self.fail(why);
        }
    }

    fn write(&mut self, client: usize, id: u64) {
        let mutation = self.mutation();
        let known = self.dice.chance(60);
        let Some(proxy) = &self.proxy else { return };
        let plan = proxy.policy.write(proxy.view);
        let writes = &proxy.policy.config().writes;
        let healthy = Side::ALL
            .into_iter()
            .all(|side| proxy.health.state(side) == State::Closed);
        let rules = Rules {
            ack: writes.ack,
            on_queue_failure: writes.on_queue_failure,
            repeatable: mutation.is_repeatable(),
            recorded: true,
            allowed: !self.settings.passthrough || !mutation.stolen && known,
        };
        let journalled = match writes.journal {
            Journal::Always => true,
            Journal::Degraded => !healthy,
            Journal::Off => false,
        };
        self.book.entries.push(Entry {
            mutation,
            journalled,
            heard: None,
            in_flight: true,
            stubborn: false,
            crash: Crash::None,
            parked: Sides::NONE,
        });
        self.say(|_| format!("c{client} writes {mutation:?} by {plan:?}"));
        let (write, actions) = Write::new(plan, rules, self.queue.accepts());
        if plan.first.is_some() && !self.settings.breaks(Broken::SecondWaitsForTheFirst) {
            self.push(self.now + WRITE_DEADLINE / 2, Event::Slow(id));
        }
        self.insert(
            client,
            id,
            Job::Write(write, mutation.id),
            plan.send,
            &actions,
        );
        self.push(self.now + WRITE_DEADLINE, Event::Deadline(id));
    }

    fn mutation(&mut self) -> Mutation {
        let kind = match self.dice.below(10) {
            0 => Kind::List(self.dice.pick(&[0, 1])),
            1 => Kind::Count,
            2 | 3 => Kind::Delete(self.dice.pick(&[0, 1, 2, 3])),
            _ => Kind::Put(self.dice.pick(&[0, 1, 2, 3])),
        };
        let by_client = matches!(kind, Kind::Put(_) | Kind::Delete(_)) && self.dice.chance(10);
        let at = if by_client {
            self.wall() - 500 + i64::try_from(self.dice.below(1_000)).expect("small")
        } else {
            self.timestamp()
        };
        Mutation {
            id: self.book.next_id(),
            kind,
            at,
            invalid: self.dice.chance(2),
            stolen: self.settings.passthrough && self.dice.chance(15),
        }
    }

    fn wall(&self) -> i64 {
        1_000_000_000 + i64::try_from(self.now).expect("small") + self.wall_step
    }

    /// The proxy's clock (S25): a reserved ceiling is on disk before it is needed.
    fn timestamp(&mut self) -> i64 {
        let wall = self.wall();
        let Some(proxy) = &mut self.proxy else {
            return wall;
        };
        proxy.last = wall.max(proxy.last + 2);
        let at = proxy.last;
        if self.ceiling <= at {
            self.ceiling = at + 1_000_000;
        }
        let checked = self.book.issued(at);
        self.hold(checked);
        at
    }

    fn insert(&mut self, client: usize, id: u64, job: Job, plan: Sides, actions: &Actions) {
        let request = Request {
            client,
            started: self.now,
            job,
            unsent: Sides::NONE,
            plan,
            attempted: Sides::NONE,
            was_sent: false,
            is_extended: false,
            replied: false,
            seq: 0,
        };
        if let Some(proxy) = &mut self.proxy {
            proxy.requests.insert(id, request);
        }
        self.obey(id, actions);
    }

    fn look(&mut self, id: u64) -> Option<&mut Request> {
        self.proxy.as_mut()?.requests.get_mut(&id)
    }

    fn feed(&mut self, id: u64, input: Input) {
        let Some(request) = self.look(id) else { return };
        let actions = match &mut request.job {
            Job::Read(read) => read.handle(input),
            Job::Write(write, _) => write.handle(input),
        };
        self.say(|_| format!("r{id} {input:?}"));
        self.note_unvouched(id);
        self.obey(id, &actions);
    }

    fn obey(&mut self, id: u64, actions: &Actions) {
        for action in actions.iter() {
            self.say(|_| format!("r{id}   -> {action:?}"));
            match action {
                Action::Keep { owes, live, sent } => self.keep(id, owes, live, sent),
                Action::KeepTrying { owes, sent } => self.keep_trying(id, owes, sent),
                Action::Landed(side) => self.tell(id, |seq| Change::Landed(seq, side)),
                Action::Missed(side, sent) => {
                    self.tell(id, |seq| Change::Missed(seq, side, sent));
                }
                Action::Void => self.tell(id, Change::Void),
                Action::Reply(reply) => self.reply(id, reply),
                Action::Send(side) => self.send(id, side),
            }
        }
        if self.look(id).is_some_and(|request| request.is_over())
            && let Some(proxy) = &mut self.proxy
            && let Some(request) = proxy.requests.remove(&id)
            && let Job::Write(_, write) = request.job
        {
            self.book.entry(write).in_flight = false;
        }
    }

    fn write_of(&mut self, id: u64) -> Option<Mutation> {
        let Job::Write(_, write) = self.look(id)?.job else {
            return None;
        };
        Some(self.book.look(write).mutation)
    }

    fn tell(&mut self, id: u64, change: impl FnOnce(u64) -> Change) {
        if let Some(seq) = self.look(id).map(|request| request.seq) {
            self.queue.submit(change(seq));
        }
    }

    fn keep(&mut self, id: u64, owes: Sides, live: Sides, sent: Sides) {
        let (seq, Some(mutation)) = (self.queue.next_seq(), self.write_of(id)) else {
            return;
        };
        let vouches = self.settings.breaks(Broken::JournalVouchesForAll);
        let Some(request) = self.look(id) else { return };
        // One that is to take another's place is told nothing more.
        if request.seq == 0 {
            request.seq = seq;
        }
        let forbidden = request.is_forbidden() && !vouches;
        let one_side = self.settings.breaks(Broken::RecordedForOneSide) && owes == Sides::BOTH;
        let record = Record {
            mutation,
            owes: if one_side { Sides::only(Side::A) } else { owes },
            live,
            sent,
            forbidden,
        };
        let waiter = Waiter::Request(id);
        self.queue.submit(Change::Keep {
            seq,
            record,
            waiter,
        });
        if self.settings.breaks(Broken::AnswersBeforeDurable) {
            self.feed(id, Input::Kept(true));
        }
    }

    fn keep_trying(&mut self, id: u64, owes: Sides, sent: Sides) {
        let (number, Some(mutation)) = (self.number(), self.write_of(id)) else {
            return;
        };
        if self.settings.breaks(Broken::RefusedRecordsForgotten) {
            return;
        }
        self.book.entry(mutation.id).stubborn = true;
        let forbidden = self.look(id).is_some_and(|request| request.is_forbidden());
        if let Some(proxy) = &mut self.proxy {
            let record = Record {
                mutation,
                owes,
                live: Sides::NONE,
                sent,
                forbidden,
            };
            proxy.stubborn.insert(number, record);
        }
        self.push(self.now + 100 * MS, Event::Persist(number));
    }

    /// A refused record is handed over once more.
    pub(crate) fn persist(&mut self, number: u64) {
        let Some(proxy) = &self.proxy else { return };
        let Some(record) = proxy.stubborn.get(&number).copied() else {
            return;
        };
        let (seq, waiter) = (self.queue.next_seq(), Waiter::Stubborn(number));
        self.queue.submit(Change::Keep {
            seq,
            record,
            waiter,
        });
    }

    /// What came of it.
    pub(crate) fn persisted(&mut self, number: u64, ok: bool) {
        if !ok {
            return self.push(self.now + 200 * MS, Event::Persist(number));
        }
        let Some(proxy) = &mut self.proxy else { return };
        if let Some(record) = proxy.stubborn.remove(&number) {
            self.book.entry(record.mutation.id).stubborn = false;
        }
    }

    /// The queue took a request's record, or refused it.
    pub(crate) fn kept(&mut self, id: u64, ok: bool) {
        let ack_anyway = self.settings.policy.writes.on_queue_failure == OnQueueFailure::AckAnyway;
        if let Some(mutation) = self.write_of(id)
            && !ok
            && ack_anyway
        {
            self.book.entry(mutation.id).journalled = false;
        }
        if let Some(mutation) = self.write_of(id) {
            self.book.entry(mutation.id).stubborn = false;
        }
        self.feed(id, Input::Kept(ok));
    }

    /// The client gets its answer, and the disk has not said anything of the record.
    fn note_unvouched(&mut self, id: u64) {
        let hangs = self.look(id).is_some_and(|request| match &request.job {
            Job::Read(_) => false,
            Job::Write(write, _) => write.is_hanging(),
        });
        if let Some(mutation) = self.write_of(id)
            && hangs
        {
            self.book.entry(mutation.id).stubborn = true;
        }
    }

    fn send(&mut self, id: u64, side: Side) {
        let mutation = self.write_of(id);
        let is_out = |proxy: &Proxy| proxy.view.out.contains(side);
        if self.proxy.as_ref().is_some_and(is_out) {
            self.fail(format!("S18: r{id} is sent to {side}, which is out"));
        }
        let invalid = mutation.is_some_and(|mutation| mutation.invalid || mutation.stolen);
        let fate = self.faults.fate(&mut self.dice, side, self.now, invalid);
        let Some(request) = self.look(id) else { return };
        request.was_sent = true;
        request.attempted = request.attempted.with(side);
        request.unsent = if fate.held_until.is_some() {
            request.unsent.with(side)
        } else {
            request.unsent.without(side)
        };
        if let Some(at) = fate.held_until {
            self.push(at + 5 * MS, Event::Dispatch(id, side));
        }
        if let (Some(at), Some(mutation)) = (fate.applied_at, mutation) {
            self.push(at, Event::Apply(side, mutation, 0));
        }
        if let Some((at, verdict, report)) = fate.answer {
            self.push(at, Event::Answer(Ticket::Live(id), side, verdict, report));
        }
    }

    /// What could not be sent is sent, if anybody still waits for it.
    pub(crate) fn dispatch(&mut self, id: u64, side: Side) {
        let held = |request: &mut Request| {
            request.unsent.contains(side) && request.waiting().contains(side)
        };
        if self.look(id).is_some_and(held) {
            self.send(id, side);
        }
    }

    pub(crate) fn answered(&mut self, id: u64, side: Side, verdict: Verdict, report: Report) {
        // An answer that nobody waits for any more says nothing of the side.
        if self.look(id).is_none() {
            return;
        }
        self.report(side, report);
        let blind = self.settings.breaks(Broken::MaybeCountsAsNotApplied);
        let verdict = match verdict {
            Verdict::Maybe if blind => Verdict::NotApplied,
            Verdict::Definite | Verdict::Maybe | Verdict::NotApplied | Verdict::Ok => verdict,
        };
        // Half of the refusals are of what the role may do.
        if verdict == Verdict::Definite
            && self.settings.passthrough
            && self.dice.chance(50)
            && let Some(Request {
                job: Job::Write(write, _),
                ..
            }) = self.look(id)
        {
            write.forbid();
        }
        self.feed(id, Input::Answered(side, verdict));
    }

    pub(crate) fn slow(&mut self, id: u64) {
        self.feed(id, Input::Slow);
    }

    /// A request's time is up. A record that is on its way gets a little longer.
    pub(crate) fn deadline(&mut self, id: u64) {
        let Some(request) = self.look(id) else { return };
        let (waiting, silent) = (request.waiting(), request.unsent);
        let mut later = request.is_keeping() && request.was_sent && !request.is_extended;
        if !later {
            let blind = self.settings.breaks(Broken::MaybeCountsAsNotApplied);
            let unsent = if blind { Sides::BOTH } else { silent };
            self.feed(id, Input::Deadline { unsent });
            for side in waiting.minus(silent).iter() {
                let report = match self.faults.mode(side, self.now).0 {
                    Mode::Slow => Report::Sick(id % 3),
                    Mode::BlackHole | Mode::Down | Mode::Overloaded | Mode::Up => Report::Strike,
                };
                self.report(side, report);
            }
            let Some(request) = self.look(id) else { return };
            later = !request.replied && !request.is_extended;
        }
        if let Some(request) = self.look(id)
            && later
        {
            request.is_extended = true;
            self.push(self.now + KEEP_ALLOWANCE, Event::Deadline(id));
        }
    }

    /// A breaker opened: waiting for that side is over, and so is sending to it later (S18).
    pub(crate) fn opened(&mut self, side: Side) {
        let Some(proxy) = &self.proxy else { return };
        let all = proxy.requests.iter();
        let ids: Vec<_> = all
            .map(|(id, request)| (*id, request.unsent.contains(side)))
            .collect();
        let skips = self.settings.breaks(Broken::OpeningSkipsWhatIsToCome);
        for (id, unsent) in ids {
            let waits = |request: &mut Request| request.waiting().contains(side);
            if skips && !self.look(id).is_some_and(waits) {
                continue;
            }
            if let Some(request) = self.look(id) {
                request.attempted = request.attempted.with(side);
            }
            self.feed(id, Input::Out { side, unsent });
        }
    }

    fn reply(&mut self, id: u64, reply: Reply) {
        let now = self.now;
        let Some(request) = self.look(id) else { return };
        let (client, took) = (request.client, now - request.started);
        let twice = std::mem::replace(&mut request.replied, true);
        let limit = match request.job {
            Job::Read(_) => READ_DEADLINE,
            Job::Write(..) => WRITE_DEADLINE + KEEP_ALLOWANCE,
        };
        let heard = match &request.job {
            Job::Read(_) => None,
            Job::Write(write, entry) => Some((*entry, heard(write, reply))),
        };
        let left_out = match request.was_sent {
            true => request.plan.minus(request.attempted),
            false => Sides::NONE,
        };
        if !left_out.is_empty() {
            self.fail(format!("D4: r{id} is answered, not sent to {left_out:?}"));
        }
        if twice || self.clients[client] != Some(id) {
            self.fail(format!("I13: r{id} is answered twice"));
        }
        if limit < took {
            self.fail(format!("P5: r{id} is answered after {took} us"));
        }
        self.clients[client] = None;
        if let Some((entry, heard)) = heard {
            self.told(entry, heard);
        }
        let think = self.dice.below(400 * MS);
        let pause = if self.dice.chance(5) { SECOND } else { think };
        self.push(now + pause, Event::Client(client));
    }

    /// Writes down what the client heard of its write, and checks that it is so.
    fn told(&mut self, id: Id, heard: Heard) {
        let entry = self.book.entry(id);
        entry.heard = Some(heard);
        match heard {
            Heard::Acked => {
                let all = self.settings.policy.writes.ack == Ack::All;
                let checked = self.book.check_success(id, all, &self.clusters);
                self.hold(checked);
                self.book.unsettled.push(id);
                self.check_acknowledged();
            }
            Heard::Ambiguous => {}
            Heard::NotApplied => {
                if let Some(side) = Side::ALL
                    .into_iter()
                    .find(|side| self.clusters[*side].has(id))
                {
                    self.fail(format!(
                        "S15: w{id} is on {side}, its client heard it is not"
                    ));
                }
            }
        }
    }
}

fn heard(write: &Write, reply: Reply) -> Heard {
    match reply {
        Reply::Of(side) if write.has(side) => Heard::Acked,
        Reply::Of(_) | Reply::QueueRefused | Reply::Unsent => Heard::NotApplied,
        Reply::Ambiguous => Heard::Ambiguous,
    }
}
