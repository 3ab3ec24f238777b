//! Before the first request: connections, handshakes, prepared statements.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Kind, What};
use crate::Fault;
use crate::coding::Coding;
use crate::wire::{Body, Cursor, HEADER, Header, kind, opcode, put_frame};

/// PREPAREs on their way at once.
const PREPARES: u32 = 64;

/// Bytes of a value.
const VALUE: usize = 100;
/// The same of a large one.
const LARGE: usize = 1 << 20;
const KEY: usize = 16;

/// What a client speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tongue<'a> {
    pub(crate) version: u8,
    pub(crate) compression: Option<&'a str>,
}

impl Tongue<'_> {
    pub(crate) const PLAIN: Self = Self {
        version: 4,
        compression: None,
    };

    pub(crate) fn coding(self) -> Coding {
        Coding::of(self.version, self.compression)
    }
}

/// A whole EXECUTE frame in which stream and key are yet to be filled in.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) frame: Vec<u8>,
    /// Where the 16 bytes of the key stand.
    pub(super) key: usize,
}

/// Opens all connections and completes their handshakes.
pub(super) fn connect(
    target: &str,
    connections: usize,
    tongue: Tongue<'_>,
) -> Result<Vec<TcpStream>, Fault> {
    if connections == 0 {
        return Err("at least one connection".into());
    }
    let open = |_| {
        let mut socket = TcpStream::connect(target)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        handshake(&mut socket, tongue)?;
        Ok(socket)
    };
    (0..connections).map(open).collect()
}

/// STARTUP to READY.
pub(crate) fn handshake(socket: &mut TcpStream, tongue: Tongue<'_>) -> Result<(), Fault> {
    let mut body = Body::default()
        .short(1 + usize::from(tongue.compression.is_some()))
        .string("CQL_VERSION")
        .string("3.0.0");
    if let Some(compression) = tongue.compression {
        body = body.string("COMPRESSION").string(compression);
    }
    let mut out = Vec::new();
    put_frame(&mut out, tongue.version, [0, 0], opcode::STARTUP, &body.0);
    socket.write_all(&out)?;
    let (header, _) = read_frame(&mut *socket)?;
    if header.opcode != opcode::READY {
        return Err(format!("STARTUP answered with opcode {}", header.opcode).into());
    }
    Ok(())
}

/// Reads one frame from a blocking socket.
pub(crate) fn read_frame(mut socket: impl Read) -> Result<(Header, Vec<u8>), Fault> {
    let mut head = [0; HEADER];
    socket.read_exact(&mut head)?;
    let header = Header::read(&head).ok_or("no header")?;
    let mut body = vec![0; header.length];
    socket.read_exact(&mut body)?;
    Ok((header, body))
}

/// Frames from a blocking socket, unwrapped.
struct Unwrapped<'a> {
    socket: &'a TcpStream,
    coding: Coding,
    raw: Vec<u8>,
    frames: Vec<u8>,
}

impl Unwrapped<'_> {
    fn next(&mut self) -> Result<(Header, Vec<u8>), Fault> {
        loop {
            let whole = Header::read(&self.frames)
                .filter(|header| HEADER + header.length <= self.frames.len());
            if let Some(header) = whole {
                let frame: Vec<u8> = self.frames.drain(..HEADER + header.length).collect();
                return Ok((header, frame[HEADER..].to_vec()));
            }
            let mut some = [0; 4096];
            let read = self.socket.read(&mut some)?;
            if read == 0 {
                return Err("the end, where a frame was expected".into());
            }
            self.raw.extend_from_slice(&some[..read]);
            let taken = self.coding.open(&self.raw, &mut self.frames)?;
            self.raw.drain(..taken);
        }
    }
}

/// Prepares `count` different texts of one shape and makes the EXECUTE of each.
pub(super) fn prepare(
    socket: &TcpStream,
    tongue: Tongue<'_>,
    what: What,
    count: u32,
) -> Result<Vec<Request>, Fault> {
    let coding = tongue.coding();
    let mut answers = Unwrapped {
        socket,
        coding,
        raw: Vec::new(),
        frames: Vec::new(),
    };
    let numbers: Vec<u32> = (0..count.max(1)).collect();
    let mut requests = Vec::with_capacity(numbers.len());
    for chunk in numbers.chunks(PREPARES as usize) {
        let mut out = Vec::new();
        for number in chunk {
            let mut body = Body::default().long_string(&text(what, *number));
            if tongue.version == 5 {
                body = body.int(0);
            }
            let stream = stream(*number);
            put_frame(&mut out, tongue.version, stream, opcode::PREPARE, &body.0);
        }
        let mut wrapped = Vec::new();
        coding.seal(&out, &mut wrapped);
        let mut socket = socket;
        socket.write_all(&wrapped)?;
        // Answers may come in any order; the order of the statements is of no meaning.
        for _ in chunk {
            let (header, body) = answers.next()?;
            let (id, columns) = prepared_ids(tongue.version, header, &body)?;
            requests.push(execute(tongue.version, what, id, columns));
        }
    }
    Ok(requests)
}

fn stream(number: u32) -> [u8; 2] {
    let [_, _, _, low] = (number % PREPARES).to_be_bytes();
    [0, low]
}

fn text(What { kind, large }: What, number: u32) -> String {
    let table = if large { "bench.large" } else { "bench.t" };
    let plain = match kind {
        Kind::Read => format!("SELECT v FROM {table} WHERE k = ?"),
        Kind::Write => format!("INSERT INTO {table} (k, v) VALUES (?, ?)"),
    };
    match (kind, number) {
        (_, 0) => plain,
        (Kind::Read, number) => format!("{plain} LIMIT {number}"),
        (Kind::Write, number) => format!("{plain} /* {number} */"),
    }
}

/// The statement's id, and in version 5 that of its columns.
fn prepared_ids(version: u8, header: Header, body: &[u8]) -> Result<(&[u8], Option<&[u8]>), Fault> {
    let mut cursor = Cursor(body);
    if header.opcode != opcode::RESULT || cursor.int() != Some(kind::PREPARED) {
        let said = String::from_utf8_lossy(body);
        return Err(format!("PREPARE answered with opcode {}: {said}", header.opcode).into());
    }
    let id = cursor.short_bytes().ok_or("PREPARED without an id")?;
    if version < 5 {
        return Ok((id, None));
    }
    let columns = cursor
        .short_bytes()
        .ok_or("PREPARED without an id of columns")?;
    Ok((id, Some(columns)))
}

fn execute(version: u8, what: What, id: &[u8], columns: Option<&[u8]>) -> Request {
    const ONE: usize = 1;
    const VALUES: u8 = 1;
    let body = Body::default().short_bytes(id);
    let body = match columns {
        Some(columns) => body.short_bytes(columns).short(ONE).int(VALUES.into()),
        None => body.short(ONE).byte(VALUES),
    };
    let values = body.0.len();
    let value = vec![b'v'; if what.large { LARGE } else { VALUE }];
    let body = match what.kind {
        Kind::Read => body.short(1).bytes(Some(&[b'0'; KEY])),
        Kind::Write => body.short(2).bytes(Some(&[b'0'; KEY])).bytes(Some(&value)),
    };
    let mut frame = Vec::new();
    put_frame(&mut frame, version, [0, 0], opcode::EXECUTE, &body.0);
    let key = HEADER + values + 2 + 4;
    Request { frame, key }
}
