//! One request in, one answer out.

use std::net::SocketAddr;

use super::prepared::{Kind, Prepared};
use super::rows::Rows;
use super::schema::Schema;
use crate::wire::{Body, Cursor, Header, kind, opcode, put_frame};

const PROTOCOL_ERROR: i32 = 0x000A;
const SYNTAX_ERROR: i32 = 0x2000;
const INVALID: i32 = 0x2200;
const UNPREPARED: i32 = 0x2500;

/// The flag of EXECUTE and QUERY that leaves the columns out of the answer.
const SKIP_METADATA: u8 = 0x02;

/// The bytes that every row of `bench.t` holds.
const VALUE: [u8; 100] = [b'v'; 100];
/// The same of `bench.large`: how many.
const LARGE: usize = 1 << 20;

/// Everything that an answer is made from.
pub(super) struct Answers {
    schema: Schema,
    prepared: Prepared,
    /// Whole frames, but for version and stream.
    void: Vec<u8>,
    row: Vec<u8>,
    row_bare: Vec<u8>,
    large: Vec<u8>,
    large_bare: Vec<u8>,
}

impl Answers {
    pub(super) fn new(address: SocketAddr) -> Self {
        let framed = |body: &[u8]| {
            let mut frame = Vec::new();
            put_frame(&mut frame, 0, [0, 0], opcode::RESULT, body);
            frame
        };
        let row = Rows::one_value("bench", "t", "v", &VALUE);
        let large = Rows::one_value("bench", "large", "v", &[b'v'; LARGE]);
        Self {
            schema: Schema::new(address),
            prepared: Prepared::default(),
            void: framed(&Body::default().int(kind::VOID).0),
            row: framed(&row.body(true).0),
            row_bare: framed(&row.body(false).0),
            large: framed(&large.body(true).0),
            large_bare: framed(&large.body(false).0),
        }
    }

    /// Adds the answer to `out`; false when the connection must end after it.
    pub(super) fn answer(&mut self, header: Header, body: &[u8], out: &mut Vec<u8>) -> bool {
        if !(3..=5).contains(&header.version) {
            return refuse_version(header, out);
        }
        if header.opcode == opcode::EXECUTE && self.execute(header, body, out) {
            return true;
        }
        let (answer, content) = match header.opcode {
            opcode::STARTUP | opcode::REGISTER => (opcode::READY, Body::default()),
            opcode::OPTIONS => (opcode::SUPPORTED, supported()),
            opcode::QUERY => self.query(Cursor(body)),
            opcode::PREPARE => self.prepare(header.version, Cursor(body)),
            opcode::EXECUTE => self.execute_other(header.version, Cursor(body)),
            opcode::BATCH => result(Body::default().int(kind::VOID)),
            _ => error(PROTOCOL_ERROR, "Unknown opcode"),
        };
        put_frame(
            out,
            header.version | 0x80,
            header.stream,
            answer,
            &content.0,
        );
        true
    }

    /// The hot path: the kind is read from the id, the answer is copied from a template.
    fn execute(&self, header: Header, body: &[u8], out: &mut Vec<u8>) -> bool {
        // [short bytes] id of 16, in version 5 another of the columns, [consistency], flags: their lowest byte
        let Some(&[0, 16, code]) = body.first_chunk::<3>() else {
            return false;
        };
        let flags = if header.version == 5 { 41 } else { 20 };
        let is_bare = body
            .get(flags)
            .is_some_and(|flags| flags & SKIP_METADATA != 0);
        let template = match (Kind::from_code(code), is_bare) {
            (Some(Kind::Void), _) => &self.void,
            (Some(Kind::Row), true) => &self.row_bare,
            (Some(Kind::Row), false) => &self.row,
            (Some(Kind::Large), true) => &self.large_bare,
            (Some(Kind::Large), false) => &self.large,
            (Some(Kind::System) | None, _) => return false,
        };
        let at = out.len();
        out.extend_from_slice(template);
        out[at] = header.version | 0x80;
        out[at + 2..at + 4].copy_from_slice(&header.stream);
        true
    }

