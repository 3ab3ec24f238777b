//! Frames through two sockets, under every coding, cut anywhere.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::LocalSet;

use super::{Buffers, End, Handler, LARGE, Next, Outbox, Socket};
use crate::wire::coding::PAYLOAD_MAX;
use crate::wire::header::{Direction, HEADER_LEN, HeaderFault};
use crate::wire::{Coding, Compression, Frame, Opcode, Version, put};

/// Keeps what arrives; pauses before every third frame until it is looked at again.
#[derive(Default)]
struct Kept {
    bodies: Vec<Vec<u8>>,
    wanted: usize,
    pauses: Rc<Cell<bool>>,
    fault: Option<HeaderFault>,
}

impl Handler for Kept {
    const DIRECTION: Direction = Direction::Request;

    fn frame(&mut self, frame: Frame<'_>) -> Next {
        assert_eq!(frame.header.length, frame.body.len());
        self.bodies.push(frame.body.to_vec());
        self.pauses.set(self.bodies.len().is_multiple_of(3));
        if self.bodies.len() == self.wanted {
            Next::Return
        } else {
            Next::Continue
        }
    }

    fn fault(&mut self, fault: HeaderFault) {
        self.fault = Some(fault);
    }

    fn limit(&self) -> usize {
        1024 * 1024
    }

    fn is_paused(&self) -> bool {
        self.pauses.get()
    }
}

fn put_frame(outbox: &Outbox, buffers: &Buffers, body: &[u8]) {
    outbox.put(buffers, |out| {
        let begun = put::begin(out, (Version::V4, Direction::Request), 0, 1, Opcode::Query);
        out.extend_from_slice(body);
        put::end(out, begun);
    });
}

/// What an outbox of this coding sends: a STARTUP as it is, then these bodies.
async fn sent(coding: Coding, bodies: &[Vec<u8>]) -> Vec<u8> {
    let (outbox, buffers) = begun(coding);
    for body in bodies {
        put_frame(&outbox, &buffers, body);
    }
    flushed(&outbox, &buffers).await
}

/// One that has begun with a STARTUP.
fn begun(coding: Coding) -> (Outbox, Buffers) {
    let (outbox, buffers) = (Outbox::default(), Buffers::default());
    put_frame(&outbox, &buffers, b"STARTUP");
    outbox.change(coding);
    (outbox, buffers)
}

/// All that it sends, to one who takes little at a time.
async fn flushed(outbox: &Outbox, buffers: &Buffers) -> Vec<u8> {
    let (mine, mut theirs) = duplex(10_000);
    outbox.close();
    let read = async {
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let drive = async {
        let mut socket = Socket::new(mine);
        let mut kept = Kept::default();
        let _end = socket.drive(outbox, buffers, &mut kept).await;
    };
    tokio::join!(read, drive).0
}

/// Passes every frame on, behind these bytes.
struct Passes<'a> {
    head: &'a [u8],
    to: &'a Outbox,
    buffers: &'a Buffers,
    left: usize,
}

impl Handler for Passes<'_> {
    const DIRECTION: Direction = Direction::Request;

    fn frame(&mut self, frame: Frame<'_>) -> Next {
        let mut head = Vec::new();
        let way = (Version::V4, Direction::Request);
        let begun = put::begin(&mut head, way, 0, 1, Opcode::Query);
        head.extend_from_slice(self.head);
        put::end_before(&mut head, begun, frame.body.len());
        self.to.pass(self.buffers, &head, frame.body);
        self.left -= 1;
        if self.left == 0 {
            Next::Return
        } else {
            Next::Continue
        }
    }

    fn fault(&mut self, fault: HeaderFault) {
        panic!("{fault}");
    }

    fn limit(&self) -> usize {
        10 * LARGE
    }
}

/// What an outbox of this coding sends when these bodies are passed on to it from another socket.
async fn passed(coding: Coding, from: Coding, head: &[u8], bodies: &[Vec<u8>]) -> Vec<u8> {
    let (outbox, buffers) = begun(coding);
    let (mine, mut theirs) = duplex(4 * LARGE);
    let mut plain = Vec::new();
    for body in bodies {
        let way = (Version::V4, Direction::Request);
        let begun = put::begin(&mut plain, way, 0, 1, Opcode::Query);
        plain.extend_from_slice(body);
        put::end(&mut plain, begun);
    }
    let mut wire = Vec::new();
    from.seal(&plain, &mut wire, &mut buffers.tools());
    let write = async {
        theirs.write_all(&wire).await.unwrap();
    };
    let drive = async {
        let mut socket = Socket::new(mine);
        socket.change(from);
        let mut passes = Passes {
            head,
            to: &outbox,
            buffers: &buffers,
            left: bodies.len(),
        };
        let end = socket
            .drive(&Outbox::default(), &buffers, &mut passes)
            .await;
        assert!(matches!(end, End::Returned), "{end:?}");
    };
    tokio::join!(write, drive);
    flushed(&outbox, &buffers).await
}

#[tokio::test]
async fn a_frame_that_is_shared_travels_as_if_it_were_copied() {
    let mixed = |size: usize| -> Vec<u8> {
        (0..size)
            .map(|at| ((at * at) >> 5).to_le_bytes()[0])
            .collect()
    };
    let bodies: Vec<_> = [7, LARGE, 0, 300, LARGE + 200_000, LARGE - 1, 80_000]
        .map(mixed)
        .into();
    let read = [
        Coding::Plain,
        Coding::Bodies(Compression::Lz4),
        Coding::Segments { lz4: false },
    ];
    for head in [0, PAYLOAD_MAX - HEADER_LEN, 300_000] {
        let head = mixed(head);
        let copied: Vec<_> = bodies
            .iter()
            .map(|body| [&head[..], body].concat())
            .collect();
        for coding in Coding::ALL {
            let copied = sent(coding, &copied).await;
            for from in read {
                let passed = passed(coding, from, &head, &bodies).await;
                assert!(passed == copied, "from {from:?} to {coding:?}");
            }
        }
    }
}

