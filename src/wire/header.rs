//! The nine bytes before every body (section 2 of the specification).

use super::{CodingFault, Opcode, Version};

/// Bytes of a header in versions 3 to 5.
pub const HEADER_LEN: usize = 9;

/// The body is compressed.
pub const FLAG_COMPRESSED: u8 = 0x01;
/// A request asks for tracing; an answer starts with a tracing id.
pub const FLAG_TRACING: u8 = 0x02;
/// A custom payload is present (version 4).
pub const FLAG_PAYLOAD: u8 = 0x04;
/// An answer carries warnings (version 4).
pub const FLAG_WARNINGS: u8 = 0x08;
/// The request is for a version still in beta (version 5).
pub const FLAG_BETA: u8 = 0x10;

const DIRECTION: u8 = 0x80;

/// A header that has been checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The protocol version.
    pub version: Version,
    /// The `FLAG_*` bits.
    pub flags: u8,
    /// The stream id as it stood there.
    pub stream: i16,
    /// What the message is.
    pub opcode: Opcode,
    /// Bytes of the body, at most the limit that was given.
    pub length: usize,
}

/// Which way a frame travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From a client or from us to a node.
    Request,
    /// From a node or from us to a client.
    Response,
}

/// Bytes that are no frame. After any of these the stream of bytes has no meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderFault {
    /// Wrapped bytes that cannot be opened.
    #[error(transparent)]
    Coding(#[from] CodingFault),
    /// A request where an answer belongs, or the reverse.
    #[error("the direction bit of the version byte {0:#04x} is wrong")]
    Direction(u8),
    /// A negative stream id from a client.
    #[error("stream id {0} is negative; a client's must not be")]
    NegativeStream(i16),
    /// An opcode that does not exist or does not travel this way.
    #[error("unknown opcode {byte:#04x}")]
    Opcode {
        /// The byte.
        byte: u8,
        /// Where an answer would go.
        stream: i16,
    },
    /// A body above the limit.
    #[error("a body of {length} bytes is above the limit of {limit}")]
    TooLong {
        /// The length that was claimed.
        length: u32,
        /// The limit in force.
        limit: usize,
        /// Where an answer would go.
        stream: i16,
    },
    /// A version that is not spoken here.
    #[error("protocol version {number} is not supported")]
    Version {
        /// The number, direction bit cleared.
        number: u8,
        /// Whether the beta flag was set with it.
        beta: bool,
    },
}

impl Header {
    /// Reads a header if all of it is there. The version byte is judged as soon as it is: older and
    /// newer versions have other layouts.
    ///
    /// # Errors
    /// A [`HeaderFault`]; `limit` is the largest body in bytes.
    #[inline]
    pub fn parse(
        bytes: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Option<Self>, HeaderFault> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let version = Self::version(first, direction, bytes.get(1).copied())?;
        let Some(&[_, flags, s0, s1, opcode, l0, l1, l2, l3]) = bytes.first_chunk::<HEADER_LEN>()
        else {
            return Ok(None);
        };
        let stream = i16::from_be_bytes([s0, s1]);
        if direction == Direction::Request && stream < 0 {
            return Err(HeaderFault::NegativeStream(stream));
        }
        let opcode = Opcode::from_byte(opcode)
            .filter(|opcode| opcode.is_request() == (direction == Direction::Request))
            .ok_or(HeaderFault::Opcode {
                byte: opcode,
                stream,
            })?;
        let claimed = u32::from_be_bytes([l0, l1, l2, l3]);
        let length = usize::try_from(claimed).unwrap_or(usize::MAX);
        if limit < length {
            return Err(HeaderFault::TooLong {
                length: claimed,
                limit,
                stream,
            });
        }
        Ok(Some(Self {
            version,
            flags,
            stream,
            opcode,
            length,
        }))
    }

    #[inline]
    fn version(byte: u8, direction: Direction, flags: Option<u8>) -> Result<Version, HeaderFault> {
        let number = byte & !DIRECTION;
        let is_response = byte & DIRECTION != 0;
        if is_response != (direction == Direction::Response) {
            return Err(HeaderFault::Direction(byte));
        }
        let beta = flags.is_some_and(|flags| flags & FLAG_BETA != 0);
        Version::from_number(number).ok_or(HeaderFault::Version { number, beta })
    }
}

/// The version byte of a frame that travels this way.
#[must_use]
pub const fn version_byte(version: Version, direction: Direction) -> u8 {
    match direction {
        Direction::Request => version.number(),
        Direction::Response => version.number() | DIRECTION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [u8; 9] = [0x04, 0, 0, 7, 0x05, 0, 0, 0, 0];

    #[test]
    fn a_whole_header_is_read_and_a_part_is_not_yet_one() {
        let header = Header::parse(&OPTIONS, Direction::Request, 100);
        let expected = Header {
            version: Version::V4,
            flags: 0,
            stream: 7,
            opcode: Opcode::Options,
            length: 0,
        };
        assert_eq!(header, Ok(Some(expected)));
        for cut in 0..9 {
            assert_eq!(
                Header::parse(&OPTIONS[..cut], Direction::Request, 100),
                Ok(None)
            );
        }
    }

    #[test]
    fn what_cannot_be_answered_in_this_protocol_is_a_fault_at_its_first_byte() {
        for number in [0, 1, 2, 6, 0x7F] {
            let fault = Header::parse(&[number], Direction::Request, 100);
            assert_eq!(
                fault,
                Err(HeaderFault::Version {
                    number,
                    beta: false
                })
            );
        }
        let fault = Header::parse(&[0x84], Direction::Request, 100);
        assert_eq!(fault, Err(HeaderFault::Direction(0x84)));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_kept() {
        let bytes = [0x04, 0, 0, 7, 0x07, 0xFF, 0xFF, 0xFF, 0xFF];
        let fault = Header::parse(&bytes, Direction::Request, 100);
        let expected = HeaderFault::TooLong {
            length: u32::MAX,
            limit: 100,
            stream: 7,
        };
        assert_eq!(fault, Err(expected));
    }

    #[test]
    fn a_client_may_not_use_negative_streams_or_answer_opcodes() {
        let negative = [0x04, 0, 0xFF, 0xFF, 0x05, 0, 0, 0, 0];
        let fault = Header::parse(&negative, Direction::Request, 100);
        assert_eq!(fault, Err(HeaderFault::NegativeStream(-1)));
        let ready = [0x04, 0, 0, 1, 0x02, 0, 0, 0, 0];
        let fault = Header::parse(&ready, Direction::Request, 100);
        assert_eq!(
            fault,
            Err(HeaderFault::Opcode {
                byte: 0x02,
                stream: 1
            })
        );
    }
}
