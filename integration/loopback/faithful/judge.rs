//! Whether what arrived at the nodes is what should have.

use std::collections::HashSet;
use std::rc::Rc;

use proptest::test_runner::TestCaseError;

use helix_proxy::pair::{Pair, Side};

use super::Outcome;
use super::ask::Ask;
use super::message::{Message, What, payload};
use super::node::{Arrived, Node};

/// Flags of a request's header that mean something: tracing, and a custom payload.
const MEANT: u8 = 0x02 | 0x04;
/// The proxy's tag before a paging state.
pub(crate) const TAG_LEN: usize = 4;
const PREPARE: u8 = 0x09;

/// Where a request has to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    Both,
    One(Side),
}

/// A prepared statement, as its client knows it.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// The keyspace that it was prepared in, if that matters.
    pub(crate) keyspace: Option<&'static str>,
    pub(crate) id: Vec<u8>,
    pub(crate) columns_id: Vec<u8>,
}

/// A request that was answered.
pub(crate) struct Sent<'a> {
    pub(crate) ask: &'a Ask,
    /// As the client wrote it.
    pub(crate) message: &'a Message,
    /// What it executes.
    pub(crate) prepared: &'a [Prepared],
    pub(crate) route: Route,
    /// The keyspace that the node's connection has to be in, or in version 5 the message has to say.
    pub(crate) keyspace: Option<&'static str>,
}

/// How often each thing happened that is allowed to.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) columns_ids: usize,
    pub(crate) kept_skips: usize,
    pub(crate) forced_columns: usize,
    pub(crate) other_ids: usize,
    pub(crate) pages: usize,
    pub(crate) stamps: usize,
}

impl Seen {
    /// Whether the cases were any good.
    pub(crate) fn has_all(&self) -> bool {
        let counts = [
            self.columns_ids,
            self.kept_skips,
            self.forced_columns,
            self.other_ids,
            self.pages,
            self.stamps,
        ];
        counts.iter().all(|count| 0 < *count)
    }
}

/// What it takes to judge, of one data plane.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) seen: Seen,
    /// What clients have prepared so far.
    prepared: HashSet<(Option<String>, String)>,
    /// What a side was asked to prepare in version 5, where it tells what it calls the columns.
    told: HashSet<(Side, Option<String>, String)>,
    /// The last timestamp of the proxy's own.
    stamp: i64,
}

impl Judge {
    /// Of a new data plane.
    pub(crate) fn new(seen: Seen) -> Self {
        Self {
            seen,
            ..Self::default()
        }
    }

    /// Looks at all that came to the nodes since it looked last.
    pub(crate) fn look(&mut self, sent: &Sent<'_>, nodes: &Pair<Rc<Node>>) -> Outcome<()> {
        if let Message::Prepare { text, .. } = sent.message {
            let keyspace = sent.keyspace.map(str::to_owned);
            self.prepared.insert((keyspace, text.clone()));
        }
        let mut arrived = nodes.as_ref().map(|_, node| node.take());
        let mut stamp = None;
        for side in Side::ALL {
            let is_due = match sent.route {
                Route::Both => true,
                Route::One(one) => one == side,
            };
            let opcode = sent.message.opcode();
            let place = arrived[side].iter().position(|it| it.got.opcode == opcode);
            let own = place.filter(|_| is_due).map(|at| arrived[side].remove(at));
            self.lessons(side, &arrived[side])?;
            match own {
                Some(own) => {
                    if let Message::Prepare { text, .. } = sent.message {
                        let keyspace = sent.keyspace.map(str::to_owned);
                        self.remember(side, &own, (keyspace, text.clone()));
                    }
                    self.own(side, sent, &own, nodes, &mut stamp)?;
                }
                None => same(is_due, false, || format!("{side} got nothing"))?,
            }
        }
        Ok(())
    }

    /// The proxy's own PREPAREs, of what clients prepared before: nothing else may come unasked.
    fn lessons(&mut self, side: Side, arrived: &[Arrived]) -> Outcome<()> {
        for lesson in arrived {
            let got = &lesson.got;
            let (text, _) = prepared_text(lesson);
            same(got.opcode, PREPARE, || format!("{side} got {got:02x?}"))?;
            let keyspace = lesson_keyspace(lesson)?;
            let known = (keyspace.clone(), text.clone());
            let is_known = self.prepared.contains(&known);
            same(is_known, true, || format!("{side} was taught {known:?}"))?;
            let plain = Message::Prepare {
                text,
                keyspace: None,
            };
            let mut bytes = plain.bytes(got.version).0;
            if let Some(keyspace) = keyspace.filter(|_| got.version == 5) {
                let length = u16::try_from(keyspace.len()).unwrap().to_be_bytes();
                bytes.truncate(bytes.len() - 4);
                bytes.extend([&[0, 0, 0, 1], &length[..], keyspace.as_bytes()].concat());
            }
            same(&got.body, &bytes, || format!("how {side} was taught"))?;
            same(got.flags, 0, || format!("flags of a lesson of {side}"))?;
            self.remember(side, lesson, known);
        }
        Ok(())
    }

    fn remember(
        &mut self,
        side: Side,
        arrived: &Arrived,
        (keyspace, text): (Option<String>, String),
    ) {
        if arrived.got.opcode == PREPARE && arrived.got.version == 5 {
            self.told.insert((side, keyspace, text));
        }
    }

