//! Records against a node that says what it was asked to run, and where.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use super::*;
use crate::cluster::{Config, ContactPoint, ContactPoints, Name};
use crate::replay::record::{self as kept, Draft, Reason, Repeat};
use crate::wire::header::Direction;
use crate::wire::request::Prepare;
use crate::wire::response::error::put_unprepared;
use crate::wire::response::result::{Column, PREPARED, Prepared, VOID, put_columns, put_variables};
use crate::wire::{Cursor, Frame, Version, put};

const SMALLINT: &[u8] = &[0, 0x13];
const TEXT: &[u8] = &[0, 0x0D];
const WITHIN: Duration = Duration::from_secs(20);

/// What a node does and has seen.
#[derive(Debug)]
struct Node {
    /// The type of the one variable that each statement has.
    kind: &'static [u8],
    /// Times that it says UNPREPARED.
    forgets: usize,
    prepared: HashSet<Vec<u8>>,
    ran: Vec<String>,
    /// A keyspace that it refuses.
    lacks: &'static str,
}

impl Node {
    fn new(kind: &'static [u8], forgets: usize) -> Self {
        Self {
            kind,
            forgets,
            prepared: HashSet::new(),
            ran: Vec::new(),
            lacks: "",
        }
    }

    /// The body of a PREPARED; the id says what was prepared in which keyspace.
    fn prepare(&mut self, id: &[u8], out: &mut Vec<u8>) {
        self.prepared.insert(id.to_vec());
        put::i32(out, PREPARED);
        put::short_bytes(out, id);
        let (name, kind) = ("c", self.kind);
        put_variables(out, Version::V4, ("ks", "t"), &[Column { name, kind }], &[]);
        put_columns(out, ("ks", "t"), &[]);
    }

    fn batch(&mut self, batch: &Batch<'_>, keyspace: &str, out: &mut Vec<u8>) -> Opcode {
        let forgets = self.forgets != 0;
        self.forgets = self.forgets.saturating_sub(1);
        for child in batch.children() {
            match child.what {
                What::Id(id) if forgets || !self.prepared.contains(id) => {
                    self.prepared.clear();
                    put_unprepared(out, "what?", id);
                    return Opcode::Error;
                }
                What::Id(id) => self.ran.push(format!("id {}", String::from_utf8_lossy(id))),
                What::Text(text) => self.ran.push(format!("text {keyspace}:{text}")),
            }
        }
        put::i32(out, VOID);
        Opcode::Result
    }

    fn answer(&mut self, frame: &Frame<'_>, keyspace: &mut String, out: &mut Vec<u8>) -> Opcode {
        let cursor = Cursor::new(frame.body);
        match frame.header.opcode {
            Opcode::Startup => return Opcode::Ready,
            Opcode::Prepare => {
                let text = Prepare::parse(cursor, Version::V4).unwrap().text;
                self.prepare(format!("{keyspace}:{text}").as_bytes(), out);
            }
            Opcode::Batch => {
                return self.batch(&Batch::parse(cursor, Version::V4).unwrap(), keyspace, out);
            }
            Opcode::Query => {
                let text = Query::parse(cursor, Version::V4).unwrap().text;
                *keyspace = text.replace("USE ", "").replace('"', "");
                if *keyspace == self.lacks {
                    put::i32(out, code::INVALID);
                    put::string(out, "there is no such keyspace");
                    return Opcode::Error;
                }
                put::i32(out, VOID);
            }
            other => panic!("nobody sends {other:?} here"),
        }
        Opcode::Result
    }
}

async fn serve(mut stream: TcpStream, node: Rc<RefCell<Node>>) {
    let (mut read, mut keyspace) = (Vec::new(), String::new());
    while stream.read_buf(&mut read).await.is_ok_and(|n| n != 0) {
        let mut answers = Vec::new();
        let mut rest = &read[..];
        while let Some((frame, behind)) = Frame::scan(rest, Direction::Request, 1 << 20).unwrap() {
            let (mut body, stream) = (Vec::new(), frame.header.stream);
            let opcode = node.borrow_mut().answer(&frame, &mut keyspace, &mut body);
            let way = (frame.header.version, Direction::Response);
            let begun = put::begin(&mut answers, way, 0, stream, opcode);
            answers.extend(body);
            put::end(&mut answers, begun);
            rest = behind;
        }
        read = rest.to_vec();
        stream.write_all(&answers).await.unwrap();
    }
}

/// A prepared child of `ks1` whose variable had this type.
fn prepared(kind: &'static [u8]) -> kept::Child<'static> {
    let mut out = Vec::new();
    Node::new(kind, 0).prepare(b"id", &mut out);
    let prepared = Prepared::parse(Cursor::new(&out), Version::V4).unwrap();
    kept::Child {
        text: "INSERT",
        keyspace: Some("ks1"),
        bind_types: fingerprint(&prepared.bind_types()),
        values: &[0, 0, 0, 1, 7],
        count: 1,
        named: false,
    }
}

/// A text of a session in `ks2`.
fn text() -> kept::Child<'static> {
    kept::Child {
        text: "UPDATE",
        keyspace: Some("ks2"),
        bind_types: 0,
        values: &[],
        count: 0,
        named: false,
    }
}

