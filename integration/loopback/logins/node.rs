//! A node that asks who everybody is, and remembers who asked for what.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use helix_proxy::wire::request::{Credentials, Execute, Prepare, Query};
use helix_proxy::wire::{Cursor, Version, put};

use crate::site::Serve;
use crate::wire::{Wire, prepared, raw};

const ERROR: u8 = 0x00;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const SUPPORTED: u8 = 0x06;
const RESULT: u8 = 0x08;
const AUTH_SUCCESS: u8 = 0x10;

pub(crate) const BAD_CREDENTIALS: i32 = 0x0100;
pub(crate) const UNAUTHORIZED: i32 = 0x2100;

/// What a node does with those who say who they are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Guard {
    /// It asks, and knows.
    #[default]
    Asks,
    /// It asks, and cannot read its own roles.
    Unsure,
    /// It lets everybody in without asking.
    Sleeps,
}

/// What comes of a password instead of an answer to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trip {
    /// An error that says nothing of it, but repeats the name.
    Fails,
    /// Nothing.
    Sleeps,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Node {
    /// Roles, and the passwords of each.
    pub(crate) roles: RefCell<HashMap<String, HashSet<String>>>,
    pub(crate) guard: Cell<Guard>,
    /// It trips over passwords of names that begin so.
    pub(crate) trips: Cell<Option<(&'static str, Trip)>>,
    /// What roles of clients ask for waits until this is over.
    pub(crate) holds: Cell<bool>,
    /// Takes everything and answers nothing.
    pub(crate) is_silent: Cell<bool>,
    /// Texts with this in them are left without an answer, and not done.
    pub(crate) drops: RefCell<Option<&'static str>>,
    /// What a role may not do, as a part of the text.
    pub(crate) denied: RefCell<HashSet<(String, &'static str)>>,
    /// Who was let in, or not, in order.
    pub(crate) asked: RefCell<Vec<(String, bool)>>,
    /// Writes that were done, and who did them.
    pub(crate) done: RefCell<Vec<(String, String)>>,
    /// What it was taught, by id.
    taught: RefCell<HashMap<Vec<u8>, String>>,
    /// Connections of each role that are open.
    pub(crate) open: RefCell<HashMap<String, usize>>,
}

impl Node {
    pub(crate) fn with(roles: &[(&str, &str)]) -> Rc<Self> {
        let node = Self::default();
        roles
            .iter()
            .for_each(|(name, password)| node.add(name, password));
        node.add("helix", "service");
        Rc::new(node)
    }

    pub(crate) fn add(&self, name: &str, password: &str) {
        let mut roles = self.roles.borrow_mut();
        let passwords = roles.entry(name.to_owned()).or_default();
        passwords.insert(password.to_owned());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.roles.borrow_mut().remove(name);
    }

    pub(crate) fn deny(&self, name: &str, what: &'static str) {
        self.denied.borrow_mut().insert((name.to_owned(), what));
    }

    /// Those who did what has this in it.
    pub(crate) fn doers(&self, what: &str) -> Vec<String> {
        let done = self.done.borrow();
        let of_it = done.iter().filter(|(_, text)| text.contains(what));
        of_it.map(|(name, _)| name.clone()).collect()
    }

    /// How often somebody of this name said a password, right or wrong.
    pub(crate) fn times_asked(&self, name: &str) -> usize {
        let asked = self.asked.borrow();
        asked.iter().filter(|(of, _)| of == name).count()
    }

    pub(crate) fn connections(&self, name: &str) -> usize {
        self.open.borrow().get(name).copied().unwrap_or_default()
    }

    /// It has no variables.
    fn learn(&self, body: &[u8]) -> Vec<u8> {
        let text = Prepare::parse(Cursor::new(body), Version::V4).unwrap().text;
        let id = text.bytes().map(|it| it ^ 0x55).rev().collect::<Vec<_>>();
        self.taught.borrow_mut().insert(id.clone(), text.to_owned());
        prepared(&id)
    }
}

impl Serve for Node {
    async fn serve(self: Rc<Self>, stream: TcpStream) {
        let mut guest = Guest {
            node: Rc::clone(&self),
            name: None,
        };
        let mut wire = Wire::new(stream);
        while let Some(got) = wire.read().await {
            if self.is_silent.get() {
                continue;
            }
            while self.holds.get() && got.opcode == 0x07 && guest.is_client() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let answer = match got.opcode {
                0x01 => match self.guard.get() {
                    Guard::Sleeps => Some((READY, Vec::new())),
                    Guard::Asks | Guard::Unsure => {
                        let mut class = Vec::new();
                        put::string(&mut class, "PasswordAuthenticator");
                        Some((AUTHENTICATE, class))
                    }
                },
                0x0F => guest.says(&got.body),
                0x05 => Some((SUPPORTED, vec![0, 0])),
                0x07 => guest.query(&got.body),
                0x09 => Some((RESULT, self.learn(&got.body))),
                0x0A => guest.execute(&got.body),
                _ => Some((READY, Vec::new())),
            };
            let Some((opcode, body)) = answer else {
                continue;
            };
            let frame = raw(0x80 | got.version, got.stream, opcode, &body);
            wire.write(&frame).await;
        }
    }
}

/// Somebody who is connected.
struct Guest {
    node: Rc<Node>,
    name: Option<String>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Some(open) = self.node.open.borrow_mut().get_mut(name)
        {
            *open -= 1;
        }
    }
}

impl Guest {
    fn is_client(&self) -> bool {
        self.name.as_ref().is_some_and(|it| it != "helix")
    }

    fn says(&mut self, body: &[u8]) -> Option<(u8, Vec<u8>)> {
        let Ok(said) = Credentials::parse(Cursor::new(body)) else {
            return Some(refusal(0x000A, "nonsense"));
        };
        let name = said.username.to_owned();
        if let Some((begin, trip)) = self.node.trips.get()
            && name.starts_with(begin)
        {
            let text = format!("java.lang.RuntimeException: {name}");
            return (trip == Trip::Fails).then(|| refusal(0, &text));
        }
        if self.node.guard.get() == Guard::Unsure {
            let text = "Unable to perform authentication: Cannot achieve consistency level ONE";
            return Some(refusal(BAD_CREDENTIALS, text));
        }
        let roles = self.node.roles.borrow();
        let passwords = roles.get(&name);
        let is_right = passwords.is_some_and(|it| it.contains(said.password));
        self.node.asked.borrow_mut().push((name.clone(), is_right));
        if !is_right {
            let text = format!("Provided username {name} and/or password are incorrect");
            return Some(refusal(BAD_CREDENTIALS, &text));
        }
        *self.node.open.borrow_mut().entry(name.clone()).or_default() += 1;
        self.name = Some(name);
        Some((AUTH_SUCCESS, vec![0xFF; 4]))
    }

    fn query(&self, body: &[u8]) -> Option<(u8, Vec<u8>)> {
        let query = Query::parse(Cursor::new(body), Version::V4).ok()?;
        self.run(query.text)
    }

    fn execute(&self, body: &[u8]) -> Option<(u8, Vec<u8>)> {
        let execute = Execute::parse(Cursor::new(body), Version::V4).ok()?;
        let text = self.node.taught.borrow().get(execute.id).cloned();
        match text {
            Some(text) => self.run(&text),
            None => {
                let (opcode, mut body) = refusal(0x2500, "never heard of it");
                put::short_bytes(&mut body, execute.id);
                Some((opcode, body))
            }
        }
    }

    fn run(&self, text: &str) -> Option<(u8, Vec<u8>)> {
        let node = &self.node;
        let name = self.name.clone().unwrap_or_default();
        if node.drops.borrow().is_some_and(|it| text.contains(it)) {
            return None;
        }
        let is_denied = |(of, what): &(String, &str)| *of == name && text.contains(what);
        if node.denied.borrow().iter().any(is_denied) {
            let sentence = format!("User {name} has no MODIFY permission");
            return Some(refusal(UNAUTHORIZED, &sentence));
        }
        let mut out = Vec::new();
        if text.contains("system.local") {
            let cells: [&[u8]; 7] = [
                b"fake", b"3.4.5", b"dc1", b"Murmur3", b"r1", b"4.1.0", &[0; 16],
            ];
            for number in [2, 4, 7, 1] {
                put::i32(&mut out, number);
            }
            cells.iter().for_each(|cell| put::bytes(&mut out, cell));
        } else if text.contains("system") {
            for number in [2, 4, 6, 0] {
                put::i32(&mut out, number);
            }
        } else if let Some(keyspace) = text.strip_prefix("USE ") {
            put::i32(&mut out, 3);
            put::string(&mut out, keyspace.trim_matches('"'));
        } else {
            let mut done = node.done.borrow_mut();
            done.push((name, text.to_owned()));
            put::i32(&mut out, 1);
        }
        Some((RESULT, out))
    }
}

fn refusal(code: i32, sentence: &str) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    put::i32(&mut out, code);
    put::string(&mut out, sentence);
    (ERROR, out)
}

/// Waits until it is so.
pub(crate) async fn eventually(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
    in_time.expect("it never was so");
}
