//! What clients are told without asking, by a whole process over one node that comes and goes.
#![allow(
    clippy::disallowed_methods,
    reason = "a test, with no runtime to block"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::process::{Process, QUIET, SOON, eventually, read};
use helix_proxy::wire::put;
use rustix::process::Signal;

/// Far more than an event takes.
const A_WHILE: Duration = Duration::from_millis(1_500);
const EVENT: u8 = 0x0C;
const SCHEMA: &[u8] = b"\0\x0dSCHEMA_CHANGE\0\x07CREATED\0\x08KEYSPACE\0\x04shop";

/// One frame: its version, opcode and body.
type Got = (u8, u8, Vec<u8>);

/// A node that says who it is and knows no tables.
struct Node {
    address: SocketAddr,
    /// Its connections, while it is up.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
    /// Those that registered.
    told: Arc<Mutex<Vec<TcpStream>>>,
}

impl Node {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::new(Mutex::new(Some(Vec::new()))),
            told: Arc::default(),
        };
        let (open, told) = (Arc::clone(&node.open), Arc::clone(&node.told));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // While it is down whoever comes is hung up on.
                if let Some(open) = &mut *open.lock().unwrap() {
                    open.push(stream.try_clone().unwrap());
                    let told = Arc::clone(&told);
                    thread::spawn(move || serve(stream, &told));
                }
            }
        });
        node
    }

    fn goes(&self) {
        let open = self.open.lock().unwrap().take();
        for stream in open.into_iter().flatten() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn returns(&self) {
        self.told.lock().unwrap().clear();
        *self.open.lock().unwrap() = Some(Vec::new());
    }

    fn tells(&self, event: &[u8]) {
        self.tells_often(event, 1);
    }

    fn tells_often(&self, event: &[u8], times: usize) {
        let told = frame(0x84, [0xFF; 2], EVENT, event).repeat(times);
        // Others than the proxy's own line register, too, and leave.
        eventually(|| {
            let mut registered = self.told.lock().unwrap();
            registered.retain_mut(|stream| stream.write_all(&told).is_ok());
            (!registered.is_empty()).then_some(())
        });
    }
}

fn serve(mut stream: TcpStream, told: &Mutex<Vec<TcpStream>>) {
    while let Ok((head, body)) = read(&mut stream) {
        let version = head[0] & 0x7F;
        let mut out = Vec::new();
        let opcode = match head[4] {
            _ if 4 < version => {
                put::i32(&mut out, 0x000A);
                put::string(&mut out, "Invalid or unsupported protocol version");
                0x00
            }
            0x05 => {
                put::u16(&mut out, 0);
                0x06
            }
            0x07 if body.windows(12).any(|at| at == b"system.local") => {
                let cells: [&[u8]; 7] = [
                    b"fake", b"3.4.5", b"dc1", b"Murmur3", b"r1", b"4.1.0", &[0; 16],
                ];
                for number in [2, 4, 7, 1] {
                    put::i32(&mut out, number);
                }
                cells.iter().for_each(|cell| put::bytes(&mut out, cell));
                0x08
            }
            0x07 => {
                for number in [2, 4, 6, 0] {
                    put::i32(&mut out, number);
                }
                0x08
            }
            _ => 0x02,
        };
        let answer = frame(0x80 | version.min(4), [head[2], head[3]], opcode, &out);
        if stream.write_all(&answer).is_err() {
            return;
        }
        if head[4] == 0x0B {
            told.lock().unwrap().push(stream.try_clone().unwrap());
        }
    }
}

/// A proxy over one node.
struct Stage {
    node: Node,
    process: Process,
}

impl Stage {
    fn new(at: IpAddr) -> Self {
        let node = Node::new();
        let process = Process::start(node.address, at, Stdio::null());
        let stage = Self { node, process };
        stage.until_ready(true);
        stage
    }

    fn client(&self, registers: &[&str]) -> Client {
        Client::new(self.process.listen, registers)
    }

    fn until_ready(&self, wanted: bool) {
        eventually(|| (self.is_ready() == Some(wanted)).then_some(()));
    }

    fn is_ready(&self) -> Option<bool> {
        let page = self.process.get("/health/ready")?;
        Some(page.starts_with("HTTP/1.1 200"))
    }
}

/// A client that asks nothing.
struct Client(TcpStream);

impl Client {
    fn new(proxy: SocketAddr, registers: &[&str]) -> Self {
        let mut client = Self(TcpStream::connect(proxy).unwrap());
        client.ask(0x01, &["CQL_VERSION", "3.0.0"], 1);
        if !registers.is_empty() {
            client.ask(0x0B, registers, registers.len());
        }
        client
    }

