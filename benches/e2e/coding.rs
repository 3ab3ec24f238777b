//! How bytes are wrapped on a connection, written from the specification alone: the library under test has its
//! own. Version 5 puts frames into segments; older ones compress bodies.

use std::io;

use crate::wire::{HEADER, Header};

/// The most that one segment holds.
const SEGMENT_MAX: usize = 131_071;
const COMPRESSED: u8 = 0x01;
/// The bit of a segment's header that says that it holds whole frames.
const SELF_CONTAINED: u64 = 1 << 17;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Compression {
    Lz4,
    Snappy,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Coding {
    #[default]
    Plain,
    Bodies(Compression),
    Segments {
        lz4: bool,
    },
}

impl Coding {
    /// What a STARTUP of this version with this COMPRESSION agrees on.
    pub(crate) fn of(version: u8, compression: Option<&str>) -> Self {
        match (version, compression) {
            (5, compression) => Self::Segments {
                lz4: compression == Some("lz4"),
            },
            (_, Some("lz4")) => Self::Bodies(Compression::Lz4),
            (_, Some("snappy")) => Self::Bodies(Compression::Snappy),
            _ => Self::Plain,
        }
    }

    /// Wraps whole frames.
    pub(crate) fn seal(self, frames: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(frames),
            Self::Bodies(compression) => compress_bodies(compression, frames, out),
            Self::Segments { lz4 } => put_segments(lz4, frames, out),
        }
    }

    /// Unwraps what is whole at the front of `raw`; how many bytes of it that was.
    pub(crate) fn open(self, raw: &[u8], frames: &mut Vec<u8>) -> io::Result<usize> {
        let mut rest = raw;
        loop {
            let taken = match self {
                Self::Plain => {
                    frames.extend_from_slice(rest);
                    return Ok(raw.len());
                }
                Self::Bodies(compression) => open_body(compression, rest, frames),
                Self::Segments { lz4 } => open_segment(lz4, rest, frames),
            };
            match taken.ok_or(io::ErrorKind::InvalidData)? {
                0 => return Ok(raw.len() - rest.len()),
                taken => rest = &rest[taken..],
            }
        }
    }
}

fn compress_bodies(compression: Compression, mut frames: &[u8], out: &mut Vec<u8>) {
    while let Some(header) = Header::read(frames) {
        let (frame, rest) = frames.split_at(HEADER + header.length);
        frames = rest;
        let body = &frame[HEADER..];
        let packed = match compression {
            Compression::Lz4 => {
                let mut packed = size(body.len()).to_be_bytes().to_vec();
                packed.extend(lz4_flex::block::compress(body));
                packed
            }
            Compression::Snappy => snap::raw::Encoder::new()
                .compress_vec(body)
                .unwrap_or_default(),
        };
        if body.len() <= packed.len() || packed.is_empty() {
            out.extend_from_slice(frame);
            continue;
        }
        let [version, flags, s0, s1, opcode, ..] = *frame else {
            return;
        };
        out.extend_from_slice(&[version, flags | COMPRESSED, s0, s1, opcode]);
        out.extend_from_slice(&size(packed.len()).to_be_bytes());
        out.extend_from_slice(&packed);
    }
}

/// Bytes taken: 0 if the frame is not whole, `None` if it is broken.
fn open_body(compression: Compression, raw: &[u8], frames: &mut Vec<u8>) -> Option<usize> {
    let Some(header) = Header::read(raw) else {
        return Some(0);
    };
    let length = HEADER + header.length;
    let Some(frame) = raw.get(..length) else {
        return Some(0);
    };
    let (head, body) = frame.split_at(HEADER);
    if head[1] & COMPRESSED == 0 {
        frames.extend_from_slice(frame);
        return Some(length);
    }
    let plain = match compression {
        Compression::Lz4 => {
            let (claimed, packed) = body.split_first_chunk::<4>()?;
            let claimed = usize::try_from(u32::from_be_bytes(*claimed)).ok()?;
            lz4_flex::block::decompress(packed, claimed).ok()?
        }
        Compression::Snappy => snap::raw::Decoder::new().decompress_vec(body).ok()?,
    };
    frames.extend_from_slice(&[head[0], head[1] & !COMPRESSED]);
    frames.extend_from_slice(&head[2..5]);
    frames.extend_from_slice(&size(plain.len()).to_be_bytes());
    frames.extend_from_slice(&plain);
    Some(length)
}

