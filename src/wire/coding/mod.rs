//! How frames are wrapped on a socket: compressed bodies (v3, v4) and segments (v5).
//!
//! The design is in `docs/CODING.md`. Sources: section 5 of `native_protocol_v4.spec`, section 2 of
//! `native_protocol_v5.spec`.

mod bodies;
mod segments;

use lz4_flex::block::CompressTable;

use super::Version;

pub use bodies::open as open_body;
pub use segments::{PAYLOAD_MAX, Segment};

/// Room above this is given back after a body was decompressed.
pub const ROOM_KEPT_MAX: usize = 1024 * 1024;

/// How the bytes of one direction of a socket are wrapped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Coding {
    /// Frames as they are.
    #[default]
    Plain,
    /// Each body compressed by itself.
    Bodies(Compression),
    /// Frames in checksummed segments.
    Segments {
        /// Whether payloads are compressed.
        lz4: bool,
    },
}

/// A compression that STARTUP can ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compression {
    /// LZ4 blocks behind their size.
    Lz4,
    /// Snappy blocks.
    Snappy,
}

/// Wrapped bytes that cannot be opened. Nothing after them has a meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodingFault {
    /// A body or payload that its compression cannot have made.
    #[error("compressed bytes are damaged")]
    Damaged,
    /// A checksum of a segment's header.
    #[error("the checksum of a segment's header does not match")]
    HeaderChecksum,
    /// A checksum of a segment's payload.
    #[error("the checksum of a segment's payload does not match")]
    PayloadChecksum,
    /// More than the limit, or more than these bytes can become.
    #[error(
        "{claimed} bytes are claimed behind {compressed} compressed ones, the limit is {limit}"
    )]
    Size {
        /// What is said to be behind the compressed bytes.
        claimed: usize,
        /// How many bytes are there.
        compressed: usize,
        /// The limit in force.
        limit: usize,
    },
}

impl Compression {
    /// All of them, as SUPPORTED lists them.
    pub const NAMES: [&str; 2] = ["snappy", "lz4"];

    /// The compression of this name; case does not matter, as for a server.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            _ if name.eq_ignore_ascii_case("lz4") => Some(Self::Lz4),
            _ if name.eq_ignore_ascii_case("snappy") => Some(Self::Snappy),
            _ => None,
        }
    }

    /// Its name in STARTUP.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }
}

impl Coding {
    /// Each of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Bodies(Compression::Lz4),
        Self::Bodies(Compression::Snappy),
        Self::Segments { lz4: false },
        Self::Segments { lz4: true },
    ];

    /// What STARTUP of this version with this compression agrees on; `None` for Snappy in version 5.
    #[must_use]
    pub const fn of(version: Version, compression: Option<Compression>) -> Option<Self> {
        match (version, compression) {
            (Version::V3 | Version::V4, None) => Some(Self::Plain),
            (Version::V3 | Version::V4, Some(compression)) => Some(Self::Bodies(compression)),
            (Version::V5, None) => Some(Self::Segments { lz4: false }),
            (Version::V5, Some(Compression::Lz4)) => Some(Self::Segments { lz4: true }),
            (Version::V5, Some(Compression::Snappy)) => None,
        }
    }

    /// Wraps whole frames for the socket, behind what is in `out`.
    pub fn seal(self, frames: &[u8], out: &mut Vec<u8>, tools: &mut Tools) {
        match self {
            Self::Plain => out.extend_from_slice(frames),
            Self::Bodies(compression) => bodies::seal(compression, frames, out, tools),
            Self::Segments { lz4 } => segments::seal(lz4, frames, out, tools),
        }
    }

    /// How a frame that is longer than a segment holds is wrapped bit by bit, where it can be.
    #[must_use]
    pub const fn parts(self) -> Option<Parts> {
        match self {
            Self::Plain => Some(Parts::Plain),
            Self::Segments { lz4 } => Some(Parts::Segments { lz4 }),
            // Its header says how long the compressed body is.
            Self::Bodies(_) => None,
        }
    }
}

/// How one long frame is wrapped in parts that need not be there at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parts {
    /// As it is.
    Plain,
    /// In segments of its own. Each part but the last is as long as some payloads.
    Segments {
        /// Whether payloads are compressed.
        lz4: bool,
    },
}

impl Parts {
    /// Wraps one part, behind what is in `out`.
    pub fn seal(self, part: &[u8], out: &mut Vec<u8>, tools: &mut Tools) {
        match self {
            Self::Plain => out.extend_from_slice(part),
            Self::Segments { lz4 } => segments::seal_part(lz4, part, out, tools),
        }
    }
}

/// What compressing needs to be given: tables that are expensive to make.
pub struct Tools {
    lz4: CompressTable,
    snappy: snap::raw::Encoder,
    /// A compressed payload, until its length is known.
    room: Vec<u8>,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            lz4: CompressTable::default(),
            snappy: snap::raw::Encoder::new(),
            room: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

impl Tools {
    /// Puts the compressed bytes behind what is in `out`, if they are fewer. False if not; then `out`
    /// is as it was.
    fn lz4(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let most = lz4_flex::block::get_maximum_output_size(plain.len());
        let table = &mut self.lz4;
        shrunk(plain.len(), most, out, |room| {
            lz4_flex::block::compress_into_with_table(plain, room, table).ok()
        })
    }

    /// As [`Tools::lz4`].
    fn snappy(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let most = snap::raw::max_compress_len(plain.len());
        let encoder = &mut self.snappy;
        shrunk(plain.len(), most, out, |room| {
            encoder.compress(plain, room).ok()
        })
    }
}

fn shrunk(
    plain: usize,
    most: usize,
    out: &mut Vec<u8>,
    compress: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> bool {
    let start = out.len();
    out.resize(start.saturating_add(most), 0);
    let written = out.get_mut(start..).and_then(compress);
    let kept = written.filter(|written| *written < plain);
    out.truncate(start.saturating_add(kept.unwrap_or(0)));
    kept.is_some()
}

/// Decompresses LZ4 into `out`, which becomes exactly the `claimed` bytes.
fn open_lz4(
    compressed: &[u8],
    claimed: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodingFault> {
    /// One byte more of a length adds 255 to it (the block format); the first byte holds 15.
    const GROWTH: usize = 255;
    check(claimed, compressed.len(), GROWTH, limit)?;
    out.clear();
    out.resize(claimed, 0);
    match lz4_flex::block::decompress_into(compressed, out) {
        Ok(written) if written == claimed => Ok(()),
        _ => Err(CodingFault::Damaged),
    }
}

/// Whether so many bytes may be claimed: by the limit, and by what the compressed ones can become.
const fn check(
    claimed: usize,
    compressed: usize,
    growth: usize,
    limit: usize,
) -> Result<(), CodingFault> {
    if limit < claimed || compressed.saturating_mul(growth) < claimed {
        return Err(CodingFault::Size {
            claimed,
            compressed,
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
