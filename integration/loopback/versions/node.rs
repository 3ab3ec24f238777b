//! A node that treats EXECUTE, USE and what it cannot decode as Cassandra 4 and 5 do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::net::TcpStream;

use helix_proxy::wire::request::{Execute, Query};
use helix_proxy::wire::{Cursor, Version, put};

use crate::wire::{Wire, raw};

const OVERLOADED: i32 = 0x1001;
const PROTOCOL_ERROR: i32 = 0x000A;
const SYNTAX: i32 = 0x2000;
const INVALID: i32 = 0x2200;
const UNPREPARED: i32 = 0x2500;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Executed {
    pub(crate) skip: bool,
    pub(crate) columns: Vec<u8>,
}

/// See the module.
pub(crate) struct Node {
    pub(crate) label: u8,
    /// The columns of `SELECT *` here.
    pub(crate) columns: RefCell<Vec<&'static str>>,
    /// Answers EXECUTE with UNPREPARED until it is asked to prepare, as after ALTER.
    pub(crate) forgot: Cell<bool>,
    pub(crate) is_overloaded: Cell<bool>,
    /// Leaves the next EXECUTE without an answer.
    pub(crate) stalls: Cell<bool>,
    pub(crate) executed: RefCell<Vec<Executed>>,
    /// How often it was asked to prepare.
    pub(crate) prepares: Cell<usize>,
    /// Connections that were let in.
    pub(crate) opened: Cell<usize>,
    /// Connections that the node closed itself.
    pub(crate) closed: Cell<usize>,
}

impl Node {
    pub(crate) fn new(label: u8, columns: &[&'static str]) -> Rc<Self> {
        Rc::new(Self {
            label,
            columns: RefCell::new(columns.to_vec()),
            forgot: Cell::new(false),
            is_overloaded: Cell::new(false),
            stalls: Cell::new(false),
            executed: RefCell::default(),
            prepares: Cell::new(0),
            opened: Cell::new(0),
            closed: Cell::new(0),
        })
    }

    pub(crate) fn columns_id(&self) -> Vec<u8> {
        let mut id = vec![0xC0; 16];
        let names = self.columns.borrow().join(",");
        for (at, byte) in names.bytes().enumerate() {
            id[at % 16] ^= byte.wrapping_mul(31);
        }
        id
    }

    pub(crate) fn put_specs(&self, out: &mut Vec<u8>) {
        put::string(out, "ks");
        put::string(out, "t");
        for name in &*self.columns.borrow() {
            put::string(out, name);
            put::u16(out, 0x09);
        }
    }

    pub(crate) fn count(&self) -> i32 {
        i32::try_from(self.columns.borrow().len()).unwrap()
    }

    pub(crate) fn prepared(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        put::i32(&mut out, 4);
        put::short_bytes(&mut out, &[self.label; 16]);
        if version == Version::V5 {
            put::short_bytes(&mut out, &self.columns_id());
        }
        // No variables.
        for number in [0, 0, 0] {
            put::i32(&mut out, number);
        }
        put::i32(&mut out, 1);
        put::i32(&mut out, self.count());
        self.put_specs(&mut out);
        out
    }

    pub(crate) fn rows(&self, execute: &Execute<'_>, version: Version) -> Vec<u8> {
        let skip = execute.parameters.skip_metadata;
        self.executed.borrow_mut().push(Executed {
            skip,
            columns: execute.columns.to_vec(),
        });
        let own = self.columns_id();
        let changed = version == Version::V5 && execute.columns != own;
        let mut out = Vec::new();
        put::i32(&mut out, 2);
        put::i32(
            &mut out,
            match (changed, skip) {
                (true, _) => 0x08 | 0x01,
                (false, true) => 0x04,
                (false, false) => 0x01,
            },
        );
        put::i32(&mut out, self.count());
        if changed {
            put::short_bytes(&mut out, &own);
        }
        if changed || !skip {
            self.put_specs(&mut out);
        }
        put::i32(&mut out, 0);
        out
    }

    pub(crate) async fn serve(self: Rc<Self>, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        let mut undecodable = 0;
        self.opened.set(self.opened.get() + 1);
        while let Some(got) = wire.read().await {
            let version = Version::from_number(got.version).unwrap();
            let error = |code: i32| {
                let mut out = Vec::new();
                put::i32(&mut out, code);
                put::string(&mut out, "told by a node");
                (0x00, out)
            };
            if got.opcode == 0x09 {
                self.prepares.set(self.prepares.get() + 1);
                self.forgot.set(false);
            }
            let mut ends = false;
            let (opcode, body) = match got.opcode {
                0x01 => (0x02, Vec::new()),
                0x05 => (0x06, vec![0, 0]),
                0x0A if self.stalls.take() => continue,
                _ if self.is_overloaded.get() => error(OVERLOADED),
                0x09 => (0x08, self.prepared(version)),
                0x0A if self.forgot.get() => {
                    let (code, mut body) = error(UNPREPARED);
                    put::short_bytes(&mut body, &[self.label; 16]);
                    (code, body)
                }
                0x0A => {
                    let execute = Execute::parse(Cursor::new(&got.body), version).unwrap();
                    (0x08, self.rows(&execute, version))
                }
                0x07 => {
                    let query = Query::parse(Cursor::new(&got.body), version).unwrap();
                    if 0x0A < query.parameters.consistency.0 {
                        // CQLMessageHandler.processRequest of Cassandra 4 and 5:
                        // consecutive_message_errors_threshold is 1.
                        undecodable += 1;
                        ends = version == Version::V5 && 1 < undecodable;
                        error(PROTOCOL_ERROR)
                    } else if query.parameters.keyspace == Some("") {
                        // ClientState.cloneWithKeyspaceIfSet: there is no such keyspace.
                        error(INVALID)
                    } else {
                        undecodable = 0;
                        match query.text {
                            // Lexer.g: QUOTED_NAME has at least one character.
                            "USE \"\"" => error(SYNTAX),
                            text if text.starts_with("USE") => error(INVALID),
                            text if text.contains("slow") => continue,
                            _ => (0x08, vec![0, 0, 0, 1]),
                        }
                    }
                }
                _ => (0x02, Vec::new()),
            };
            let frame = raw(0x80 | got.version, got.stream, opcode, &body);
            wire.write(&frame).await;
            if got.opcode == 0x01 {
                wire.framed = version == Version::V5;
            }
            if ends {
                self.closed.set(self.closed.get() + 1);
                return;
            }
        }
    }
}