/// What arrives when those bytes come in pieces of this size.
async fn arrived(coding: Coding, bytes: Vec<u8>, piece: usize, bodies: usize) -> Vec<Vec<u8>> {
    let (mine, mut theirs) = duplex(64 * 1024);
    let (outbox, buffers) = (Rc::new(Outbox::default()), Buffers::default());
    let mut kept = Kept {
        wanted: 1,
        ..Kept::default()
    };
    let (pauses, waker) = (Rc::clone(&kept.pauses), Rc::clone(&outbox));
    tokio::task::spawn_local(async move {
        for piece in bytes.chunks(piece) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        // Held open: the end of the connection is not what is looked at here.
        std::future::pending::<()>().await;
    });
    tokio::task::spawn_local(async move {
        loop {
            if pauses.replace(false) {
                waker.wake();
            }
            tokio::task::yield_now().await;
        }
    });
    let mut socket = Socket::new(mine);
    let _startup = socket.drive(&outbox, &buffers, &mut kept).await;
    socket.change(coding);
    kept.wanted = 1 + bodies;
    if 0 < bodies {
        let _rest = socket.drive(&outbox, &buffers, &mut kept).await;
    }
    assert_eq!(kept.fault, None);
    assert_eq!(kept.bodies.remove(0), b"STARTUP");
    kept.bodies
}

async fn survives(coding: Coding, bodies: &[Vec<u8>], piece: usize) {
    let bytes = sent(coding, bodies).await;
    let arrived = arrived(coding, bytes, piece, bodies.len()).await;
    assert!(arrived == bodies, "{coding:?} in pieces of {piece}");
}

#[tokio::test]
async fn frames_arrive_under_every_coding_however_they_are_cut() {
    let sizes = [0, 1, 500, 60_000, 131_071 - HEADER_LEN, 131_064, 300_000];
    let mixed = |size: usize| {
        (0..size)
            .map(|at| ((at * at) >> 3).to_le_bytes()[0])
            .collect()
    };
    let mut bodies: Vec<Vec<u8>> = sizes.map(mixed).into();
    bodies.extend(sizes.map(|size| vec![b'a'; size]));
    LocalSet::new()
        .run_until(async {
            for coding in Coding::ALL {
                for piece in [1_000, 9_001, 1_000_000] {
                    survives(coding, &bodies, piece).await;
                }
                survives(coding, &bodies[..3], 1).await;
            }
        })
        .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_sizes_and_any_pieces(
        sizes in prop::collection::vec(0_usize..3_000, 0..20),
        piece in 1_usize..400,
        at in 0_usize..Coding::ALL.len(),
    ) {
        let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'q'; *size]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, survives(Coding::ALL[at], &bodies, piece));
    }
}

/// One segment around any bytes, as a peer that is not this program may make it.
fn segment(lz4: bool, shrink: bool, is_self_contained: bool, payload: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(payload);
    let sent = if shrink { &packed[..] } else { payload };
    let mut fields = sent.len() as u64;
    let width = if lz4 { 5 } else { 3 };
    if lz4 {
        let claimed = if shrink { payload.len() as u64 } else { 0 };
        fields |= claimed << 17 | u64::from(is_self_contained) << 34;
    } else {
        fields |= u64::from(is_self_contained) << 17;
    }
    let header = fields.to_le_bytes()[..width].to_vec();
    let mut crc = 0x87_5060_u64;
    for byte in &header {
        crc ^= u64::from(*byte) << 16;
        for _bit in 0..8 {
            crc <<= 1;
            if crc & 0x100_0000 != 0 {
                crc ^= 0x197_4F0B;
            }
        }
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0xFA, 0x2D, 0x55, 0xCA]);
    hasher.update(sent);
    let crc = [&header[..], &crc.to_le_bytes()[..3]].concat();
    [&crc[..], sent, &hasher.finalize().to_le_bytes()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Segments whose edges have nothing to do with the frames', empty ones among them, some
    /// compressed and some not, cut anywhere on the way, read with pauses.
    #[test]
    fn frames_survive_any_segmentation(
        sizes in prop::collection::vec(0_usize..400, 1..15),
        cuts in prop::collection::vec((0_usize..500, any::<bool>(), any::<bool>()), 1..60),
        piece in 1_usize..300,
        lz4 in any::<bool>(),
    ) {
        let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'q'; *size]).collect();
        let frame = |body: &[u8]| {
            let mut out = Vec::new();
            let begun = put::begin(&mut out, (Version::V4, Direction::Request), 0, 1, Opcode::Query);
            out.extend_from_slice(body);
            put::end(&mut out, begun);
            out
        };
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let mut wire = frame(b"STARTUP");
        let mut rest = &stream[..];
        let mut at = 0;
        while !rest.is_empty() {
            let (length, shrink, whole) = cuts[at % cuts.len()];
            let length = if at < 1_000 { length.min(rest.len()) } else { rest.len() };
            let (payload, behind) = rest.split_at(length);
            wire.extend(segment(lz4, lz4 && shrink && !payload.is_empty(), whole, payload));
            rest = behind;
            at += 1;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let coding = Coding::Segments { lz4 };
        let told = LocalSet::new().block_on(&runtime, async {
            let all = arrived(coding, wire, piece, bodies.len());
            tokio::time::timeout(std::time::Duration::from_secs(20), all).await
        });
        prop_assert!(told.is_ok_and(|told| told == bodies));
    }
}
