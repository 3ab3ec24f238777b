//! Writing the specification's notations (section 3) to a buffer.

use super::header::{Direction, version_byte};
use super::{Opcode, Version};

/// A place in a buffer where a frame began; [`end`] fills in its length.
#[must_use = "a frame that was begun must be ended"]
#[derive(Debug)]
pub struct Begun {
    body: usize,
}

/// Begins a frame: its header, with the length still open.
#[inline]
pub fn begin(
    out: &mut Vec<u8>,
    (version, direction): (Version, Direction),
    flags: u8,
    stream: i16,
    opcode: Opcode,
) -> Begun {
    let [s0, s1] = stream.to_be_bytes();
    let first = version_byte(version, direction);
    out.extend_from_slice(&[first, flags, s0, s1, opcode.byte(), 0, 0, 0, 0]);
    Begun { body: out.len() }
}

/// Ends a frame: the length becomes what was written since [`begin`].
#[inline]
pub fn end(out: &mut [u8], begun: Begun) {
    end_before(out, begun, 0);
}

/// Ends a frame of which so many bytes follow from elsewhere.
#[inline]
pub fn end_before(out: &mut [u8], begun: Begun, rest: usize) {
    let written = out.len().saturating_sub(begun.body);
    let length = u32::try_from(written.saturating_add(rest)).unwrap_or(u32::MAX);
    let at = begun.body.saturating_sub(4);
    if let Some(place) = out.get_mut(at..begun.body) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// `[short]`.
#[inline]
pub fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// `[int]`.
#[inline]
pub fn i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// `[long]`.
#[inline]
pub fn i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// `[string]`, cut at 65,535 bytes on a character's edge.
pub fn string(out: &mut Vec<u8>, text: &str) {
    let mut length = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(length) {
        length = length.saturating_sub(1);
    }
    u16(out, u16::try_from(length).unwrap_or(u16::MAX));
    out.extend_from_slice(text.as_bytes().get(..length).unwrap_or_default());
}

/// `[long string]`. Texts come from frames, whose bodies are below 2^31 bytes.
pub fn long_string(out: &mut Vec<u8>, text: &str) {
    i32(out, i32::try_from(text.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(text.as_bytes());
}

/// `[short bytes]`; ids, which are short.
#[inline]
pub fn short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    u16(out, u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(bytes);
}

/// `[bytes]`.
pub fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    i32(out, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(bytes);
}
