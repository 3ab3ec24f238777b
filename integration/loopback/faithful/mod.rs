//! What reaches the clusters is what the client sent. Random requests go through a whole data plane to
//! two nodes that write down every byte; a model that knows nothing of `wire` says what each side
//! should have got. Allowed to differ are, and nothing else:
//!
//! - the stream, and of the header's flags those that mean nothing on a request;
//! - of a write without a timestamp of the client's: that flag and eight bytes, the same on both sides;
//! - a prepared id, which is each node's own, and with it the id of the columns that the client knows;
//! - the flag that leaves columns out of an EXECUTE's rows, which may be cleared;
//! - the tag before a paging state, which is the proxy's own.

mod ask;
mod judge;
mod message;
mod node;
mod stage;

use std::cell::RefCell;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use helix_proxy::pair::{Pair, Side};

use crate::wire::Got;
use ask::{Ask, Class, Columns, Text, What, asks};
use judge::{Judge, Prepared, Route, Sent, TAG_LEN, same};
use message::{Child, Last, Message, Values, What as Told, payload};
use stage::Stage;

const CASES: u32 = 1_000;
/// Milliseconds that may go into making a failure smaller.
const SHRINK_MAX: u32 = 60_000;

/// The cluster that decides what one must.
const HOME: Side = Side::A;
const SERIAL: [u16; 2] = [8, 9];
const TRACING: u8 = 0x02;
const PAYLOAD: u8 = 0x04;
const RESULT: u8 = 0x08;

/// Two data planes for all cases: one whose reads go to A, and one whose reads go to B.
#[derive(Default)]
struct House {
    stages: Pair<Option<Stage>>,
    judges: Pair<Judge>,
}

#[test]
fn what_reaches_a_cluster_is_what_the_client_sent_but_for_what_the_design_says() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (local, house) = (LocalSet::new(), RefCell::new(House::default()));
    let config = Config {
        cases: CASES,
        max_shrink_time: SHRINK_MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&asks(), |ask| {
        local.block_on(&runtime, house.borrow_mut().check(&ask))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    for (_side, judge) in house.borrow().judges.iter() {
        assert!(judge.seen.has_all(), "{:?}", judge.seen);
    }
}

/// What a node calls the columns it tells only in version 5. Whoever used the statement before, in
/// version 4 on the same thread, does not keep the others from being told.
#[test]
fn columns_go_by_each_nodes_own_id_also_where_the_statement_was_used_in_version_4_before() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (local, mut house) = (LocalSet::new(), House::default());
    for (version, consistency) in [(4, 1), (5, SERIAL[0])] {
        let outcome = local.block_on(&runtime, house.check(&Ask::read(version, consistency)));
        outcome.unwrap();
    }
    assert_eq!(house.judges.b.seen.columns_ids, 2, "a page and the next");
}

impl House {
    /// What failed may have left anything behind: the next case begins anew.
    async fn check(&mut self, ask: &Ask) -> Result<(), TestCaseError> {
        let side = ask.preferred;
        let mut stage = match self.stages[side].take() {
            Some(stage) => stage,
            None => {
                self.judges[side] = Judge::new(std::mem::take(&mut self.judges[side].seen));
                Stage::new(side).await
            }
        };
        let judge = &mut self.judges[side];
        let outcome = Case {
            ask,
            stage: &mut stage,
            judge,
        }
        .run()
        .await;
        if outcome.is_ok() {
            self.stages[side] = Some(stage);
        }
        outcome
    }
}

type Outcome<T> = Result<T, TestCaseError>;

struct Case<'a> {
    ask: &'a Ask,
    stage: &'a mut Stage,
    judge: &'a mut Judge,
}

