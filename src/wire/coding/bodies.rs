//! Bodies compressed one by one, as STARTUP agreed on in versions 3 and 4.

use super::{CodingFault, Compression, Tools, check, open_lz4};
use crate::wire::frame::whole;
use crate::wire::header::{FLAG_COMPRESSED, HEADER_LEN};

/// A body below this many bytes is not worth it.
const WORTH_IT: usize = 128;
/// A copy of 64 bytes takes three (Snappy's format description).
const SNAPPY_GROWTH: usize = 22;

/// Wraps whole frames.
pub(super) fn seal(compression: Compression, frames: &[u8], out: &mut Vec<u8>, tools: &mut Tools) {
    let mut end: usize = 0;
    for frame in whole(frames) {
        let start = out.len();
        if !shrink(compression, frame, out, tools) {
            out.truncate(start);
            out.extend_from_slice(frame);
        }
        end = end.saturating_add(frame.len());
    }
    debug_assert_eq!(end, frames.len(), "only whole frames are sealed");
}

/// Puts the frame with its body compressed. False if that is not worth it.
fn shrink(compression: Compression, frame: &[u8], out: &mut Vec<u8>, tools: &mut Tools) -> bool {
    let Some((header, body)) = frame.split_at_checked(HEADER_LEN) else {
        return false;
    };
    let &[version, flags, s0, s1, opcode, ..] = header else {
        return false;
    };
    if body.len() < WORTH_IT {
        return false;
    }
    out.extend_from_slice(&[version, flags | FLAG_COMPRESSED, s0, s1, opcode]);
    let length = out.len();
    out.extend_from_slice(&[0; 4]);
    let begun = out.len();
    let is_smaller = match compression {
        Compression::Lz4 => {
            let claimed = u32::try_from(body.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&claimed.to_be_bytes());
            tools.lz4(body, out)
        }
        Compression::Snappy => tools.snappy(body, out),
    };
    let written = u32::try_from(out.len().saturating_sub(begun)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(length..begun) {
        place.copy_from_slice(&written.to_be_bytes());
    }
    is_smaller && out.len().saturating_sub(begun) < body.len()
}

/// Opens one body into `out`, whose content is replaced; `limit` is the most it may become, in bytes.
///
/// # Errors
/// If it is not what the compression makes, or claims too much. `out` grows only to what was claimed
/// and allowed.
pub fn open(
    compression: Compression,
    body: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodingFault> {
    out.clear();
    // A driver may flag a message without a body.
    if body.is_empty() {
        return Ok(());
    }
    match compression {
        Compression::Lz4 => {
            let (size, block) = body.split_first_chunk().ok_or(CodingFault::Damaged)?;
            let claimed = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
            open_lz4(block, claimed, limit, out)
        }
        Compression::Snappy => {
            let claimed = snap::raw::decompress_len(body).map_err(|_fault| CodingFault::Damaged)?;
            check(claimed, body.len(), SNAPPY_GROWTH, limit)?;
            out.resize(claimed, 0);
            match snap::raw::Decoder::new().decompress(body, out) {
                Ok(written) if written == claimed => Ok(()),
                _ => Err(CodingFault::Damaged),
            }
        }
    }
}