    /// The client's request, as this side got it.
    fn own(
        &mut self,
        side: Side,
        sent: &Sent<'_>,
        arrived: &Arrived,
        nodes: &Pair<Rc<Node>>,
        stamp: &mut Option<i64>,
    ) -> Outcome<()> {
        let (ask, got) = (sent.ask, &arrived.got);
        let before = ask.payload.as_deref().map(payload).unwrap_or_default();
        let has_payload = if ask.payload.is_some() { 0x04 } else { 0 };
        let flags = (ask.flags | has_payload) & MEANT;
        same((got.version, got.flags), (ask.version, flags), || {
            format!("version and flags at {side}")
        })?;
        let bound_to = sent.keyspace.filter(|_| ask.version < 5);
        same(arrived.keyspace.as_deref(), bound_to, || {
            format!("the keyspace of the connection at {side}")
        })?;
        let mut expected = self.as_it_should_be(side, sent, nodes);
        if sent.route == Route::Both
            && let Some(missing @ None) = expected.timestamp()
        {
            *missing = Some(0);
            let (bytes, place) = expected.bytes(ask.version);
            same(got.body.len(), before.len() + bytes.len(), || {
                format!("length with a timestamp at {side}")
            })?;
            let place = before.len() + place.unwrap();
            let found = i64::from_be_bytes(*got.body[place..].first_chunk().unwrap());
            self.stamped(side, found, stamp)?;
            expected.timestamp().map(|it| it.replace(found));
        }
        let bytes = |message: &Message| [&before[..], &message.bytes(ask.version).0].concat();
        let whole = bytes(&expected);
        let has_skip = matches!(expected, Message::Execute { .. });
        if has_skip && let Some(parameters) = expected.parameters().filter(|it| it.skip_metadata) {
            if got.body == whole {
                self.seen.kept_skips += 1;
                return Ok(());
            }
            parameters.skip_metadata = false;
            self.seen.forced_columns += 1;
        }
        same(&got.body, &bytes(&expected), || {
            format!("the body at {side}")
        })
    }

    /// Later than all before it, and the same on both sides.
    fn stamped(&mut self, side: Side, found: i64, stamp: &mut Option<i64>) -> Outcome<()> {
        match *stamp {
            Some(other) => same(found, other, || format!("the timestamp of {side}"))?,
            None => same(self.stamp < found, true, || {
                format!("{found} is not after {}", self.stamp)
            })?,
        }
        (self.stamp, *stamp) = (found, Some(found));
        self.seen.stamps += 1;
        Ok(())
    }

    /// The client's message with what this side calls things.
    fn as_it_should_be(&mut self, side: Side, sent: &Sent<'_>, nodes: &Pair<Rc<Node>>) -> Message {
        let mut message = sent.message.clone();
        match &mut message {
            Message::Batch { children, .. } => {
                for child in children {
                    if let What::Id(id) = &mut child.what {
                        *id = nodes[side].id(&of(id, sent).text);
                        self.seen.other_ids += 1;
                    }
                }
            }
            Message::Execute { id, columns_id, .. } => {
                let prepared = of(id, sent);
                *id = nodes[side].id(&prepared.text);
                self.seen.other_ids += 1;
                let known_to = |side| {
                    let keyspace = prepared.keyspace.map(str::to_owned);
                    let told = (side, keyspace, prepared.text.clone());
                    self.told.contains(&told)
                };
                let others = nodes[!side].columns_id(&prepared.text);
                if *columns_id == others && known_to(side) && known_to(!side) {
                    *columns_id = nodes[side].columns_id(&prepared.text);
                    self.seen.columns_ids += 1;
                }
            }
            Message::Prepare { .. } | Message::Query { .. } => {}
        }
        if sent.ask.version == 5
            && let Some(said) = message.keyspace()
        {
            *said = sent.keyspace.or(*said);
        }
        if let Some(parameters) = message.parameters()
            && let Some(state) = &mut parameters.paging_state
        {
            state.drain(..TAG_LEN);
            self.seen.pages += 1;
        }
        message
    }
}

fn of<'a>(id: &[u8], sent: &'a Sent<'_>) -> &'a Prepared {
    sent.prepared.iter().find(|it| it.id == id).unwrap()
}

/// The text of a PREPARE, and what stands behind it.
fn prepared_text(arrived: &Arrived) -> (String, &[u8]) {
    let body = &arrived.got.body[super::node::payload_len(&arrived.got)..];
    let (length, body) = body.split_first_chunk().unwrap();
    let (text, behind) = body.split_at(u32::from_be_bytes(*length) as usize);
    (String::from_utf8(text.to_vec()).unwrap(), behind)
}

/// The keyspace that a PREPARE is meant in: the connection's, which in version 5 has none.
fn lesson_keyspace(arrived: &Arrived) -> Outcome<Option<String>> {
    if arrived.got.version < 5 {
        return Ok(arrived.keyspace.clone());
    }
    same(arrived.keyspace.as_deref(), None, || {
        "the keyspace of a connection of version 5".to_owned()
    })?;
    let said = prepared_text(arrived).1.split_at(4).1;
    let name = said.get(2..).map(<[u8]>::to_vec);
    Ok(name.map(|it| String::from_utf8(it).unwrap()))
}

/// They are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    got: T,
    expected: T,
    what: impl FnOnce() -> String,
) -> Outcome<()> {
    if got == expected {
        return Ok(());
    }
    let what = what();
    let reason = format!("{what}\n     got: {got:02x?}\nexpected: {expected:02x?}");
    Err(TestCaseError::fail(reason))
}