    /// Asks with a map or a list of so many texts; READY is the answer.
    fn ask(&mut self, opcode: u8, texts: &[&str], count: usize) {
        let mut body = Vec::new();
        put::u16(&mut body, u16::try_from(count).unwrap());
        texts.iter().for_each(|text| put::string(&mut body, text));
        self.0.write_all(&frame(4, [0, 1], opcode, &body)).unwrap();
        let (_, opcode, _) = self.within(SOON).expect("an answer");
        assert_eq!(opcode, 0x02);
    }

    /// What comes in this time; nothing also at the end of the connection.
    fn within(&mut self, time: Duration) -> Option<Got> {
        self.0.set_read_timeout(Some(time)).unwrap();
        match read(&mut self.0) {
            Ok((head, body)) => Some((head[0], head[4], body)),
            Err(error) => {
                let is_silence =
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                let is_end = matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                );
                assert!(is_silence || is_end, "{error}");
                None
            }
        }
    }

    fn is_told(&mut self, event: &[u8]) {
        let told = self.within(SOON);
        assert_eq!(told, Some((0x84, EVENT, event.to_vec())));
    }

    fn is_told_nothing(&mut self) {
        assert_eq!(self.within(A_WHILE), None);
    }
}

const ALL: [&str; 3] = ["SCHEMA_CHANGE", "STATUS_CHANGE", "TOPOLOGY_CHANGE"];

#[test]
fn a_client_is_told_once_when_a_cluster_serves_again_and_not_when_none_does() {
    for at in ["127.0.0.77", "::1"] {
        let stage = Stage::new(at.parse().unwrap());
        let mut told = stage.client(&ALL);
        let mut others = [
            stage.client(&[]),
            stage.client(&["SCHEMA_CHANGE"]),
            stage.client(&["TOPOLOGY_CHANGE"]),
        ];
        stage.node.goes();
        stage.until_ready(false);
        told.is_told_nothing();
        stage.node.returns();
        told.is_told(&status("UP", stage.process.listen));
        told.is_told_nothing();
        others.iter_mut().for_each(Client::is_told_nothing);
    }
}

#[test]
fn what_happens_behind_the_proxy_is_not_told_but_for_the_schema() {
    let stage = Stage::new(QUIET);
    let (mut told, mut other) = (stage.client(&ALL), stage.client(&["STATUS_CHANGE"]));
    let peer = "127.0.0.9:9042".parse().unwrap();
    for node in [peer, stage.node.address, stage.process.listen] {
        for change in ["UP", "DOWN"] {
            stage.node.tells(&status(change, node));
        }
        for change in ["NEW_NODE", "REMOVED_NODE", "MOVED_NODE"] {
            stage
                .node
                .tells(&change_of("TOPOLOGY_CHANGE", change, node));
        }
    }
    told.is_told_nothing();
    stage.node.tells(SCHEMA);
    told.is_told(SCHEMA);
    told.is_told_nothing();
    other.is_told_nothing();
}

#[test]
fn who_follows_the_schema_connects_again_after_more_changes_than_can_be_told() {
    let stage = Stage::new(QUIET);
    let (mut told, mut other) = (stage.client(&ALL), stage.client(&["STATUS_CHANGE"]));
    stage.node.tells(SCHEMA);
    told.is_told(SCHEMA);
    stage.node.tells_often(SCHEMA, 1_000);
    while told.within(SOON).is_some() {}
    assert_eq!(told.0.read(&mut [0]).unwrap(), 0, "its end");
    other.ask(0x0B, &["STATUS_CHANGE"], 1);
    let mut anew = stage.client(&ALL);
    stage.node.tells(SCHEMA);
    anew.is_told(SCHEMA);
}

#[test]
fn a_proxy_that_stops_says_so_by_closing_and_by_no_event() {
    let stage = Stage::new(QUIET);
    let mut told = stage.client(&ALL);
    stage.process.signal(Signal::TERM);
    assert_eq!(told.within(SOON), None);
    assert_eq!(told.0.read(&mut [0]).unwrap(), 0, "its end");
}

fn status(change: &str, node: SocketAddr) -> Vec<u8> {
    change_of("STATUS_CHANGE", change, node)
}

fn change_of(event: &str, change: &str, node: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    put::string(&mut out, event);
    put::string(&mut out, change);
    let address = match node.ip() {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    out.push(u8::try_from(address.len()).unwrap());
    out.extend(address);
    put::i32(&mut out, node.port().into());
    out
}

fn frame(first: u8, stream: [u8; 2], opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first, 0, stream[0], stream[1], opcode];
    out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}
