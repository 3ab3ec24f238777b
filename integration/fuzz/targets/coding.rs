//! Any bytes as compressed bodies: nothing grows beyond its limit or beyond what the bytes can become,
//! and what was sealed opens to what it was. Segments have a target of their own.
#![no_main]

use helix_proxy::wire::coding::{Coding, Compression, Tools, open_body};
use helix_proxy::wire::header::{Direction, FLAG_COMPRESSED};
use helix_proxy::wire::{Frame, Opcode, Version, put};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;
/// The most that one compressed byte can become, in LZ4.
const GROWTH: usize = 255;

fuzz_target!(|bytes: &[u8]| {
    for compression in [Compression::Lz4, Compression::Snappy] {
        let mut room = Vec::new();
        if open_body(compression, bytes, LIMIT, &mut room).is_ok() {
            assert!(room.len() <= LIMIT);
        }
        assert!(room.capacity() <= LIMIT.min(bytes.len() * GROWTH));
        sealed(compression, bytes);
    }
});

/// Two frames, of which the first may be worth compressing.
fn sealed(compression: Compression, body: &[u8]) {
    let mut frames = Vec::new();
    for body in [&body.repeat(2), &body[..body.len().min(3)]] {
        let way = (Version::V4, Direction::Request);
        let begun = put::begin(&mut frames, way, 0, 1, Opcode::Query);
        frames.extend_from_slice(body);
        put::end(&mut frames, begun);
    }
    let mut out = Vec::new();
    Coding::Bodies(compression).seal(&frames, &mut out, &mut Tools::default());
    assert!(out.len() <= frames.len(), "sealing never makes it longer");
    assert_eq!(opened(compression, &out), frames);
}

fn opened(compression: Compression, mut sealed: &[u8]) -> Vec<u8> {
    let (mut frames, mut room) = (Vec::new(), Vec::new());
    while !sealed.is_empty() {
        let scanned = Frame::scan(sealed, Direction::Request, LIMIT);
        let (frame, rest) = scanned.expect("our own").expect("whole");
        let is_compressed = frame.header.flags & FLAG_COMPRESSED != 0;
        let mut body = frame.body;
        if is_compressed {
            open_body(compression, body, LIMIT, &mut room).expect("our own");
            body = &room;
        }
        let flags = sealed[1] & !FLAG_COMPRESSED;
        frames.extend([sealed[0], flags, sealed[2], sealed[3], sealed[4]]);
        let length = u32::try_from(body.len()).expect("below the limit");
        frames.extend(length.to_be_bytes());
        frames.extend_from_slice(body);
        sealed = rest;
    }
    frames
}