impl Case<'_> {
    async fn run(&mut self) -> Outcome<()> {
        match &self.ask.what {
            What::Batch {
                kind,
                children,
                consistency,
                last,
            } => self.batch(*kind, children, *consistency, last).await,
            What::Execute {
                text,
                parameters,
                columns,
                times,
            } => {
                let prepared = [self.prepare(text, None).await?];
                let columns_id = match columns {
                    Columns::AsPrepared => prepared[0].columns_id.clone(),
                    Columns::Other(id) => id.clone(),
                };
                let message = Message::Execute {
                    id: prepared[0].id.clone(),
                    columns_id,
                    parameters: parameters.clone(),
                };
                for _ in 0..*times {
                    self.pages(text, message.clone(), &prepared, None).await?;
                }
                Ok(())
            }
            What::Prepare { text, keyspace } => self.prepare(text, *keyspace).await.map(drop),
            What::Query { text, parameters } => {
                let message = Message::Query {
                    text: text.text.clone(),
                    parameters: parameters.clone(),
                };
                let keyspace = self.keyspace_of(text, parameters.last.keyspace);
                self.pages(text, message, &[], keyspace).await
            }
        }
    }

    /// The keyspace that a text means, if that matters: its own message's, or the client's.
    fn keyspace_of(&self, text: &Text, own: Option<&'static str>) -> Option<&'static str> {
        own.or(self.ask.session).filter(|_| !text.qualified)
    }

    async fn prepare(&mut self, text: &Text, own: Option<&'static str>) -> Outcome<Prepared> {
        let keyspace = self.keyspace_of(text, own);
        let message = Message::Prepare {
            text: text.text.clone(),
            keyspace: own,
        };
        let side = match text.class {
            Class::Conditional | Class::Write => HOME,
            Class::Read => self.ask.preferred,
        };
        let route = Route::One(side);
        let answer = self.send(&message, &[], route, keyspace).await?;
        let columns_id = match self.ask.version {
            5 => answer[24..40].to_vec(),
            _ => Vec::new(),
        };
        Ok(Prepared {
            text: text.text.clone(),
            keyspace,
            id: answer[6..22].to_vec(),
            columns_id,
        })
    }

    /// Sends a QUERY or EXECUTE, and where it reads goes on with the next page.
    async fn pages(
        &mut self,
        text: &Text,
        mut message: Message,
        prepared: &[Prepared],
        keyspace: Option<&'static str>,
    ) -> Outcome<()> {
        let consistency = message.parameters().map_or(0, |it| it.consistency);
        let route = match text.class {
            Class::Write => Route::Both,
            Class::Conditional => Route::One(HOME),
            Class::Read if SERIAL.contains(&consistency) => Route::One(HOME),
            Class::Read => Route::One(self.ask.preferred),
        };
        let answer = self.send(&message, prepared, route, keyspace).await?;
        let (Class::Read, Route::One(side)) = (text.class, route) else {
            return same(&answer[..], &[0, 0, 0, 1], || "the answer".to_owned());
        };
        let own = self.stage.nodes[side].paging_state();
        let state = answer[16..answer.len() - 4].to_vec();
        same(&state[TAG_LEN..], &own, || "the paging state".to_owned())?;
        if let Some(parameters) = message.parameters() {
            parameters.paging_state = Some(state);
        }
        self.send(&message, prepared, route, keyspace)
            .await
            .map(drop)
    }

    async fn batch(
        &mut self,
        kind: u8,
        asked: &[(Text, bool, Values)],
        consistency: u16,
        last: &Last,
    ) -> Outcome<()> {
        let (mut children, mut prepared, mut keyspace) = (Vec::new(), Vec::new(), None);
        for (text, is_prepared, values) in asked {
            let what = if *is_prepared {
                prepared.push(self.prepare(text, None).await?);
                Told::Id(prepared[prepared.len() - 1].id.clone())
            } else {
                keyspace = keyspace.or_else(|| self.keyspace_of(text, last.keyspace));
                Told::Text(text.text.clone())
            };
            let values = values.clone();
            children.push(Child { what, values });
        }
        let message = Message::Batch {
            kind,
            children,
            consistency,
            last: last.clone(),
        };
        let sent = self.send(&message, &prepared, Route::Both, keyspace);
        sent.await.map(drop)
    }

    /// Has the client send a message and the judge look at what came of it; returns the answer behind
    /// its tracing id.
    async fn send(
        &mut self,
        message: &Message,
        prepared: &[Prepared],
        route: Route,
        keyspace: Option<&'static str>,
    ) -> Outcome<Vec<u8>> {
        let ask = self.ask;
        let (body, _) = message.bytes(ask.version);
        let before = ask.payload.as_deref().map(payload).unwrap_or_default();
        let frame = Got {
            version: ask.version,
            flags: ask.flags | if ask.payload.is_some() { PAYLOAD } else { 0 },
            stream: ask.stream.to_be_bytes(),
            opcode: message.opcode(),
            body: [before, body].concat(),
        };
        let who = (ask.version, ask.session);
        let answer = self.stage.ask(who, &frame).await;
        let sent = Sent {
            ask,
            message,
            prepared,
            route,
            keyspace,
        };
        self.judge.look(&sent, &self.stage.nodes)?;
        let answer = answer.ok_or_else(|| TestCaseError::fail("no answer"))?;
        let head = (answer.version, answer.flags, answer.stream, answer.opcode);
        let expected = (
            0x80 | ask.version,
            ask.flags & TRACING,
            frame.stream,
            RESULT,
        );
        same(head, expected, || format!("the answer {answer:02x?}"))?;
        let traced = if ask.flags & TRACING == 0 { 0 } else { 16 };
        Ok(answer.body[traced..].to_vec())
    }
}
