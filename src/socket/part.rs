//! Bytes of a large frame, on their way from the socket that read them to the one that takes them.

use std::ops::Range;
use std::rc::Rc;

/// A frame of so many bytes is passed on without being copied.
pub const LARGE: usize = 1024 * 1024;

/// A part of a large frame. Whoever holds a part holds the frame.
#[derive(Debug)]
pub(super) struct Part {
    frame: Rc<Vec<u8>>,
    range: Range<usize>,
}

impl Part {
    /// The part of `frame` that `bytes` are, if they are one.
    pub(super) fn of(frame: Rc<Vec<u8>>, bytes: &[u8]) -> Option<Self> {
        let begin = bytes.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
        let range = begin..begin.checked_add(bytes.len())?;
        let found = frame.get(range.clone())?;
        std::ptr::eq(found, bytes).then_some(Self { frame, range })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.frame[self.range.clone()]
    }

    /// Takes so many bytes off its front, or all that there are.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let begin = self.range.start;
        self.range.start = self.range.end.min(begin.saturating_add(count));
        &self.frame[begin..self.range.start]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_of_the_frame_itself_are_a_part_of_it() {
        let frame = Rc::new(b"abcdef".to_vec());
        let part = |bytes: &[u8]| Part::of(Rc::clone(&frame), bytes);
        assert_eq!(part(&frame[2..5]).unwrap().bytes(), b"cde");
        assert_eq!(part(&frame).unwrap().bytes(), b"abcdef");
        assert!(part(b"cde").is_none());
        let other = [&frame[..], &frame[..]].concat();
        assert!(part(&other).is_none() && part(&other[3..]).is_none());
    }

    #[test]
    fn a_part_is_taken_from_its_front() {
        let frame = Rc::new(b"abcdef".to_vec());
        let mut part = Part::of(Rc::clone(&frame), &frame[1..]).unwrap();
        assert_eq!(part.take(2), b"bc");
        assert_eq!(part.bytes(), b"def");
        assert_eq!(part.take(9), b"def");
        assert_eq!(part.bytes(), b"");
        assert_eq!(part.take(1), b"");
    }
}
