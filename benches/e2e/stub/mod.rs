//! A CQL cluster of one node that answers at once, so that what stands before it is measured.
//!
//! One epoll loop in one thread: a read per wake-up and connection into a shared buffer, all its
//! answers in one write. Protocol v3 to v5, with the compressions that there are.

mod answers;
mod prepared;
mod rows;
mod schema;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::Fault;
use crate::coding::Coding;
use crate::idle::raise_file_limit;
use crate::link::{Link, SCRATCH};
use crate::wire::{Cursor, Header, opcode};
use answers::Answers;

const LISTENER: u64 = u64::MAX;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// How long every answer is held back, like 5ms.
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Hang up on every connection as soon as it is accepted.
    #[arg(long)]
    refuse: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    raise_file_limit()?;
    let mut stub = Stub::new(options)?;
    let mut events = Vec::with_capacity(1024);
    loop {
        let timeout = stub.timeout();
        epoll::wait(
            &stub.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        )
        .or_else(|error| {
            if error == rustix::io::Errno::INTR {
                Ok(0)
            } else {
                Err(error)
            }
        })?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => stub.accept()?,
                id => stub.serve(id, event.flags),
            }
        }
        stub.release(Instant::now());
    }
}

struct Stub {
    listener: TcpListener,
    epoll: OwnedFd,
    /// Indexed by connection number; numbers are never used twice.
    links: Vec<Option<Link>>,
    answers: Answers,
    scratch: Vec<u8>,
    refuse: bool,
    delay: Duration,
    /// Answers that are held back, oldest first.
    late: VecDeque<(Instant, u64, Vec<u8>)>,
}

impl Stub {
    fn new(options: &Options) -> Result<Self, Fault> {
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            listener,
            epoll,
            links: Vec::new(),
            answers: Answers::new(options.listen),
            scratch: vec![0; SCRATCH],
            refuse: options.refuse,
            delay: options.delay,
            late: VecDeque::new(),
        })
    }

    fn accept(&mut self) -> Result<(), Fault> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            if self.refuse {
                continue;
            }
            let link = Link::new(socket)?;
            let id = EventData::new_u64(self.links.len() as u64);
            epoll::add(&self.epoll, &link.socket, id, EventFlags::IN)?;
            self.links.push(Some(link));
        }
    }

    /// One wake-up of one connection; a connection with any fault is dropped.
    fn serve(&mut self, id: u64, flags: EventFlags) {
        let Ok(index) = usize::try_from(id) else {
            return;
        };
        let Some(Some(link)) = self.links.get_mut(index) else {
            return;
        };
        let (mut healthy, mut agreed) = (true, None);
        let waiting = flags.contains(EventFlags::OUT);
        if !waiting {
            let answers = &mut self.answers;
            let read = link.read(&mut self.scratch, |header, body, out| {
                healthy &= answers.answer(header, body, out);
                if header.opcode == opcode::STARTUP {
                    agreed = Some(agreed_coding(header, body));
                }
            });
            healthy &= read.is_ok();
        }
        if !self.delay.is_zero() && !waiting && !link.out.is_empty() {
            let due = Instant::now() + self.delay;
            self.late
                .push_back((due, id, std::mem::take(&mut link.out)));
        }
        if !self.push(index, waiting) || !healthy {
            self.links[index] = None;
        }
        // READY itself is sent as it is.
        if let (Some(coding), Some(Some(link))) = (agreed, self.links.get_mut(index)) {
            link.change(coding);
        }
    }

    /// Sends what a connection has; reads no more from one whose peer does not take its answers.
    fn push(&mut self, index: usize, waiting: bool) -> bool {
        let Some(Some(link)) = self.links.get_mut(index) else {
            return true;
        };
        let Ok(empty) = link.flush() else {
            return false;
        };
        if empty == waiting {
            let wanted = if empty {
                EventFlags::IN
            } else {
                EventFlags::OUT
            };
            let id = EventData::new_u64(index as u64);
            return epoll::modify(&self.epoll, &link.socket, id, wanted).is_ok();
        }
        true
    }

    fn timeout(&self) -> Option<Timespec> {
        let (due, _, _) = self.late.front()?;
        due.saturating_duration_since(Instant::now())
            .try_into()
            .ok()
    }

    fn release(&mut self, now: Instant) {
        while self.late.front().is_some_and(|(due, _, _)| *due <= now) {
            let Some((_, id, bytes)) = self.late.pop_front() else {
                return;
            };
            let Ok(index) = usize::try_from(id) else {
                continue;
            };
            let Some(Some(link)) = self.links.get_mut(index) else {
                continue;
            };
            let waiting = !link.out.is_empty();
            link.out.extend_from_slice(&bytes);
            if !waiting && !self.push(index, false) {
                self.links[index] = None;
            }
        }
    }
}

/// What a STARTUP asks for: a string map.
fn agreed_coding(header: Header, body: &[u8]) -> Coding {
    let mut body = Cursor(body);
    let pairs = body.short().unwrap_or(0);
    let mut compression = None;
    for _ in 0..pairs {
        let (key, value) = (body.short_bytes(), body.short_bytes());
        if key == Some(b"COMPRESSION") {
            compression = value.and_then(|it| std::str::from_utf8(it).ok());
        }
    }
    Coding::of(header.version, compression)
}
