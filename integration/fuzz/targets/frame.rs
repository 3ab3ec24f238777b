//! Any bytes as frames, from a client and from a node: what is read whole is what stands there, and
//! what is cut is waited for.
#![no_main]

use helix_proxy::wire::header::{Direction, HEADER_LEN, version_byte};
use helix_proxy::wire::{Frame, Opcode, frame, put};
use helix_proxy_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    for direction in [Direction::Request, Direction::Response] {
        bounded(bytes.len(), || scan_all(bytes, direction));
    }
    unchecked(bytes);
});

fn scan_all(mut bytes: &[u8], direction: Direction) {
    while let Ok(Some((frame, rest))) = Frame::scan(bytes, direction, LIMIT) {
        let length = bytes.len() - rest.len();
        assert_eq!(frame::wanted(bytes), Some(length));
        assert_eq!(frame.header.length, frame.body.len());
        assert!(frame.body.len() <= LIMIT);
        let whole = &bytes[..length];
        same_again(&frame, direction, whole);
        for cut in [0, HEADER_LEN - 1, length - 1] {
            let cut = Frame::scan(&whole[..cut], direction, LIMIT);
            assert!(matches!(cut, Ok(None)), "a part is not yet one");
        }
        bytes = rest;
    }
}

/// Header and body, written from what was read.
fn same_again(frame: &Frame<'_>, direction: Direction, whole: &[u8]) {
    let header = &frame.header;
    assert!(direction == Direction::Response || 0 <= header.stream);
    assert_eq!(header.opcode.is_request(), direction == Direction::Request);
    assert_eq!(version_byte(header.version, direction), whole[0]);
    let mut out = Vec::new();
    let way = (header.version, direction);
    let begun = put::begin(&mut out, way, header.flags, header.stream, header.opcode);
    out.extend_from_slice(frame.body);
    put::end(&mut out, begun);
    assert_eq!(out, whole);
}

/// The looks at bytes that nobody has checked yet.
fn unchecked(bytes: &[u8]) {
    let mut end = 0;
    for whole in frame::whole(bytes) {
        assert_eq!(&bytes[end..end + whole.len()], whole);
        end += whole.len();
    }
    assert!(frame::wanted(&bytes[end..]).is_none_or(|wanted| bytes.len() - end < wanted));
    let executes = frame::whole(bytes).filter(|it| it[4] == Opcode::Execute.byte());
    assert!(frame::executed(bytes).count() <= executes.count());
}
