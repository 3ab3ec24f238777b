//! Segments of version 5, made by an encoder of this file's own, so that checksums are no wall: what
//! arrives at a socket's handler are the frames that were sent, however segments and reads cut them,
//! and nothing behind a damaged byte.
//!
//! The first two bytes of the input say what is tried and how many bytes each read has.
#![no_main]

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use helix_proxy::socket::{Buffers, End, Handler, Next, Outbox, Socket};
use helix_proxy::wire::coding::{Coding, PAYLOAD_MAX, Segment, Tools};
use helix_proxy::wire::header::{Direction, HeaderFault};
use helix_proxy::wire::{Frame, Opcode, Version, put};
use helix_proxy_fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const LIMIT: usize = 1 << 19;

thread_local! {
    static BUFFERS: Buffers = Buffers::default();
    static TOOLS: RefCell<Tools> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[mode, step], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (lz4, step) = (mode & 1 != 0, usize::from(step));
    // The thread's own, and counted for no input.
    BUFFERS.with(|_| ());
    match mode >> 1 & 3 {
        0 => one(lz4, rest),
        1 => any_payloads(lz4, step, rest),
        2 => whole_frames(lz4, step, rest),
        _ => damaged(lz4, step, rest),
    }
});

/// One segment whose fields may claim anything.
fn one(lz4: bool, bytes: &[u8]) {
    let Some((&[c0, c1, c2], payload)) = bytes.split_first_chunk() else {
        return;
    };
    let claimed = usize::try_from(u32::from_le_bytes([c0, c1, c2, 0])).expect("24 bits");
    let claimed = if lz4 { claimed & PAYLOAD_MAX } else { 0 };
    let is_self_contained = claimed & 1 == 1;
    let mut sealed = Vec::new();
    segment(lz4, is_self_contained, claimed, payload, &mut sealed);
    for cut in [0, 3, sealed.len() - 1] {
        assert_eq!(Segment::scan(lz4, &sealed[..cut]), Ok(None));
    }
    let mut flipped = sealed.clone();
    flipped[claimed % sealed.len()] ^= 1 << (c2 % 8);
    assert!(Segment::scan(lz4, &flipped).is_err());

    let (read, rest) = Segment::scan(lz4, &sealed)
        .expect("checked")
        .expect("whole");
    assert!(rest.is_empty());
    assert_eq!(read.is_self_contained, is_self_contained);
    let mut room = Vec::new();
    match read.open(&mut room) {
        Ok(opened) if claimed == 0 => assert_eq!(opened, payload),
        Ok(opened) => assert_eq!(opened.len(), claimed),
        Err(_) => assert_ne!(claimed, 0),
    }
    assert!(room.capacity() <= PAYLOAD_MAX.min(payload.len() * 255));
}

/// Payloads of any bytes, cut anywhere: as if the same bytes had come as they are.
fn any_payloads(lz4: bool, step: usize, mut bytes: &[u8]) {
    let (mut sealed, mut plain) = (Vec::new(), Vec::new());
    while let Some((length, rest)) = bytes.split_first() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        segment(lz4, *length & 1 == 1, 0, payload, &mut sealed);
        plain.extend_from_slice(payload);
        bytes = rest;
    }
    let mut expected = Taken::default();
    let mut rest = &plain[..];
    while expected.faults == 0 {
        match Frame::scan(rest, Direction::Request, LIMIT) {
            Ok(Some((frame, behind))) => {
                expected.put(frame);
                rest = behind;
            }
            Ok(None) => break,
            Err(_) => expected.faults += 1,
        }
    }
    let taken = bounded(2 * sealed.len(), || {
        drive(Coding::Segments { lz4 }, step, &sealed)
    });
    assert_eq!(taken, expected);
}

/// Whole frames as the proxy itself wraps them, of sizes up to several segments, behind a STARTUP that
/// is not wrapped.
fn whole_frames(lz4: bool, step: usize, bytes: &[u8]) {
    let (startup, frames) = frames(bytes);
    let sent = [startup.clone(), wrapped(lz4, &frames)].concat();
    let taken = drive_from_startup(Coding::Segments { lz4 }, step, &sent);
    assert_eq!(taken.faults, 0);
    assert!(taken.frames == [startup, frames].concat(), "other frames");
}

