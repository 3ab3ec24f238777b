//! A thread that echoes, and a client that speaks bytes.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use crate::dispatch::{Admission, Client, Error, Origin};
use crate::session::{Acceptor, Admitting, Config, Door, Outlet, Requests, Sessions, Users, serve};
use crate::socket::Buffers;
use crate::telemetry::{Metrics, WorkerMetrics};
use crate::wire::header::Direction;
use crate::wire::request::Credentials;
use crate::wire::{ClientStream, Cursor, Frame, Opcode, Version, put};

/// Generous: whatever takes this long has failed.
pub(super) const SOON: Duration = Duration::from_secs(20);
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Answers each request with its own body, unless that says otherwise.
pub(super) struct Echo {
    buffers: Buffers,
    page: Metrics,
    metrics: WorkerMetrics,
    pub(super) held: RefCell<Vec<(Outlet, Version, ClientStream)>>,
    pub(super) seen: Cell<usize>,
}

impl Echo {
    fn new() -> Rc<Self> {
        let page = Metrics::new(Default::default()).unwrap();
        let metrics = page.worker();
        Rc::new(Self {
            buffers: Buffers::default(),
            page,
            metrics,
            held: RefCell::default(),
            seen: Cell::new(0),
        })
    }

    /// Answers one request that said `hold`, the oldest first.
    pub(super) fn release(&self) -> bool {
        let mut held = self.held.borrow_mut();
        if held.is_empty() {
            return false;
        }
        let (outlet, version, stream) = held.remove(0);
        drop(held);
        outlet.answer((version, stream), 0, Opcode::Result, |body| {
            body.extend_from_slice(b"released");
        });
        true
    }

    /// Whether the metrics page has this line.
    pub(super) fn counts(&self, line: &str) -> bool {
        let text = self.page.text().unwrap();
        text.lines().any(|at| at == line)
    }
}

impl Requests<Outlet> for Echo {
    fn request(&self, origin: &Origin<Outlet>, frame: Frame<'_>) {
        self.seen.set(self.seen.get() + 1);
        let to = (origin.version, ClientStream(frame.header.stream));
        let text = String::from_utf8_lossy(frame.body);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let reply = match word {
            "hold" => {
                let held = (origin.client.clone(), to.0, to.1);
                self.held.borrow_mut().push(held);
                return;
            }
            "panic" => panic!("as the test asked"),
            "refuse" => return origin.client.refuse(to, &Error::Unreachable),
            "big" => vec![b'x'; rest.parse().unwrap()],
            "use" => {
                origin.client.use_keyspace(rest);
                rest.into()
            }
            "keyspace" => origin.keyspace.as_deref().unwrap_or("none").into(),
            "dialled" => origin.dialled.to_string().into_bytes(),
            _ => frame.body.to_vec(),
        };
        origin.client.answer(to, 0, Opcode::Result, |body| {
            body.extend_from_slice(&reply);
        });
    }

    fn log_in<'a>(&'a self, _said: Credentials<'a>, _: Version) -> Admitting<'a, Outlet> {
        Box::pin(async { Admission::Unknown("an echo".to_owned()) })
    }

    fn ahead(&self, _read: &[u8]) {}

    fn wake(&self) {}

    fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }
}

/// One worker and its acceptor, on the test's own thread.
pub(super) struct House {
    pub(super) echo: Rc<Echo>,
    pub(super) sessions: Rc<Sessions>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) served: JoinHandle<()>,
    pub(super) address: SocketAddr,
}

impl House {
    pub(super) async fn client(&self) -> Stranger {
        Stranger(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client past READY.
    pub(super) async fn started(&self, version: Version) -> Stranger {
        let mut client = self.client().await;
        client.start(version).await;
        client
    }

    /// Proves that others are served.
    pub(super) async fn serves_others(&self) {
        let mut other = self.started(Version::V4).await;
        other.send(&query(1, "still here")).await;
        assert_eq!(other.answer().await.text(), "still here");
    }

    /// Returns once this many clients are here.
    pub(super) async fn holds(&self, clients: usize) {
        eventually(|| self.sessions.len() == clients).await;
    }
}

pub(super) fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    }
}

pub(super) const fn in_flight(max: usize) -> NonZeroUsize {
    NonZeroUsize::new(max).unwrap()
}

pub(super) const fn bytes(max: u32) -> NonZeroU32 {
    NonZeroU32::new(max).unwrap()
}

/// Runs a test in a house of these terms, which offers versions up to 4.
pub(super) async fn house(config: Config, test: impl AsyncFnOnce(&mut House)) {
    house_up_to(Version::V4, config, test).await;
}

