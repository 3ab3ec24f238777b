//! Finding whole frames in what has been read so far.

use super::header::{Direction, HEADER_LEN, HeaderFault};
use super::response::Prefix;
use super::{Cursor, Header, Malformed, Opcode};

/// One whole message, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its checked header.
    pub header: Header,
    /// Exactly `header.length` bytes.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes the first whole frame off `bytes`, or says that more must arrive (`None`).
    ///
    /// # Errors
    /// A [`HeaderFault`]: the connection cannot go on.
    #[inline]
    pub fn scan(
        bytes: &'a [u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Option<(Self, &'a [u8])>, HeaderFault> {
        let Some(header) = Header::parse(bytes, direction, limit)? else {
            return Ok(None);
        };
        let Some((_, rest)) = bytes.split_at_checked(HEADER_LEN) else {
            return Ok(None);
        };
        Ok(rest
            .split_at_checked(header.length)
            .map(|(body, rest)| (Self { header, body }, rest)))
    }

    /// An answer's body behind the tracing id, warnings and payload that its flags announce.
    ///
    /// # Errors
    /// If what the flags announce is not there.
    #[inline]
    pub fn content(&self) -> Result<(Prefix<'a>, Cursor<'a>), Malformed> {
        Prefix::split(self.header.flags, self.body)
    }
}

/// How many bytes the frame at the start of `bytes` needs in all, once its header is there.
#[must_use]
pub fn wanted(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, _, _, l0, l1, l2, l3] = bytes.first_chunk::<HEADER_LEN>()?;
    usize::try_from(u32::from_be_bytes([l0, l1, l2, l3]))
        .ok()?
        .checked_add(HEADER_LEN)
}

/// The whole frames at the start of `bytes`, headers included, unchecked.
pub fn whole(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (frame, rest) = bytes.split_at_checked(wanted(bytes)?)?;
        bytes = rest;
        Some(frame)
    })
}

/// The ids of the EXECUTE frames in `bytes`, unchecked: for a first look at what is to come.
pub fn executed(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const ID: usize = HEADER_LEN + 2;
    whole(bytes)
        .filter(|frame| frame.get(4) == Some(&Opcode::Execute.byte()))
        .filter_map(|frame| {
            let length = u16::from_be_bytes(*frame.get(HEADER_LEN..)?.first_chunk()?);
            frame.get(ID..ID + usize::from(length))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_off_one_by_one_at_any_cut() {
        let mut bytes = vec![0x04, 0, 0, 1, 0x09, 0, 0, 0, 3, b'a', b'b', b'c'];
        bytes.extend([0x03, 0, 0, 2, 0x05, 0, 0, 0, 0]);
        let (first, rest) = Frame::scan(&bytes, Direction::Request, 10)
            .unwrap()
            .unwrap();
        assert_eq!(
            (first.header.opcode, first.body),
            (Opcode::Prepare, &b"abc"[..])
        );
        let (second, rest) = Frame::scan(rest, Direction::Request, 10).unwrap().unwrap();
        assert_eq!((second.header.opcode, rest.len()), (Opcode::Options, 0));
        for cut in 0..12 {
            assert!(
                Frame::scan(&bytes[..cut], Direction::Request, 10)
                    .unwrap()
                    .is_none()
            );
        }
    }

    #[test]
    fn ids_are_found_in_whole_frames_only() {
        let mut bytes = vec![0x04, 0, 0, 1, 0x09, 0, 0, 0, 3, b'a', b'b', b'c'];
        bytes.extend([0x04, 0, 0, 2, 0x0A, 0, 0, 0, 5, 0, 2, 7, 8, 9]);
        // One whose id is longer than its frame, one without any, one that is cut.
        bytes.extend([0x04, 0, 0, 3, 0x0A, 0, 0, 0, 3, 0, 9, 1]);
        bytes.extend([0x04, 0, 0, 4, 0x0A, 0, 0, 0, 0]);
        bytes.extend([0x04, 0, 0, 5, 0x0A, 0, 0, 0, 4, 0, 1, 6]);
        let ids: Vec<_> = executed(&bytes).collect();
        assert_eq!(ids, [&[7, 8][..]]);
        bytes.push(0);
        let ids: Vec<_> = executed(&bytes).collect();
        assert_eq!(ids, [&[7, 8][..], &[6]]);
        assert_eq!(executed(&[0xFF; 40]).count(), 0);
    }
}
