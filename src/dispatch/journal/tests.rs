//! What is written down of a request, as the worker will read it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::dispatch::Error;
use crate::dispatch::flow::Write;
use crate::dispatch::known::Known;
use crate::dispatch::registry::{Entry, Node, Prepared, Registry, Template};
use crate::dispatch::request::{Batched, Flow, legs};
use crate::pair::Side;
use crate::policy::{Ack, OnQueueFailure, WritePlan};
use crate::replay::record::Record;
use crate::statement::{Schema, classify_in, prepared};
use crate::wire::request::{Batch, Child, Values, What as ChildWhat, batch};
use crate::wire::{ClientStream, Consistency, Opcode, Version};

/// A client that hears nothing.
#[derive(Clone, Copy)]
struct Nobody;

impl Client for Nobody {
    fn answer(
        &self,
        _to: (Version, ClientStream),
        _flags: u8,
        _opcode: Opcode,
        _body: impl FnOnce(&mut Vec<u8>),
    ) {
    }

    fn pass(
        &self,
        _to: (Version, ClientStream),
        _flags: u8,
        _head: impl FnOnce(&mut Vec<u8>),
        _rest: &[u8],
    ) {
    }

    fn refuse(&self, _to: (Version, ClientStream), _error: &Error) {}

    fn use_keyspace(&self, _keyspace: &str) {}
}

fn draft() -> Draft<'static> {
    Draft {
        origin: "test",
        consistency: 6,
        timestamp: Some(1),
        repeat: Repeat::Yes,
        ..Draft::default()
    }
}

/// A statement prepared in this keyspace, known to B.
fn entry(text: &str, keyspace: &str, variables: u64) -> Rc<Entry> {
    let id = prepared::id(Some(keyspace), text).0;
    let registry = Registry::new(false);
    let what = (text.into(), classify_in(text, Some(keyspace)));
    let template = Template::new(id, Some(keyspace), what);
    let template = registry.show(template, 0);
    let entry = Prepared::default().get(&id, &registry, &Schema::default());
    let entry = entry.unwrap();
    let node = Node {
        columns_id: Box::default(),
        id: id.into(),
        columns: 0,
        variables,
        key: Box::default(),
    };
    registry.learn(&template, Side::B, Arc::new(node));
    entry
}

fn known(text: &str) -> Rc<Known> {
    let statement = classify_in(text, Some("ks2"));
    Rc::new(Known::new(
        text.into(),
        statement,
        Some("ks2"),
        &Schema::default(),
    ))
}

/// A prepared child or a text.
type Either = (Option<Rc<Entry>>, Option<Rc<Known>>);

/// A batch of a session in `ks2`.
fn request(children: Vec<Either>) -> Request<Nobody> {
    let mut body = Vec::new();
    let count = u16::try_from(children.len()).unwrap();
    let message = Batch::of(batch::Kind::Logged, count, Consistency::ONE, None, None);
    message.put_head(&mut body);
    for (entry, known) in &children {
        let text = known.as_ref().map_or("", |known| &known.text);
        let what = entry.as_ref().map_or(ChildWhat::Text(text), |entry| {
            ChildWhat::Id(&entry.template.id)
        });
        let values = Values::default();
        Child { what, values }.put(&mut body);
    }
    message.put_tail(&mut body, Version::V4);
    let (entries, texts) = children.into_iter().unzip();
    let batched = Batched {
        entries,
        texts,
        needs_keyspace: true,
        repeat: Repeat::Yes,
        conditional: false,
        per_server: false,
        hash: 0,
    };
    Request {
        client: Nobody,
        login: None,
        stream: ClientStream(0),
        version: Version::V4,
        flags: 0,
        keyspace: Some("ks2".into()),
        what: What::Batch(Rc::new(batched)),
        body,
        payload: 0,
        consistency: Consistency::ONE,
        timestamp: Some(1),
        flow: Flow::Write(write(Sides::BOTH, Sides::NONE)),
        since: Instant::now(),
        legs: legs(),
        pinned: false,
        seq: None,
        unvouched: Sides::NONE,
    }
}

fn write(send: Sides, away: Sides) -> Write {
    let plan = WritePlan {
        send,
        away,
        journal: false,
        first: None,
        preferred: Side::A,
    };
    let rules = crate::dispatch::flow::Rules {
        ack: Ack::Any,
        on_queue_failure: OnQueueFailure::FailWrite,
        repeatable: true,
        recorded: true,
        allowed: true,
    };
    Write::new(plan, rules, true).0
}

#[test]
fn each_child_of_a_batch_keeps_its_own_keyspace_and_types() {
    let request = request(vec![
        (None, Some(known("INSERT INTO t (k) VALUES (1)"))),
        (Some(entry("INSERT INTO t (k) VALUES (2)", "ks1", 7)), None),
        (None, Some(known("INSERT INTO ks3.t (k) VALUES (3)"))),
    ]);
    let What::Batch(batched) = &request.what else {
        panic!("it is a batch")
    };
    let mut out = Vec::new();
    bytes::batch(draft(), &request, batched, &mut out);
    let record = Record::decode(&out).unwrap();
    let children: Vec<_> = record
        .statements
        .iter()
        .map(|child| (child.keyspace.as_deref(), child.bind_types))
        .collect();
    assert_eq!(children, [(Some("ks2"), 0), (Some("ks1"), 7), (None, 0)]);
}

#[test]
fn a_record_says_whether_its_side_was_down_or_failed() {
    let mut request = request(Vec::new());
    assert_eq!(reason(&request, Sides::only(Side::B)), Reason::Failed);
    request.flow = Flow::Write(write(Sides::only(Side::A), Sides::only(Side::B)));
    assert_eq!(reason(&request, Sides::only(Side::B)), Reason::Down);
}
