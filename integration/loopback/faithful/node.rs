//! A node that writes down every request as it came, and answers each with as little as will do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::wire::{Got, Wire};

const TRACING: u8 = 0x02;
const PAYLOAD: u8 = 0x04;

/// A request, and the keyspace of the connection that it came on.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) got: Got,
    pub(crate) keyspace: Option<String>,
}

/// See the module.
pub(crate) struct Node {
    label: u8,
    arrived: RefCell<Vec<Arrived>>,
    /// The texts that it was asked to prepare, by id.
    known: RefCell<HashMap<Vec<u8>, String>>,
}

impl Node {
    pub(crate) fn new(label: u8) -> Rc<Self> {
        Rc::new(Self {
            label,
            arrived: RefCell::default(),
            known: RefCell::default(),
        })
    }

    /// What came since it was asked last.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        self.arrived.take()
    }

    /// What it calls a text.
    pub(crate) fn id(&self, text: &str) -> Vec<u8> {
        let digest = Sha256::digest(text);
        [&[self.label], &digest[..15]].concat()
    }

    /// What it calls the columns of a text.
    pub(crate) fn columns_id(&self, text: &str) -> Vec<u8> {
        let digest = Sha256::digest(text);
        [&[self.label], &digest[16..31]].concat()
    }

    /// Where the next page of this node's starts.
    pub(crate) fn paging_state(&self) -> Vec<u8> {
        [&[self.label], &b" goes on here"[..]].concat()
    }

    pub(crate) async fn serve(self: Rc<Self>, stream: TcpStream) {
        let (mut wire, mut keyspace) = (Wire::new(stream), None);
        while let Some(got) = wire.read().await {
            let (opcode, body) = self.answer(&got, &mut keyspace);
            let traced = got.flags & TRACING != 0;
            let trace = if traced { vec![self.label; 16] } else { vec![] };
            let answer = Got {
                version: 0x80 | got.version,
                flags: got.flags & TRACING,
                stream: got.stream,
                opcode,
                body: [trace, body].concat(),
            };
            wire.write(&answer.bytes()).await;
            if got.opcode == 0x01 {
                wire.framed = got.version == 5;
            }
        }
    }

    fn answer(&self, got: &Got, keyspace: &mut Option<String>) -> (u8, Vec<u8>) {
        let content = &got.body[payload_len(got)..];
        let text = |at: usize| String::from_utf8(long_bytes(content, at).to_vec()).unwrap();
        match got.opcode {
            0x01 => return (0x02, vec![]),
            0x05 => return (0x06, vec![0, 0]),
            0x07 if content[4..].starts_with(b"USE \"") => {
                let name = text(0).split('"').nth(1).unwrap().to_owned();
                let length = u16::try_from(name.len()).unwrap().to_be_bytes();
                let body = [&[0, 0, 0, 3], &length[..], name.as_bytes()].concat();
                *keyspace = Some(name);
                return (0x08, body);
            }
            _ => {}
        }
        self.arrived.borrow_mut().push(Arrived {
            got: got.clone(),
            keyspace: keyspace.clone(),
        });
        match got.opcode {
            0x07 => (0x08, self.outcome(&text(0))),
            0x09 => (0x08, self.prepared(&text(0), got.version)),
            0x0A => {
                let id = &content[2..2 + usize::from(content[1])];
                match self.known.borrow().get(id) {
                    Some(text) => (0x08, self.outcome(text)),
                    None => (0x00, unprepared(id)),
                }
            }
            _ => (0x08, vec![0, 0, 0, 1]),
        }
    }

    /// A page of no rows, and there is more; or VOID.
    fn outcome(&self, text: &str) -> Vec<u8> {
        if !text.contains("SELECT") {
            return vec![0, 0, 0, 1];
        }
        let state = self.paging_state();
        let length = u32::try_from(state.len()).unwrap().to_be_bytes();
        let head = [0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 1];
        [&head, &length[..], &state, &[0; 4]].concat()
    }

    /// No variables, and the columns are not told.
    fn prepared(&self, text: &str, version: u8) -> Vec<u8> {
        let (id, columns_id) = (self.id(text), self.columns_id(text));
        self.known.borrow_mut().insert(id.clone(), text.to_owned());
        let mut out = vec![0, 0, 0, 4, 0, 16];
        out.extend(id);
        if version == 5 {
            out.extend([0, 16]);
            out.extend(columns_id);
        }
        out.extend(if version == 3 {
            vec![0; 8]
        } else {
            vec![0; 12]
        });
        out.extend([0, 0, 0, 4, 0, 0, 0, 0]);
        out
    }
}

fn unprepared(id: &[u8]) -> Vec<u8> {
    let length = u16::try_from(id.len()).unwrap().to_be_bytes();
    [&[0, 0, 0x25, 0, 0, 1, b'?'], &length[..], id].concat()
}

fn long_bytes(body: &[u8], at: usize) -> &[u8] {
    let length = u32::from_be_bytes(*body[at..].first_chunk().unwrap());
    &body[at + 4..at + 4 + length as usize]
}

/// Bytes of the custom payload before a body.
pub(crate) fn payload_len(got: &Got) -> usize {
    if got.flags & PAYLOAD == 0 {
        return 0;
    }
    let short = |at: usize| usize::from(u16::from_be_bytes(*got.body[at..].first_chunk().unwrap()));
    let int = |at: usize| i32::from_be_bytes(*got.body[at..].first_chunk().unwrap());
    (0..short(0)).fold(2, |at, _| {
        let value = at + 2 + short(at);
        value + 4 + usize::try_from(int(value)).unwrap_or(0)
    })
}