/// One byte of a segment is another: that is a fault, and what came before it stands.
fn damaged(lz4: bool, step: usize, bytes: &[u8]) {
    let Some((&[p0, p1, other], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let (startup, frames) = frames(bytes);
    let mut sent = [startup.clone(), wrapped(lz4, &frames)].concat();
    let length = sent.len() - startup.len();
    if other == 0 || length == 0 {
        return;
    }
    let place = startup.len() + usize::from(u16::from_le_bytes([p0, p1])) % length;
    sent[place] ^= other;
    let taken = drive_from_startup(Coding::Segments { lz4 }, step, &sent);
    assert_eq!(taken.faults, 1, "byte {place} of {}", sent.len());
    let all = [startup, frames].concat();
    assert!(all.starts_with(&taken.frames) && taken.frames.len() < all.len());
}

/// A first frame, and as many as the input has pairs of bytes: how long, and made of what.
fn frames(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut startup, mut frames) = (Vec::new(), Vec::new());
    put_frame(Opcode::Startup, b"first", &mut startup);
    let (mut room, mut salt) = (2 * PAYLOAD_MAX, 1_u32);
    for pair in bytes.chunks_exact(2).take(64) {
        // Short, medium, around the edge of a segment, and longer than one.
        let length = match pair[0] {
            short @ 0..128 => usize::from(short),
            medium @ 128..250 => usize::from(medium) * 32,
            edge @ 250..254 => PAYLOAD_MAX - 9 - 252 + usize::from(edge),
            _ => PAYLOAD_MAX + 2 * usize::from(pair[1]),
        };
        let Some(left) = room.checked_sub(length) else {
            break;
        };
        room = left;
        let body: Vec<u8> = (0..length)
            .map(|_| {
                salt = salt
                    .wrapping_mul(0x0019_660D)
                    .wrapping_add(u32::from(pair[1]));
                if pair[1] < 128 {
                    pair[1]
                } else {
                    salt.to_be_bytes()[0]
                }
            })
            .collect();
        put_frame(Opcode::Query, &body, &mut frames);
    }
    (startup, frames)
}

fn put_frame(opcode: Opcode, body: &[u8], out: &mut Vec<u8>) {
    let begun = put::begin(out, (Version::V5, Direction::Request), 0, 1, opcode);
    out.extend_from_slice(body);
    put::end(out, begun);
}

fn wrapped(lz4: bool, frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    TOOLS.with_borrow_mut(|tools| Coding::Segments { lz4 }.seal(frames, &mut out, tools));
    out
}

/// A segment by the specification, section 2 of version 5.
fn segment(lz4: bool, whole: bool, claimed: usize, payload: &[u8], out: &mut Vec<u8>) {
    let wide = |number: usize| u64::try_from(number).expect("17 bits");
    let mut fields = wide(payload.len());
    if lz4 {
        fields |= wide(claimed) << 17 | u64::from(whole) << 34;
    } else {
        fields |= u64::from(whole) << 17;
    }
    let header = &fields.to_le_bytes()[..if lz4 { 5 } else { 3 }];
    out.extend_from_slice(header);
    out.extend_from_slice(&crc24(header).to_le_bytes()[..3]);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32(payload).to_le_bytes());
}

fn crc24(bytes: &[u8]) -> u32 {
    let mut sum = 0x87_5060_u32;
    for byte in bytes {
        sum ^= u32::from(*byte) << 16;
        for _bit in 0..8 {
            sum <<= 1;
            if 0x100_0000 <= sum {
                sum ^= 0x197_4F0B;
            }
        }
    }
    sum
}

fn crc32(payload: &[u8]) -> u32 {
    let seeded = [0xFA, 0x2D, 0x55, 0xCA].iter().chain(payload);
    !seeded.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _bit| {
            let carry = if sum & 1 == 1 { 0xEDB8_8320 } else { 0 };
            sum >> 1 ^ carry
        })
    })
}

fn drive_from_startup(coding: Coding, step: usize, sent: &[u8]) -> Taken {
    let mut taken = Taken {
        returns: true,
        ..Taken::default()
    };
    let mut socket = Socket::new(Cuts { sent, step });
    assert!(matches!(run(&mut socket, &mut taken), End::Returned));
    socket.change(coding);
    finish(&mut socket, &mut taken);
    taken
}

fn drive(coding: Coding, step: usize, sent: &[u8]) -> Taken {
    let mut taken = Taken::default();
    let mut socket = Socket::new(Cuts { sent, step });
    socket.change(coding);
    finish(&mut socket, &mut taken);
    taken
}

/// The end of the bytes is the end of the connection; a fault closes it before.
fn finish(socket: &mut Socket<Cuts<'_>>, taken: &mut Taken) {
    let end = run(socket, taken);
    assert_eq!(matches!(end, End::Closed), taken.faults == 1, "{end:?}");
}

fn run(socket: &mut Socket<Cuts<'_>>, taken: &mut Taken) -> End {
    let (outbox, mut context) = (Outbox::default(), Context::from_waker(Waker::noop()));
    BUFFERS.with(|buffers| {
        let mut driven = pin!(socket.drive(&outbox, buffers, taken));
        loop {
            if let Poll::Ready(end) = driven.as_mut().poll(&mut context) {
                return end;
            }
        }
    })
}

/// What a handler was given, written again.
#[derive(Debug, Default, Eq, PartialEq)]
struct Taken {
    frames: Vec<u8>,
    faults: usize,
    returns: bool,
}

impl Taken {
    fn put(&mut self, frame: Frame<'_>) {
        let header = frame.header;
        let way = (header.version, Direction::Request);
        let out = &mut self.frames;
        let begun = put::begin(out, way, header.flags, header.stream, header.opcode);
        out.extend_from_slice(frame.body);
        put::end(out, begun);
    }
}

impl Handler for Taken {
    const DIRECTION: Direction = Direction::Request;

    fn frame(&mut self, frame: Frame<'_>) -> Next {
        self.put(frame);
        match std::mem::take(&mut self.returns) {
            true => Next::Return,
            false => Next::Continue,
        }
    }

    fn fault(&mut self, _fault: HeaderFault) {
        self.faults += 1;
    }

    fn limit(&self) -> usize {
        LIMIT
    }
}

/// A peer that sends so many bytes at a time; with 0, as many as one read takes.
struct Cuts<'a> {
    sent: &'a [u8],
    step: usize,
}

impl AsyncRead for Cuts<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let step = if self.step == 0 {
            usize::MAX
        } else {
            self.step
        };
        // Many frames in small steps would be all that a run does.
        let step = step.max(self.sent.len() / 256);
        let (now, later) = self
            .sent
            .split_at(step.min(space.remaining()).min(self.sent.len()));
        space.put_slice(now);
        self.sent = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cuts<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