fn batch(statements: &[kept::Child<'_>]) -> Rc<Record> {
    let mut out = Vec::new();
    Draft {
        origin: "test",
        statements,
        batch: kept::Batch::Logged,
        consistency: 6,
        timestamp: Some(1),
        reason: Reason::Down,
        repeat: Repeat::Yes,
        ..Draft::default()
    }
    .encode(&mut out);
    Rc::new(Record::decode(&out).unwrap())
}

/// What comes of a batch on this node, and what the node ran.
async fn apply(node: Node, statements: &[kept::Child<'_>]) -> (Applied, Vec<String>) {
    let node = Rc::new(RefCell::new(node));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (host, port) = (
        "127.0.0.1".to_owned(),
        listener.local_addr().unwrap().port(),
    );
    let points = ContactPoints::new(ContactPoint { host, port }, []);
    let config = Arc::new(Config::new(Name::new("b").unwrap(), points));
    let record = batch(statements);
    let seen = Rc::clone(&node);
    let local = LocalSet::new();
    let applied = local.run_until(async move {
        let mut tasks = JoinSet::new();
        tasks.spawn_local(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn_local(serve(stream, Rc::clone(&seen)));
            }
        });
        let line = Line::new(Side::B, config, Rc::default());
        let applier = Applier::new(line, WITHIN);
        applier.apply(Side::B, record, false).await
    });
    let applied = applied.await;
    let ran = std::mem::take(&mut node.borrow_mut().ran);
    (applied, ran)
}

#[tokio::test]
async fn each_child_of_a_batch_runs_in_its_own_keyspace() {
    let elsewhere = kept::Child {
        keyspace: Some("ks3"),
        ..prepared(SMALLINT)
    };
    let children = [text(), prepared(SMALLINT), elsewhere, text()];
    let (applied, ran) = apply(Node::new(SMALLINT, 0), &children).await;
    assert_eq!(applied, Applied::Done);
    let expected = [
        "text ks2:UPDATE",
        "id ks1:INSERT",
        "id ks3:INSERT",
        "text ks2:UPDATE",
    ];
    assert_eq!(ran, expected);
}

#[tokio::test]
async fn a_batch_of_texts_goes_as_it_is() {
    let (applied, ran) = apply(Node::new(SMALLINT, 0), &[text(), text()]).await;
    assert_eq!((applied, ran.len()), (Applied::Done, 2));
    assert!(ran.iter().all(|it| it == "text ks2:UPDATE"), "{ran:?}");
}

#[tokio::test]
async fn a_batch_whose_column_has_another_type_now_is_not_sent() {
    let (applied, ran) = apply(Node::new(TEXT, 0), &[text(), prepared(SMALLINT)]).await;
    assert_eq!(applied, Applied::Unfit(TYPES_CHANGED.to_owned()));
    assert!(ran.is_empty(), "{ran:?}");
}

#[tokio::test]
async fn a_forgotten_child_is_taught_again_but_not_for_ever() {
    let children = [prepared(SMALLINT)];
    let (applied, ran) = apply(Node::new(SMALLINT, 2), &children).await;
    assert_eq!((applied, ran.len()), (Applied::Done, 1));
    let (applied, ran) = apply(Node::new(SMALLINT, 3), &children).await;
    assert!(matches!(applied, Applied::NotApplied(_)), "{applied:?}");
    assert!(ran.is_empty(), "{ran:?}");
}

/// Else it would be tried for ever and hold back its partition (I9).
#[tokio::test]
async fn a_keyspace_that_the_node_lacks_is_a_refusal() {
    for (lacks, child) in [("ks1", prepared(SMALLINT)), ("ks2", text())] {
        let node = Node {
            lacks,
            ..Node::new(SMALLINT, 0)
        };
        let (applied, ran) = apply(node, &[child]).await;
        assert!(matches!(applied, Applied::Refused(_)), "{applied:?}");
        assert!(ran.is_empty(), "{ran:?}");
    }
}

#[test]
fn a_fingerprint_is_this_number_in_every_version() {
    assert_eq!(fingerprint(b"abc"), 0xba78_16bf_8f01_cfea);
    assert_ne!(fingerprint(b""), 0);
}

/// One node teaches a connection what another connection asks for: they must be to the same.
#[tokio::test]
async fn a_node_that_takes_no_more_connections_is_left_by_all() {
    let nodes = [(); 2].map(|()| Rc::new(RefCell::new(Node::new(SMALLINT, 0))));
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let points: Vec<_> = listeners
        .iter()
        .map(|it| ContactPoint {
            host: "127.0.0.1".to_owned(),
            port: it.local_addr().unwrap().port(),
        })
        .collect();
    let points = ContactPoints::new(points[0].clone(), [points[1].clone()]);
    let config = Arc::new(Config::new(Name::new("b").unwrap(), points));
    let seen: Vec<_> = nodes.iter().map(Rc::clone).collect();
    LocalSet::new()
        .run_until(async move {
            let mut loops = Vec::new();
            for (listener, node) in listeners.into_iter().zip(seen) {
                loops.push(tokio::task::spawn_local(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::task::spawn_local(serve(stream, Rc::clone(&node)));
                    }
                }));
            }
            let applier = Applier::new(Line::new(Side::B, config, Rc::default()), WITHIN);
            let plain = kept::Child {
                keyspace: None,
                ..text()
            };
            let first = applier.apply(Side::B, batch(&[plain]), false).await;
            assert_eq!(first, Applied::Done);
            loops.remove(0).abort();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut all = Vec::new();
            for _ in 0..10 {
                let record = batch(&[prepared(SMALLINT)]);
                all.push(applier.apply(Side::B, record, false).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(all.last(), Some(&Applied::Done), "{all:?}");
        })
        .await;
}