    fn execute_other(&self, version: u8, mut body: Cursor<'_>) -> (u8, Body) {
        let id = body.short_bytes().unwrap_or_default();
        if version == 5 && body.short_bytes().is_none() {
            return error(PROTOCOL_ERROR, "No id of the columns");
        }
        let Some(text) = self.prepared.text(id) else {
            let (opcode, content) = error(UNPREPARED, "Prepared query with that ID not found");
            return (opcode, content.short_bytes(id));
        };
        let with_metadata = body.take(if version == 5 { 5 } else { 2 }).is_none()
            || body.byte().is_none_or(|flags| flags & SKIP_METADATA == 0);
        self.system(text, with_metadata)
    }

    fn query(&self, mut body: Cursor<'_>) -> (u8, Body) {
        let Some(text) = body.long_string() else {
            return error(PROTOCOL_ERROR, "No query text");
        };
        let text = text.trim().to_lowercase();
        match text.split_whitespace().next().unwrap_or_default() {
            "select" if Kind::of(&text) == Kind::System => self.system(&text, true),
            "select" => result(Rows::one_value("bench", "t", "v", &VALUE).body(true)),
            "use" => {
                let name = text.trim_start_matches("use").trim_matches([' ', ';', '"']);
                result(Body::default().int(kind::SET_KEYSPACE).string(name))
            }
            "create" => result(schema_change("CREATED")),
            "alter" => result(schema_change("UPDATED")),
            "drop" => result(schema_change("DROPPED")),
            "" => error(SYNTAX_ERROR, "no viable alternative at input"),
            _ => result(Body::default().int(kind::VOID)),
        }
    }

    fn system(&self, text: &str, with_metadata: bool) -> (u8, Body) {
        match self.schema.select(text) {
            Ok(rows) => result(rows.body(with_metadata)),
            Err(message) => error(INVALID, &message),
        }
    }

    fn prepare(&mut self, version: u8, mut body: Cursor<'_>) -> (u8, Body) {
        let Some(text) = body.long_string() else {
            return error(PROTOCOL_ERROR, "No query text");
        };
        let columns = match Kind::of(&text.to_lowercase()) {
            Kind::System => match self.schema.select(&text.to_lowercase()) {
                Ok(rows) => rows.metadata(),
                Err(message) => return error(INVALID, &message),
            },
            Kind::Row => Rows::one_value("bench", "t", "v", &VALUE).metadata(),
            Kind::Large => Rows::one_value("bench", "large", "v", &VALUE).metadata(),
            Kind::Void => Body::default().int(4).int(0),
        };
        result(self.prepared.answer(text, version, &columns))
    }
}

/// What Cassandra 5.0 says to a newer driver, in a frame that the driver can read.
fn refuse_version(header: Header, out: &mut Vec<u8>) -> bool {
    let text = format!(
        "Invalid or unsupported protocol version ({}); the lowest supported version is 3 and the \
         greatest is 5",
        header.version & 0x7F
    );
    let (opcode, content) = error(PROTOCOL_ERROR, &text);
    put_frame(out, 0x85, [0, 0], opcode, &content.0);
    // The connection stays: the peer hangs up once it has read why.
    true
}

fn supported() -> Body {
    let body = Body::default()
        .short(3)
        .string("CQL_VERSION")
        .short(1)
        .string("3.4.4");
    let body = body.string("COMPRESSION").short(2);
    body.string("lz4")
        .string("snappy")
        .string("PROTOCOL_VERSIONS")
        .short(3)
        .string("3/v3")
        .string("4/v4")
        .string("5/v5")
}

fn schema_change(change: &str) -> Body {
    let body = Body::default().int(kind::SCHEMA_CHANGE).string(change);
    body.string("TABLE").string("bench").string("t")
}

fn result(body: Body) -> (u8, Body) {
    (opcode::RESULT, body)
}

fn error(code: i32, text: &str) -> (u8, Body) {
    (opcode::ERROR, Body::default().int(code).string(text))
}
