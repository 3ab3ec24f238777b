//! Before the first request: connections, handshakes, prepared statements.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Kind;
use crate::Fault;
use crate::wire::{Body, Cursor, HEADER, Header, kind, opcode, put_frame};

/// PREPAREs on their way at once.
const PREPARES: u32 = 64;

const VALUE: [u8; 100] = [b'v'; 100];
const KEY: usize = 16;

/// A whole EXECUTE frame in which stream and key are yet to be filled in.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) frame: Vec<u8>,
    /// Where the 16 bytes of the key stand.
    pub(super) key: usize,
}

/// Opens all connections and completes their handshakes.
pub(super) fn connect(target: &str, connections: usize) -> Result<Vec<TcpStream>, Fault> {
    if connections == 0 {
        return Err("at least one connection".into());
    }
    let open = |_| {
        let mut socket = TcpStream::connect(target)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        handshake(&mut socket)?;
        Ok(socket)
    };
    (0..connections).map(open).collect()
}

/// STARTUP to READY in protocol v4.
pub(crate) fn handshake(socket: &mut TcpStream) -> Result<(), Fault> {
    let body = Body::default()
        .short(1)
        .string("CQL_VERSION")
        .string("3.0.0");
    let mut out = Vec::new();
    put_frame(&mut out, 4, [0, 0], opcode::STARTUP, &body.0);
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

/// Prepares `count` different texts of one shape and makes the EXECUTE of each.
pub(super) fn prepare(socket: &TcpStream, kind: Kind, count: u32) -> Result<Vec<Request>, Fault> {
    let numbers: Vec<u32> = (0..count.max(1)).collect();
    let mut requests = Vec::with_capacity(numbers.len());
    for chunk in numbers.chunks(PREPARES as usize) {
        let mut out = Vec::new();
        for number in chunk {
            let body = Body::default().long_string(&text(kind, *number));
            put_frame(&mut out, 4, stream(*number), opcode::PREPARE, &body.0);
        }
        let mut socket = socket;
        socket.write_all(&out)?;
        // Answers may come in any order; the order of the statements is of no meaning.
        for _ in chunk {
            let (header, body) = read_frame(socket)?;
            requests.push(execute(kind, prepared_id(header, &body)?));
        }
    }
    Ok(requests)
}

fn stream(number: u32) -> [u8; 2] {
    let [_, _, _, low] = (number % PREPARES).to_be_bytes();
    [0, low]
}

fn text(kind: Kind, number: u32) -> String {
    let plain = match kind {
        Kind::Read => "SELECT v FROM bench.t WHERE k = ?",
        Kind::Write => "INSERT INTO bench.t (k, v) VALUES (?, ?)",
    };
    match (kind, number) {
        (_, 0) => plain.to_owned(),
        (Kind::Read, number) => format!("{plain} LIMIT {number}"),
        (Kind::Write, number) => format!("{plain} /* {number} */"),
    }
}

fn prepared_id(header: Header, body: &[u8]) -> Result<&[u8], Fault> {
    let mut cursor = Cursor(body);
    if header.opcode != opcode::RESULT || cursor.int() != Some(kind::PREPARED) {
        let said = String::from_utf8_lossy(body);
        return Err(format!("PREPARE answered with opcode {}: {said}", header.opcode).into());
    }
    cursor
        .short_bytes()
        .ok_or_else(|| "PREPARED without an id".into())
}

fn execute(kind: Kind, id: &[u8]) -> Request {
    const ONE: usize = 1;
    const VALUES: u8 = 1;
    let body = Body::default().short_bytes(id).short(ONE).byte(VALUES);
    let body = match kind {
        Kind::Read => body.short(1).bytes(Some(&[b'0'; KEY])),
        Kind::Write => body.short(2).bytes(Some(&[b'0'; KEY])).bytes(Some(&VALUE)),
    };
    let mut frame = Vec::new();
    put_frame(&mut frame, 4, [0, 0], opcode::EXECUTE, &body.0);
    let key = HEADER + 2 + id.len() + 2 + 1 + 2 + 4;
    Request { frame, key }
}
