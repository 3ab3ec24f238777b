//! Any bytes as compressed bodies and as segments: nothing panics, nothing grows beyond its limit, and
//! what was sealed opens to what it was.
#![no_main]

use helix_proxy::wire::coding::{Coding, Compression, PAYLOAD_MAX, Segment, Tools, open_body};
use helix_proxy::wire::header::Direction;
use helix_proxy::wire::{Opcode, Version, put};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut room = Vec::new();
    for compression in [Compression::Lz4, Compression::Snappy] {
        if open_body(compression, bytes, LIMIT, &mut room).is_ok() {
            assert!(room.len() <= LIMIT);
        }
    }
    for lz4 in [false, true] {
        open(lz4, bytes);
        sealed(lz4, bytes);
    }
});

fn open(lz4: bool, mut bytes: &[u8]) {
    let mut room = Vec::new();
    while let Ok(Some((segment, rest))) = Segment::scan(lz4, bytes) {
        if let Ok(payload) = segment.open(&mut room) {
            assert!(payload.len() <= PAYLOAD_MAX);
        }
        assert!(rest.len() < bytes.len());
        bytes = rest;
    }
}

fn sealed(lz4: bool, body: &[u8]) {
    let mut frames = Vec::new();
    let way = (Version::V5, Direction::Request);
    let begun = put::begin(&mut frames, way, 0, 1, Opcode::Query);
    frames.extend_from_slice(body);
    put::end(&mut frames, begun);
    let (mut out, mut room) = (Vec::new(), Vec::new());
    Coding::Segments { lz4 }.seal(&frames, &mut out, &mut Tools::default());
    let (segment, rest) = Segment::scan(lz4, &out).expect("our own").expect("whole");
    assert!(rest.is_empty() && segment.is_self_contained);
    assert_eq!(segment.open(&mut room).expect("our own"), frames);
}
