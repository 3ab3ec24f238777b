//! Coded frames are read by another codec, and its frames by this one.

use cassandra_protocol::compression::Compression as TheirCompression;
use cassandra_protocol::crc;
use cassandra_protocol::frame::frame_decoder::{
    FrameDecoder, Lz4FrameDecoder, UncompressedFrameDecoder,
};
use cassandra_protocol::frame::frame_encoder::{
    FrameEncoder, Lz4FrameEncoder, UncompressedFrameEncoder,
};
use proptest::prelude::*;

use super::*;
use crate::wire::header::{Direction, FLAG_COMPRESSED, HEADER_LEN};
use crate::wire::{Frame, Opcode, Version, put};

const LIMIT: usize = 1024 * 1024;

/// A frame of so many bytes in all, its header included.
fn frame(length: usize, fill: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut out = Vec::new();
    let way = (Version::V4, Direction::Response);
    let begun = put::begin(&mut out, way, 0, 7, Opcode::Result);
    out.extend((0..length - HEADER_LEN).map(fill));
    put::end(&mut out, begun);
    out
}

/// Bytes that do not compress.
fn noise(at: usize) -> u8 {
    (at.wrapping_mul(0x9E37_79B9).rotate_right(7) >> 5).to_le_bytes()[1]
}

fn seal(coding: Coding, frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    coding.seal(frames, &mut out, &mut Tools::default());
    out
}

/// What the other end makes of sealed bytes: frames, one after another.
fn open(coding: Coding, mut sealed: &[u8]) -> Result<Vec<u8>, CodingFault> {
    let (mut out, mut room) = (Vec::new(), Vec::new());
    match coding {
        Coding::Plain => out.extend_from_slice(sealed),
        Coding::Bodies(compression) => {
            while let Some((frame, rest)) = Frame::scan(sealed, Direction::Response, LIMIT).unwrap()
            {
                let header = &sealed[..HEADER_LEN];
                let mut body = frame.body;
                if frame.header.flags & FLAG_COMPRESSED != 0 {
                    open_body(compression, body, LIMIT, &mut room)?;
                    body = &room;
                }
                let length = u32::try_from(body.len()).unwrap().to_be_bytes();
                let flags = header[1] & !FLAG_COMPRESSED;
                out.extend([header[0], flags, header[2], header[3], header[4]]);
                out.extend(length);
                out.extend_from_slice(body);
                sealed = rest;
            }
        }
        Coding::Segments { lz4 } => {
            while let Some((segment, rest)) = Segment::scan(lz4, sealed)? {
                out.extend_from_slice(segment.open(&mut room)?);
                sealed = rest;
            }
            assert!(sealed.is_empty());
        }
    }
    Ok(out)
}

/// Sizes around the edges of a segment, alone and with others before and behind.
#[test]
fn frames_survive_every_coding_at_every_edge() {
    let edges = [
        HEADER_LEN,
        HEADER_LEN + 127,
        HEADER_LEN + 128,
        PAYLOAD_MAX - 1,
        PAYLOAD_MAX,
        PAYLOAD_MAX + 1,
        PAYLOAD_MAX + 9,
        2 * PAYLOAD_MAX,
        2 * PAYLOAD_MAX + 1,
    ];
    for coding in Coding::ALL {
        for length in edges {
            for fill in [noise, |_at| b'a'] {
                let whole = frame(length, fill);
                let small = frame(40, noise);
                for frames in [
                    whole.clone(),
                    [&small[..], &whole].concat(),
                    [&whole[..], &small, &small].concat(),
                ] {
                    let sealed = seal(coding, &frames);
                    let opened = open(coding, &sealed).unwrap();
                    assert!(opened == frames, "{coding:?} {length}");
                }
            }
        }
    }
}

#[test]
fn small_frames_share_a_segment_and_large_ones_are_cut() {
    let small = frame(100, noise).repeat(20);
    let sealed = seal(Coding::Segments { lz4: false }, &small);
    assert_eq!(sealed.len(), 6 + 2_000 + 4);
    let large = frame(300_000, noise);
    let mut rest = &seal(Coding::Segments { lz4: false }, &large)[..];
    let mut lengths = Vec::new();
    while let Some((segment, behind)) = Segment::scan(false, rest).unwrap() {
        assert!(!segment.is_self_contained);
        lengths.push(segment.payload.len());
        rest = behind;
    }
    assert_eq!(
        lengths,
        [PAYLOAD_MAX, PAYLOAD_MAX, 300_000 - 2 * PAYLOAD_MAX]
    );
}

#[test]
fn what_compresses_is_smaller_and_what_does_not_goes_as_it_is() {
    let (same, mixed) = (frame(10_000, |_at| b'a'), frame(10_000, noise));
    for coding in &Coding::ALL[1..] {
        if *coding != (Coding::Segments { lz4: false }) {
            assert!(seal(*coding, &same).len() < 1_000, "{coding:?}");
        }
        assert!(seal(*coding, &mixed).len() <= 10_012, "{coding:?}");
    }
}

#[test]
fn a_claim_beyond_what_the_bytes_can_become_allocates_nothing() {
    let lz4 = [&u32::MAX.to_be_bytes()[..], &[0x10, b'a']].concat();
    let (mut room, mut claims) = (Vec::new(), 0);
    for limit in [LIMIT, usize::MAX] {
        // Snappy's length is a varint: 2^32 - 1.
        let snappy = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00, b'a'];
        for (compression, body) in [(Compression::Lz4, &lz4[..]), (Compression::Snappy, &snappy)] {
            let fault = open_body(compression, body, limit, &mut room).unwrap_err();
            assert!(matches!(fault, CodingFault::Size { .. }), "{fault:?}");
            claims += 1;
        }
    }
    assert_eq!((claims, room.capacity()), (4, 0));
}

