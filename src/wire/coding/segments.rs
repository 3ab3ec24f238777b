//! Segments: what version 5 sends behind STARTUP's answer.
//!
//! ```text
//! plain       | 17 bits length | self-contained | 6 bits 0 |                | CRC24 | payload | CRC32 |
//! with LZ4    | 17 bits length | 17 bits uncompressed length | self-contained | 5 bits 0 | CRC24 | ... |
//! ```
//! Numbers are little-endian. An uncompressed length of 0 says that the payload is not compressed.

use super::{CodingFault, Tools, open_lz4};
use crate::wire::frame::whole;

/// The most bytes of a payload: 17 bits.
pub const PAYLOAD_MAX: usize = 0x1_FFFF;

const LENGTH_BITS: u32 = 17;
const LENGTH_MASK: u64 = 0x1_FFFF;
const CHECKSUM_LEN: usize = 3;
const TRAILER_LEN: usize = 4;
/// The checksum of a payload starts behind these bytes, so that zeros are not their own checksum.
const SEED: [u8; 4] = [0xFA, 0x2D, 0x55, 0xCA];

/// One segment whose checksums are right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment<'a> {
    /// It holds whole frames; otherwise a part of one.
    pub is_self_contained: bool,
    /// Bytes behind the compressed payload; `None` where it is not compressed.
    uncompressed: Option<usize>,
    /// As it travelled.
    pub(super) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Takes the first whole segment off `bytes`, or says that more must arrive (`None`).
    ///
    /// # Errors
    /// If a checksum does not match.
    pub fn scan(lz4: bool, bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, CodingFault> {
        let length = header_len(lz4);
        let Some((header, rest)) = bytes.split_at_checked(length) else {
            return Ok(None);
        };
        let Some((checksum, rest)) = rest.split_at_checked(CHECKSUM_LEN) else {
            return Ok(None);
        };
        if crc24(header) != little_endian(checksum) {
            return Err(CodingFault::HeaderChecksum);
        }
        let mut fields = little_endian(header);
        let mut field = || {
            let value = fields & LENGTH_MASK;
            fields >>= LENGTH_BITS;
            usize::try_from(value).unwrap_or(PAYLOAD_MAX)
        };
        let payload = field();
        let uncompressed = if lz4 { field() } else { 0 };
        let is_self_contained = fields & 1 == 1;
        let Some((payload, rest)) = rest.split_at_checked(payload) else {
            return Ok(None);
        };
        let Some((trailer, rest)) = rest.split_first_chunk::<TRAILER_LEN>() else {
            return Ok(None);
        };
        if crc32(payload) != u32::from_le_bytes(*trailer) {
            return Err(CodingFault::PayloadChecksum);
        }
        let segment = Self {
            is_self_contained,
            uncompressed: (0 < uncompressed).then_some(uncompressed),
            payload,
        };
        Ok(Some((segment, rest)))
    }

    /// The frames, or the part of one; decompressed into `room` where that is needed.
    ///
    /// # Errors
    /// If it is not what LZ4 makes.
    pub fn open(&self, room: &'a mut Vec<u8>) -> Result<&'a [u8], CodingFault> {
        let Some(claimed) = self.uncompressed else {
            return Ok(self.payload);
        };
        open_lz4(self.payload, claimed, PAYLOAD_MAX, room)?;
        Ok(room)
    }
}

/// Wraps whole frames: small ones share a segment, a large one is cut.
pub(super) fn seal(lz4: bool, frames: &[u8], out: &mut Vec<u8>, tools: &mut Tools) {
    let (mut begun, mut end) = (0_usize, 0_usize);
    let share = |begun: usize, end: usize, out: &mut Vec<u8>, tools: &mut Tools| {
        if let Some(payload) = frames.get(begun..end).filter(|it| !it.is_empty()) {
            put(lz4, true, payload, out, tools);
        }
    };
    for frame in whole(frames) {
        let next = end.saturating_add(frame.len());
        if next.saturating_sub(begun) <= PAYLOAD_MAX {
            end = next;
            continue;
        }
        share(begun, end, out, tools);
        begun = end;
        end = next;
        if PAYLOAD_MAX < frame.len() {
            seal_part(lz4, frame, out, tools);
            begun = end;
        }
    }
    share(begun, end, out, tools);
    debug_assert_eq!(end, frames.len(), "only whole frames are sealed");
}

/// Wraps a part of a frame that is longer than a segment holds. Each part but the last is as long as
/// some payloads are.
pub(super) fn seal_part(lz4: bool, part: &[u8], out: &mut Vec<u8>, tools: &mut Tools) {
    for payload in part.chunks(PAYLOAD_MAX) {
        put(lz4, false, payload, out, tools);
    }
}

fn put(lz4: bool, is_self_contained: bool, payload: &[u8], out: &mut Vec<u8>, tools: &mut Tools) {
    let mut room = std::mem::take(&mut tools.room);
    room.clear();
    let is_smaller = lz4 && tools.lz4(payload, &mut room);
    let sent = if is_smaller { &room } else { payload };
    let mut fields = wide(sent.len());
    if lz4 {
        let uncompressed = if is_smaller { wide(payload.len()) } else { 0 };
        fields |= uncompressed << LENGTH_BITS | u64::from(is_self_contained) << (2 * LENGTH_BITS);
    } else {
        fields |= u64::from(is_self_contained) << LENGTH_BITS;
    }
    let fields = fields.to_le_bytes();
    let header = fields.get(..header_len(lz4)).unwrap_or_default();
    let checksum = crc24(header).to_le_bytes();
    out.extend_from_slice(header);
    out.extend_from_slice(checksum.get(..CHECKSUM_LEN).unwrap_or_default());
    out.extend_from_slice(sent);
    out.extend_from_slice(&crc32(sent).to_le_bytes());
    tools.room = room;
}

const fn header_len(lz4: bool) -> usize {
    if lz4 { 5 } else { 3 }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(LENGTH_MASK)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

pub(super) fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&SEED);
    hasher.update(payload);
    hasher.finalize()
}

/// The checksum of a header (section 2.1.1): 24 bits, high bit first.
pub(super) fn crc24(header: &[u8]) -> u64 {
    const START: u64 = 0x87_5060;
    const POLYNOMIAL: u64 = 0x197_4F0B;
    const OVERFLOW: u64 = 1 << 24;
    header.iter().fold(START, |sum, byte| {
        (0..8).fold(sum ^ u64::from(*byte) << 16, |sum, _bit| {
            let sum = sum << 1;
            if sum & OVERFLOW == 0 {
                sum
            } else {
                sum ^ POLYNOMIAL
            }
        })
    })
}
