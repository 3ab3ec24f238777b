//! The loop: one lane a connection, one slot a request in flight.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::Kind;
use super::setup::Request;
use crate::Fault;
use crate::coding::Coding;
use crate::link::{Link, SCRATCH};
use crate::wire::{Cursor, Header, kind, opcode};

/// How long answers may be missing after the last request.
const GRACE: Duration = Duration::from_secs(5);

/// Keys are spread over this many partitions.
const KEYS: u64 = 1_000_000;

/// What one run counted.
pub(super) struct Tally {
    pub(super) answers: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) elapsed: Duration,
    /// In nanoseconds.
    pub(super) latency: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self, Fault> {
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self {
            answers: 0,
            errors: 0,
            first_error: None,
            elapsed: Duration::ZERO,
            latency,
        })
    }

    fn fail(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }
}

/// Makes the requests, one after the other.
struct Source {
    requests: Vec<Request>,
    made: u64,
}

impl Source {
    fn put(&mut self, out: &mut Vec<u8>, slot: u16) {
        let count = self.requests.len() as u64;
        let index = if count == 1 {
            0
        } else {
            usize::try_from(self.made % count).unwrap_or(0)
        };
        let request = &self.requests[index];
        let at = out.len();
        out.extend_from_slice(&request.frame);
        out[at + 2..at + 4].copy_from_slice(&slot.to_be_bytes());
        // A multiplicative step visits the keys in no simple order.
        let mut number = self.made.wrapping_mul(7_368_787) % KEYS;
        let key = at + request.key;
        for digit in out[key + 10..key + 16].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
        self.made += 1;
    }
}

struct Lane {
    link: Link,
    /// When the request of each stream id was sent, or due.
    slots: Vec<Option<Instant>>,
    free: Vec<u16>,
    /// Due, but without a free slot.
    backlog: VecDeque<Instant>,
    writing: bool,
    alive: bool,
}

/// All connections and what they are to send.
pub(super) struct Lanes {
    epoll: OwnedFd,
    lanes: Vec<Lane>,
    kind: Kind,
    source: Source,
    scratch: Vec<u8>,
    in_flight: usize,
    closed_loop: bool,
    stopping: bool,
}