/// Small frames together in self-contained segments, one that is too long in several of its own.
fn put_segments(lz4: bool, mut frames: &[u8], out: &mut Vec<u8>) {
    while !frames.is_empty() {
        let mut whole = 0;
        while let Some(header) = Header::read(&frames[whole..]) {
            let next = whole + HEADER + header.length;
            if SEGMENT_MAX < next {
                break;
            }
            whole = next;
        }
        if whole == 0 {
            let length = Header::read(frames).map_or(frames.len(), |it| HEADER + it.length);
            let (long, rest) = frames.split_at(length);
            for part in long.chunks(SEGMENT_MAX) {
                put_segment(lz4, part, false, out);
            }
            frames = rest;
        } else {
            let (some, rest) = frames.split_at(whole);
            put_segment(lz4, some, true, out);
            frames = rest;
        }
    }
}

fn put_segment(lz4: bool, payload: &[u8], is_whole: bool, out: &mut Vec<u8>) {
    let whole = if is_whole { SELF_CONTAINED } else { 0 };
    let packed;
    let (header, length, body) = if lz4 {
        packed = lz4_flex::block::compress(payload);
        let (body, plain) = match packed.len() < payload.len() {
            true => (&*packed, payload.len()),
            false => (payload, 0),
        };
        let header = body.len() as u64 | (plain as u64) << 17 | (whole << 17);
        (header, 5, body)
    } else {
        (payload.len() as u64 | whole, 3, payload)
    };
    let header = &header.to_le_bytes()[..length];
    out.extend_from_slice(header);
    out.extend_from_slice(&crc24(header).to_le_bytes()[..3]);
    out.extend_from_slice(body);
    out.extend_from_slice(&crc32(body).to_le_bytes());
}

/// Bytes taken: 0 if the segment is not whole, `None` if it is broken.
fn open_segment(lz4: bool, raw: &[u8], frames: &mut Vec<u8>) -> Option<usize> {
    let length = if lz4 { 5 } else { 3 };
    let Some((head, rest)) = raw.split_at_checked(length + 3) else {
        return Some(0);
    };
    let mut header = [0; 8];
    header[..length].copy_from_slice(&head[..length]);
    let header = u64::from_le_bytes(header);
    let crc = u32::from_le_bytes([head[length], head[length + 1], head[length + 2], 0]);
    if crc != crc24(&head[..length]) {
        return None;
    }
    let stored = usize::try_from(header & 0x1_FFFF).ok()?;
    let Some((body, rest)) = rest.split_at_checked(stored) else {
        return Some(0);
    };
    let Some(crc) = rest.first_chunk::<4>() else {
        return Some(0);
    };
    if u32::from_le_bytes(*crc) != crc32(body) {
        return None;
    }
    let plain = usize::try_from(header >> 17 & 0x1_FFFF).ok()?;
    if lz4 && plain != 0 {
        frames.extend(lz4_flex::block::decompress(body, plain).ok()?);
    } else {
        frames.extend_from_slice(body);
    }
    Some(length + 3 + stored + 4)
}

/// The header's checksum: polynomial 0x1974F0B, begun with 0x875060.
fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x0087_5060_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0197_4F0B;
            }
        }
    }
    crc
}

/// The payload's checksum: CRC-32 behind four bytes that are not sent.
fn crc32(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0xFA, 0x2D, 0x55, 0xCA]);
    hasher.update(bytes);
    hasher.finalize()
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
