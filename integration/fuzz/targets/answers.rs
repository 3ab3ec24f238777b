//! Any bytes as each answer of a node, in each version and behind any prefix. What is read stands in the
//! bytes where the specification puts it, what is passed on changed is as long as it should be and
//! reads the same, and no count of a node's is ever what is allocated.
//!
//! The first two bytes of the input say version, message and header flags, the rest is the body.
#![no_main]

use helix_proxy::cluster::call::Reply;
use helix_proxy::wire::header::{Direction, FLAG_PAYLOAD, FLAG_TRACING, FLAG_WARNINGS};
use helix_proxy::wire::response::error::{self, Error};
use helix_proxy::wire::response::event::Event;
use helix_proxy::wire::response::result::{self, Prepared, ROWS, ROWS_MORE_PAGES, Rows};
use helix_proxy::wire::response::supported;
use helix_proxy::wire::{Consistency, Cursor, Frame, Opcode, Version, code, put};
use helix_proxy_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

const PREFIXES: u8 = FLAG_PAYLOAD | FLAG_TRACING | FLAG_WARNINGS;
const OUR_ID: &[u8] = &[0x1D; 16];
const TAG: &[u8] = b"side";

fuzz_target!(|bytes: &[u8]| {
    let Some((&[which, flags], body)) = bytes.split_first_chunk() else {
        return;
    };
    let version = Version::ALL[usize::from(which % 3)];
    let opcode = match which / 3 % 5 {
        0 => Opcode::Error,
        1 => Opcode::Event,
        2 => Opcode::Supported,
        _ => Opcode::Result,
    };
    let frame = framed(version, flags, opcode, body);
    let (frame, rest) = Frame::scan(&frame, Direction::Response, usize::MAX)
        .expect("a header")
        .expect("whole");
    assert!(rest.is_empty());
    bounded(body.len(), || reply(&frame));
    let Some(content) = behind_prefix(&frame) else {
        return assert!(!result::is_known(&frame));
    };
    match opcode {
        Opcode::Error => error(content),
        Opcode::Event => event(content),
        Opcode::Supported => supported(content),
        _ => result(&frame, content, version),
    }
});

fn framed(version: Version, flags: u8, opcode: Opcode, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let begun = put::begin(&mut out, (version, Direction::Response), flags, 1, opcode);
    out.extend_from_slice(body);
    put::end(&mut out, begun);
    out
}

/// What an awaited call makes of it: an ERROR is one however it is broken.
fn reply(frame: &Frame<'_>) {
    let reply = Reply {
        flags: frame.header.flags,
        opcode: frame.header.opcode,
        body: frame.body.to_vec(),
    };
    let is_error = frame.header.opcode == Opcode::Error;
    assert_eq!(reply.error().is_some(), is_error);
    assert_eq!(reply.content().is_ok(), frame.content().is_ok());
}

/// Prefix and content are the body, cut once.
fn behind_prefix<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    let (prefix, content) = bounded(frame.body.len(), || frame.content()).ok()?;
    let content = content.rest();
    assert_eq!(prefix.bytes.len() + content.len(), frame.body.len());
    assert!(frame.body.starts_with(prefix.bytes) && frame.body.ends_with(content));
    let traced = frame.header.flags & FLAG_TRACING != 0;
    assert_eq!(prefix.tracing, traced.then(|| &frame.body[..16]));
    assert!(frame.header.flags & PREFIXES != 0 || prefix.bytes.is_empty());
    Some(content)
}

fn number(content: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(content[at..at + 4].try_into().expect("four"))
}

fn string_len(content: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([content[at], content[at + 1]]))
}

fn error(content: &[u8]) {
    let unknown = bounded(content.len(), || {
        error::is_write_unknown(Cursor::new(content))
    });
    if let Ok(unknown) = unknown {
        let code = number(content, 0);
        let may = [
            code::WRITE_TIMEOUT,
            code::WRITE_FAILURE,
            code::CAS_WRITE_UNKNOWN,
        ];
        assert!(!unknown || may.contains(&code), "{code:#x}");
        let refused = code::effect(code, true) == code::Effect::Refused;
        assert!(!unknown || !refused, "{code:#x} is definite");
    }
    let Ok(read) = bounded(content.len(), || Error::parse(Cursor::new(content))) else {
        return;
    };
    let end = 6 + string_len(content, 4);
    assert_eq!(read.code, number(content, 0));
    assert_eq!(read.message.as_bytes(), &content[6..end]);
    let id = |id: &[u8]| content[end + 2..].starts_with(id) && id.len() == string_len(content, end);
    assert_eq!(read.unprepared.is_some(), read.code == code::UNPREPARED);
    assert!(read.unprepared.is_none_or(id));
    tails(&read);
}

/// The errors of our own read as what they are.
fn tails(read: &Error<'_>) {
    let at = Consistency::ONE;
    let unknown = |body: &[u8]| error::is_write_unknown(Cursor::new(body));
    for version in Version::ALL {
        let mut body = Vec::new();
        let (of, write_type) = ((read.code, 2), (read.message, version));
        error::put_write_timeout(&mut body, read.message, at, of, write_type);
        assert_eq!(unknown(&body), Ok(read.message != "BATCH_LOG"));
        let wide = version == Version::V5 && read.message == "CAS";
        let length = 4 + 2 * (2 + read.message.len()) + 10 + if wide { 2 } else { 0 };
        assert_eq!(body.len(), length);
    }
    let mut body = Vec::new();
    error::put_unprepared(&mut body, read.message, OUR_ID);
    let again = Error::parse(Cursor::new(&body)).expect("our own");
    assert_eq!(
        (again.message, again.unprepared),
        (read.message, Some(OUR_ID))
    );
}