/// The same, up to another version.
pub(super) async fn house_up_to(
    version: Version,
    config: Config,
    test: impl AsyncFnOnce(&mut House),
) {
    let users = None;
    house_of(
        Terms {
            version,
            config,
            users,
        },
        test,
    )
    .await;
}

/// What clients find.
pub(super) struct Terms {
    pub(super) version: Version,
    pub(super) config: Config,
    pub(super) users: Option<Arc<Users>>,
}

/// The same, where clients may have to log in.
pub(super) async fn house_of(terms: Terms, test: impl AsyncFnOnce(&mut House)) {
    let Terms {
        version,
        config,
        users,
    } = terms;
    let run = async {
        let echo = Echo::new();
        let door = users.map_or(Door::Open, Door::Users);
        let sessions = Sessions::secured(config, version, None, door);
        let mut acceptor = Acceptor::bind(&config).unwrap();
        let (address, arrivals) = (acceptor.address().unwrap(), acceptor.arrivals());
        let (stop, stopped) = watch::channel(false);
        spawn_local(acceptor.run(stopped.clone()));
        let work = serve(
            arrivals,
            Rc::clone(&echo),
            Rc::clone(&sessions),
            stopped,
            GRACE,
        );
        let mut house = House {
            echo,
            sessions,
            stop,
            served: spawn_local(work),
            address,
        };
        test(&mut house).await;
    };
    LocalSet::new().run_until(run).await;
}

/// Runs the others until it is so.
pub(super) async fn eventually(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, wait).await.expect("it never was so");
}

/// A client that speaks bytes.
pub(super) struct Stranger(pub(super) TcpStream);

/// One frame of the proxy's.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) stream: i16,
    pub(super) opcode: u8,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        assert_eq!(self.opcode, 0x08, "no RESULT: {self:?}");
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Code and sentence of an ERROR.
    pub(super) fn error(&self) -> (i32, String) {
        assert_eq!(self.opcode, 0x00, "no ERROR: {self:?}");
        let mut cursor = Cursor::new(&self.body);
        (cursor.i32().unwrap(), cursor.string().unwrap().to_owned())
    }
}

impl Stranger {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(SOON, self.0.write_all(bytes)).await;
        sent.expect("in time").expect("sent");
    }

    pub(super) async fn start(&mut self, version: Version) {
        self.send(&startup(version)).await;
        let ready = self.answer().await;
        assert_eq!((ready.opcode, ready.version), (0x02, version.number()));
    }

    /// Whatever comes next, at least a byte.
    pub(super) async fn some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let read = timeout(SOON, self.0.read(&mut bytes))
            .await
            .expect("in time");
        bytes.truncate(read.expect("read"));
        assert!(!bytes.is_empty(), "the end");
        bytes
    }

    pub(super) async fn answer(&mut self) -> Answer {
        let answer = timeout(SOON, self.read()).await.expect("in time");
        answer.expect("a frame, not the end")
    }

    /// Reads to the end of the connection: nothing more may come before it.
    pub(super) async fn closed(&mut self) {
        let more = timeout(SOON, self.read()).await.expect("in time");
        assert!(more.is_none(), "not closed, but {more:?}");
    }

    async fn read(&mut self) -> Option<Answer> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.ok()?;
        let [version, flags, s0, s1, opcode, length @ ..] = header;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).await.ok()?;
        assert_ne!(version & 0x80, 0, "an answer has the direction bit");
        Some(Answer {
            version: version & 0x7F,
            flags,
            stream: i16::from_be_bytes([s0, s1]),
            opcode,
            body,
        })
    }
}

pub(super) fn frame(version: Version, stream: i16, opcode: Opcode, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let begun = put::begin(&mut out, (version, Direction::Request), 0, stream, opcode);
    out.extend_from_slice(body);
    put::end(&mut out, begun);
    out
}

pub(super) fn startup(version: Version) -> Vec<u8> {
    let mut body = vec![0, 1];
    put::string(&mut body, "CQL_VERSION");
    put::string(&mut body, "3.0.0");
    frame(version, 0, Opcode::Startup, &body)
}

pub(super) fn options(stream: i16) -> Vec<u8> {
    frame(Version::V4, stream, Opcode::Options, &[])
}

/// A request whose body tells [`Echo`] what to do.
pub(super) fn query(stream: i16, text: &str) -> Vec<u8> {
    frame(Version::V4, stream, Opcode::Query, text.as_bytes())
}

pub(super) fn register(version: Version, stream: i16, event: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    put::string(&mut body, event);
    frame(version, stream, Opcode::Register, &body)
}