/// The growth that is allowed for is enough for the most that the compressions can do.
#[test]
fn the_most_compressible_body_is_opened() {
    for compression in [Compression::Lz4, Compression::Snappy] {
        for length in [128, 1_000, 65_536, 4_000_000] {
            let body = vec![0; length];
            let sealed = seal(
                Coding::Bodies(compression),
                &frame(length + HEADER_LEN, |_| 0),
            );
            let mut room = Vec::new();
            open_body(compression, &sealed[HEADER_LEN..], usize::MAX, &mut room).unwrap();
            assert!(room == body, "{compression:?} {length}");
        }
    }
}

#[test]
fn each_flipped_bit_of_a_segment_is_noticed() {
    for lz4 in [false, true] {
        let sealed = seal(Coding::Segments { lz4 }, &frame(60, |_at| b'a'));
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Segment::scan(lz4, &damaged).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(Segment::scan(lz4, &sealed[..cut]), Ok(None));
        }
    }
}

#[test]
fn checksums_are_those_of_another_implementation() {
    for header in [&[0_u8; 3][..], &[1, 2, 3], &[0xFF; 5], &[9, 8, 7, 6, 5]] {
        assert_eq!(
            segments::crc24(header),
            u64::try_from(crc::crc24(header)).unwrap()
        );
    }
    assert_eq!(segments::crc32(b"payload"), crc::crc32(b"payload"));
}

#[test]
fn another_implementation_reads_our_segments_and_we_read_its() {
    let envelope = |length, fill: fn(usize) -> u8| {
        let mut whole = frame(length, fill);
        whole[0] = 0x85;
        whole
    };
    for length in [40, 5_000, PAYLOAD_MAX - 1, 200_000] {
        for fill in [noise as fn(usize) -> u8, |_at| b'a'] {
            let ours = envelope(length, fill);
            let mut plain = seal(Coding::Segments { lz4: false }, &ours);
            let mut packed = seal(Coding::Segments { lz4: true }, &ours);
            let none = TheirCompression::None;
            let read = [
                UncompressedFrameDecoder::default().consume(&mut plain, none),
                Lz4FrameDecoder::default().consume(&mut packed, none),
            ];
            for envelopes in read {
                let envelopes = envelopes.unwrap();
                assert_eq!(envelopes.len(), 1);
                assert!(envelopes[0].body == ours[HEADER_LEN..]);
            }
            if length < PAYLOAD_MAX {
                let mut plain = UncompressedFrameEncoder::default();
                let mut packed = Lz4FrameEncoder::default();
                plain.add_envelope(ours.clone());
                packed.add_envelope(ours.clone());
                for (lz4, sealed) in [
                    (false, plain.finalize_self_contained()),
                    (true, packed.finalize_self_contained()),
                ] {
                    let opened = open(Coding::Segments { lz4 }, sealed).unwrap();
                    assert!(opened == ours, "{length} {lz4}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_frames_survive_every_coding(
        lengths in prop::collection::vec(0_usize..40_000, 0..12),
        step in 0_usize..7,
    ) {
        let frames: Vec<u8> = lengths
            .iter()
            .flat_map(|length| frame(HEADER_LEN + length, |at| noise(at * step)))
            .collect();
        for coding in Coding::ALL {
            let opened = open(coding, &seal(coding, &frames)).unwrap();
            prop_assert!(opened == frames, "{:?}", coding);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut room = Vec::new();
        for compression in [Compression::Lz4, Compression::Snappy] {
            let opened = open_body(compression, &bytes, LIMIT, &mut room);
            prop_assert!(opened.is_err() || room.len() <= LIMIT);
        }
        for lz4 in [false, true] {
            if let Ok(Some((segment, _))) = Segment::scan(lz4, &bytes) {
                let opened = segment.open(&mut room);
                prop_assert!(opened.is_err() || opened.unwrap().len() <= PAYLOAD_MAX);
            }
        }
    }
}

/// What drivers and servers make of an empty body.
#[test]
fn empty_bodies_are_opened_however_they_were_compressed() {
    for (compression, body) in [
        (Compression::Lz4, &[][..]),
        (Compression::Snappy, &[]),
        (Compression::Lz4, &[0, 0, 0, 0, 0]),
        (Compression::Snappy, &[0]),
    ] {
        let mut room = vec![1];
        assert_eq!(open_body(compression, body, LIMIT, &mut room), Ok(()));
        assert!(room.is_empty());
    }
    let mut room = vec![1];
    let bare = open_body(Compression::Lz4, &[0, 0, 0, 0], LIMIT, &mut room);
    assert_eq!(bare, Err(CodingFault::Damaged), "a size of 0 and no block");
}

/// The tables are used again for any sizes in any order.
#[test]
fn tools_are_used_again_for_any_sizes() {
    let mut tools = Tools::default();
    for round in 0..200_usize {
        let length = [200, 70_000, 1_000, 131_071, 65_535, 65_536, 130, 300_000][round % 8] + round;
        for coding in Coding::ALL {
            let frames = frame(length, |at| noise(at / (round % 5 + 1)));
            let mut out = Vec::new();
            coding.seal(&frames, &mut out, &mut tools);
            assert!(open(coding, &out).unwrap() == frames, "{coding:?} {length}");
        }
    }
}