impl Lanes {
    pub(super) fn new(
        sockets: Vec<TcpStream>,
        coding: Coding,
        in_flight: u16,
        kind: Kind,
        requests: Vec<Request>,
    ) -> Result<Self, Fault> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lanes = Vec::with_capacity(sockets.len());
        for (id, socket) in sockets.into_iter().enumerate() {
            let mut link = Link::new(socket)?;
            link.change(coding);
            epoll::add(
                &epoll,
                &link.socket,
                EventData::new_u64(id as u64),
                EventFlags::IN,
            )?;
            lanes.push(Lane {
                link,
                slots: vec![None; usize::from(in_flight)],
                free: (0..in_flight).rev().collect(),
                backlog: VecDeque::new(),
                writing: false,
                alive: true,
            });
        }
        Ok(Self {
            epoll,
            lanes,
            kind,
            source: Source { requests, made: 0 },
            scratch: vec![0; SCRATCH],
            in_flight: 0,
            closed_loop: true,
            stopping: false,
        })
    }

    /// Sends for `window` and until `least` are made, then waits for what is still in flight.
    pub(super) fn run(
        &mut self,
        window: Duration,
        rate: Option<f64>,
        least: u64,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::new()?;
        let start = Instant::now();
        let until = start + window;
        self.stopping = false;
        self.closed_loop = rate.is_none();
        let mut due = rate.map(|rate| Due {
            start,
            rate,
            index: 0,
        });
        if due.is_none() {
            self.fill(start, &mut tally);
        }
        let mut now = start;
        while now < until || self.source.made < least {
            let wait = match &mut due {
                Some(due) => self.release(due, now, until, &mut tally),
                None => Duration::from_millis(50),
            };
            self.turn(wait, &mut tally)?;
            if self.lanes.iter().all(|lane| !lane.alive) {
                break;
            }
            now = Instant::now();
        }
        self.stopping = true;
        self.settle(&mut tally)?;
        tally.elapsed = start.elapsed();
        Ok(tally)
    }

    /// Waits for the answers that are still to come; what does not come is an error.
    fn settle(&mut self, tally: &mut Tally) -> Result<(), Fault> {
        let limit = Instant::now() + GRACE;
        while 0 < self.in_flight && Instant::now() < limit {
            self.turn(Duration::from_millis(50), tally)?;
        }
        for _ in 0..self.in_flight {
            tally.fail("no answer".to_owned());
        }
        Ok(())
    }

    /// Puts a request into every slot.
    fn fill(&mut self, now: Instant, tally: &mut Tally) {
        for at in 0..self.lanes.len() {
            while let Some(slot) = self.lanes[at].free.pop() {
                self.send(at, slot, now);
            }
            self.push(at, tally);
        }
    }

    /// Sends what is due at `now`; returns the time until the next is.
    fn release(
        &mut self,
        due: &mut Due,
        now: Instant,
        until: Instant,
        tally: &mut Tally,
    ) -> Duration {
        let lanes = self.lanes.len();
        let mut touched = 0;
        while due.next() <= now && due.next() < until {
            let at = due.index % lanes;
            let intended = due.next();
            match self.lanes[at].free.pop() {
                Some(slot) => self.send(at, slot, intended),
                None => self.lanes[at].backlog.push_back(intended),
            }
            due.index += 1;
            touched += 1;
        }
        for back in 1..=touched.min(lanes) {
            self.push((due.index - back) % lanes, tally);
        }
        due.next().min(until).saturating_duration_since(now)
    }

    fn send(&mut self, at: usize, slot: u16, since: Instant) {
        let lane = &mut self.lanes[at];
        lane.slots[usize::from(slot)] = Some(since);
        self.source.put(&mut lane.link.out, slot);
        self.in_flight += 1;
    }

    fn turn(&mut self, wait: Duration, tally: &mut Tally) -> Result<(), Fault> {
        let mut events = Vec::with_capacity(self.lanes.len());
        let timeout = wait.try_into()?;
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            let at = usize::try_from(event.data.u64())?;
            let flags = event.flags;
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.receive(at, tally);
            }
            self.push(at, tally);
        }
        Ok(())
    }

    fn receive(&mut self, at: usize, tally: &mut Tally) {
        let Self {
            lanes,
            scratch,
            source,
            kind,
            in_flight,
            closed_loop,
            stopping,
            ..
        } = self;
        let Lane {
            link,
            slots,
            free,
            backlog,
            ..
        } = &mut lanes[at];
        let now = Instant::now();
        let read = link.read(scratch, |header, body, out| {
            let slot = header.slot();
            let Some(since) = slots.get_mut(slot).and_then(Option::take) else {
                return tally.fail(format!("answer on stream {slot}, which asked nothing"));
            };
            *in_flight -= 1;
            tally.answers += 1;
            let nanos = now.saturating_duration_since(since).as_nanos();
            tally
                .latency
                .saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX).max(1));
            if let Err(why) = check(*kind, header, body) {
                tally.fail(why);
            }
            let next = if *closed_loop && !*stopping {
                Some(now)
            } else {
                backlog.pop_front()
            };
            let [high, low] = header.stream;
            let slot_id = u16::from_be_bytes([high, low]);
            let Some(since) = next else {
                return free.push(slot_id);
            };
            slots[slot] = Some(since);
            source.put(out, slot_id);
            *in_flight += 1;
        });
        if let Err(error) = read {
            self.lose(at, &error.to_string(), tally);
        }
    }

    fn push(&mut self, at: usize, tally: &mut Tally) {
        let lane = &mut self.lanes[at];
        if !lane.alive {
            return;
        }
        let empty = match lane.link.flush() {
            Ok(empty) => empty,
            Err(error) => return self.lose(at, &error.to_string(), tally),
        };
        if empty == lane.writing {
            lane.writing = !empty;
            let wanted = if empty {
                EventFlags::IN
            } else {
                EventFlags::IN | EventFlags::OUT
            };
            let id = EventData::new_u64(at as u64);
            if let Err(error) = epoll::modify(&self.epoll, &lane.link.socket, id, wanted) {
                self.lose(at, &error.to_string(), tally);
            }
        }
    }

    /// Gives a connection up; all that it had in flight are errors.
    fn lose(&mut self, at: usize, why: &str, tally: &mut Tally) {
        let lane = &mut self.lanes[at];
        lane.alive = false;
        if let Err(error) = epoll::delete(&self.epoll, &lane.link.socket) {
            tally.fail(error.to_string());
        }
        tally.fail(format!("connection lost: {why}"));
        for slot in &mut lane.slots {
            if slot.take().is_some() {
                self.in_flight -= 1;
                tally.fail(format!("connection lost: {why}"));
            }
        }
        lane.free.clear();
        lane.backlog.clear();
    }
}

/// The times at which requests of an open loop are due.
struct Due {
    start: Instant,
    rate: f64,
    index: usize,
}

impl Due {
    fn next(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.index as f64 / self.rate)
    }
}

/// Whether an answer is what the request asked for.
fn check(asked: Kind, header: Header, body: &[u8]) -> Result<(), String> {
    let mut cursor = Cursor(body);
    let first = cursor.int();
    if header.version & 0x80 == 0 {
        return Err(format!("answer of version {:#x}", header.version));
    }
    if header.opcode == opcode::ERROR {
        let text = String::from_utf8_lossy(cursor.short_bytes().unwrap_or_default()).into_owned();
        return Err(format!("error {:#06x}: {text}", first.unwrap_or(0)));
    }
    let wanted = match asked {
        Kind::Read => kind::ROWS,
        Kind::Write => kind::VOID,
    };
    // A row of 100 bytes, the last thing in the body.
    let whole = asked == Kind::Write || body.ends_with(&[b'v'; 100]);
    if header.opcode == opcode::RESULT && first == Some(wanted) && whole {
        return Ok(());
    }
    Err(format!(
        "opcode {} with result {first:?} of {} bytes",
        header.opcode,
        body.len()
    ))
}