fn event(content: &[u8]) {
    let Ok(read) = bounded(content.len(), || Event::parse(Cursor::new(content))) else {
        return;
    };
    let (kind, rest) = content[2..].split_at(string_len(content, 0));
    match read {
        Event::Schema { keyspace } => {
            assert_eq!(kind, b"SCHEMA_CHANGE");
            let change = 2 + string_len(rest, 0);
            let at = change + 2 + string_len(rest, change);
            assert_eq!(keyspace.len(), string_len(rest, at));
            assert!(rest[at + 2..].starts_with(keyspace.as_bytes()));
        }
        Event::Status => assert_eq!(kind, b"STATUS_CHANGE"),
        Event::Topology => assert_eq!(kind, b"TOPOLOGY_CHANGE"),
    }
}

fn supported(content: &[u8]) {
    let read = bounded(content.len(), || supported::versions(Cursor::new(content)));
    if let Ok(Some(version)) = read {
        let named = |needle: &[u8]| content.windows(needle.len()).any(|it| it == needle);
        assert!(named(b"PROTOCOL_VERSIONS"));
        let number = b'0' + version.number();
        assert!(named(&[number, b'/']), "{version:?} is not offered");
    }
}

fn result(frame: &Frame<'_>, content: &[u8], version: Version) {
    let kind = content.len().ge(&4).then(|| number(content, 0));
    let known = kind.is_some_and(|kind| (1..=5).contains(&kind));
    assert_eq!(result::is_known(frame), known);
    paging(content);
    rows(content);
    prepared(content, version);
}

/// A page with a paging state goes on with a tag before it.
fn paging(content: &[u8]) {
    let read = bounded(content.len(), || result::paging(Cursor::new(content)));
    let Ok(Some(page)) = read else { return };
    assert_eq!(number(content, 0), ROWS);
    assert_ne!(number(content, 4) & ROWS_MORE_PAGES, 0);
    assert_eq!(page.head, &content[..12]);
    let is_null = number(content, 12) < 0;
    assert!(content[16..].starts_with(page.state) && (!is_null || page.state.is_empty()));
    assert_eq!(page.tail, &content[16 + page.state.len()..]);

    let mut out = page.head.to_vec();
    put::bytes(&mut out, &[TAG, page.state].concat());
    out.extend_from_slice(page.tail);
    assert_eq!(out.len(), content.len() + TAG.len());
    let again = result::paging(Cursor::new(&out)).expect("our own");
    let again = again.expect("a page");
    assert_eq!(again.state, [TAG, page.state].concat());
    assert_eq!((again.head, again.tail), (page.head, page.tail));
    let rows = |content| Rows::parse(Cursor::new(content)).map(|rows| rows.iter().count());
    assert_eq!(rows(&out[..]), rows(content));
}

fn rows(content: &[u8]) {
    let Ok(rows) = bounded(content.len(), || Rows::parse(Cursor::new(content))) else {
        return;
    };
    let columns = usize::try_from(number(content, 8)).unwrap_or(0);
    let read: Vec<_> = bounded(content.len(), || rows.iter().collect());
    let cell = |cell: &Option<&[u8]>| 4 + cell.map_or(0, <[u8]>::len);
    let bytes: usize = read.iter().flatten().map(cell).sum();
    assert!(bytes <= content.len(), "cells stand in the body once");
    assert!(read.iter().all(|row| row.len() == columns));
}

fn prepared(content: &[u8], version: Version) {
    let read = bounded(content.len(), || {
        Prepared::parse(Cursor::new(content), version)
    });
    let Ok(read) = read else { return };
    let columns_id = match version {
        Version::V3 | Version::V4 => 0,
        Version::V5 => 2 + read.columns_id.len(),
    };
    let head = 4 + 2 + read.id.len() + columns_id;
    assert_eq!(&content[head..], read.metadata);
    assert_eq!(&content[6..6 + read.id.len()], read.id);
    assert!(read.metadata.ends_with(read.columns));

    let mut out = Vec::new();
    read.put(&mut out, OUR_ID, version);
    assert_eq!(out.len(), content.len() - read.id.len() + OUR_ID.len());
    let again = Prepared::parse(Cursor::new(&out), version).expect("our own");
    assert_eq!((again.id, again.columns_id), (OUR_ID, read.columns_id));
    assert_eq!(
        (again.metadata, again.columns),
        (read.metadata, read.columns)
    );
    let types = bounded(content.len(), || read.bind_types());
    assert_eq!(types, again.bind_types());
    key_places(&read, version);
}

fn key_places(read: &Prepared<'_>, version: Version) {
    let metadata = read.metadata;
    let places = bounded(metadata.len(), || {
        result::key_places(Cursor::new(metadata), version)
    });
    let places = places.expect("it was walked when it was parsed");
    let count = match version {
        Version::V3 => 0,
        Version::V4 | Version::V5 => usize::try_from(number(metadata, 8)).unwrap_or(0),
    };
    assert_eq!(places.len(), count);
    let written: Vec<u8> = places.iter().flat_map(|it| it.to_be_bytes()).collect();
    assert!(count == 0 || metadata[12..].starts_with(&written));
}
