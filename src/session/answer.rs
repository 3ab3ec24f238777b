//! Errors of our own as CQL errors: code, sentence, and the fields that some codes carry.
//!
//! What drivers do with a code decides which one is used. None of them repeats by itself a
//! `WRITE_TIMEOUT` that is not of the batch log, a `READ_TIMEOUT` to which fewer replicas answered
//! than were needed, or an `INVALID`; some repeat `OVERLOADED` and `SERVER_ERROR` without asking
//! whether the statement may run twice.

use std::borrow::Cow;

use super::handshake::Refusal;
use crate::dispatch::Error;
use crate::wire::header::HeaderFault;
use crate::wire::response::error;
use crate::wire::{Consistency, Version, code};

/// Acknowledgements or answers that came, and how many were needed: none of one.
const NONE_OF_ONE: (i32, i32) = (0, 1);

/// The CQL error code of an error.
pub(super) const fn code(error: &Error) -> i32 {
    match error {
        Error::Node { code, .. } => passed_on(*code),
        Error::WriteUnknown { .. } => code::WRITE_TIMEOUT,
        // A page that cannot be had: the application starts its query again, the driver must not
        // ask for the same page again by itself. No answer of one needed is never repeated.
        Error::ReadTimeout { .. } | Error::Paging(_) => code::READ_TIMEOUT,
        Error::Away(_)
        | Error::Busy(_)
        | Error::Full { .. }
        | Error::QueueRefused
        | Error::Unreachable
        | Error::Unreached(_) => code::OVERLOADED,
        Error::Unprepared(_) => code::UNPREPARED,
        Error::Malformed(_) => code::PROTOCOL_ERROR,
        Error::SchemaRefused(_) | Error::Invalid(_) => code::INVALID,
    }
}

/// Writes the body of an ERROR.
pub(super) fn put(out: &mut Vec<u8>, error: &Error, version: Version) {
    let sentence = error.to_string();
    match error {
        Error::WriteUnknown {
            consistency,
            write_type,
        } => {
            debug_assert_ne!(*write_type, "BATCH_LOG", "drivers repeat it");
            let of = (*write_type, version);
            error::put_write_timeout(out, &sentence, *consistency, NONE_OF_ONE, of);
        }
        Error::ReadTimeout { consistency } => {
            error::put_read_timeout(out, &sentence, *consistency, NONE_OF_ONE);
        }
        Error::Paging(_) => {
            error::put_read_timeout(out, &sentence, Consistency::ONE, NONE_OF_ONE);
        }
        Error::Unprepared(id) => error::put_unprepared(out, &sentence, id),
        Error::Node { .. } if code(error) == code::WRITE_TIMEOUT => {
            let of = ("SIMPLE", version);
            error::put_write_timeout(out, &sentence, Consistency::ONE, NONE_OF_ONE, of);
        }
        Error::Node { .. }
        | Error::Away(_)
        | Error::Unreachable
        | Error::Unreached(_)
        | Error::Full { .. }
        | Error::QueueRefused
        | Error::Busy(_)
        | Error::Malformed(_)
        | Error::SchemaRefused(_)
        | Error::Invalid(_) => error::put(out, code(error), &sentence),
    }
}

/// A node's code, if it can stand without the fields that a node sends with it.
const fn passed_on(code: i32) -> i32 {
    match code {
        code::PROTOCOL_ERROR
        | code::BAD_CREDENTIALS
        | code::OVERLOADED
        | code::IS_BOOTSTRAPPING
        | code::TRUNCATE_ERROR
        | code::SYNTAX_ERROR
        | code::UNAUTHORIZED
        | code::INVALID
        | code::CONFIG_ERROR => code,
        // It may have been applied, and some drivers repeat a SERVER_ERROR unasked.
        code::WRITE_TIMEOUT | code::WRITE_FAILURE | code::CAS_WRITE_UNKNOWN => code::WRITE_TIMEOUT,
        _ => code::SERVER_ERROR,
    }
}

/// What is answered to bytes that are no request. The connection closes after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Farewell {
    /// Where the answer goes: 0 where the stream is not known.
    pub(super) stream: i16,
    /// What the client is told, always with `PROTOCOL_ERROR`.
    pub(super) sentence: Cow<'static, str>,
}

/// The answer to a fault of a header, where versions up to `version_max` are spoken.
pub(super) fn fault(fault: &HeaderFault, version_max: Version) -> Farewell {
    let (stream, sentence) = match *fault {
        HeaderFault::Direction(_) => (0, "an answer was sent where requests belong".into()),
        // -1 is how events are told apart, so the answer cannot go there.
        HeaderFault::NegativeStream(_) | HeaderFault::Coding(_) => (0, fault.to_string().into()),
        HeaderFault::Opcode { stream, .. } | HeaderFault::TooLong { stream, .. } => {
            (stream.max(0), fault.to_string().into())
        }
        HeaderFault::Version { number, .. } => (
            0,
            Refusal::Version {
                number,
                version_max,
            }
            .to_string()
            .into(),
        ),
    };
    Farewell { stream, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Cursor, Malformed};

    const SENTENCE: &str = "told by a node";

    #[test]
    fn every_error_has_a_code_its_sentence_and_its_fields() {
        let consistency = Consistency(6);
        let write = |write_type| Error::WriteUnknown {
            consistency,
            write_type,
        };
        let timeout = |write_type: &str| {
            let length = u8::try_from(write_type.len()).unwrap();
            let mut fields = vec![0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, length];
            fields.extend_from_slice(write_type.as_bytes());
            fields
        };
        let full = Error::Full {
            cluster: "A".to_owned(),
            limit: "all stream ids are in use".to_owned(),
        };
        let read = |at| vec![0, at, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let cases = [
            (write("SIMPLE"), 0x1100, timeout("SIMPLE")),
            (write("UNLOGGED_BATCH"), 0x1100, timeout("UNLOGGED_BATCH")),
            (Error::ReadTimeout { consistency }, 0x1200, read(6)),
            (
                Error::Paging("the page's cluster is away".into()),
                0x1200,
                read(1),
            ),
            (Error::Unreachable, 0x1001, vec![]),
            (Error::QueueRefused, 0x1001, vec![]),
            (Error::Away("A".to_owned()), 0x1001, vec![]),
            (Error::Unreached("A".to_owned()), 0x1001, vec![]),
            (full, 0x1001, vec![]),
            (Error::Busy("too many schema changes wait"), 0x1001, vec![]),
            (Error::Unprepared(vec![7, 8]), 0x2500, vec![0, 2, 7, 8]),
            (Error::Malformed(Malformed::NotUtf8), 0x000A, vec![]),
            (Error::SchemaRefused("later".to_owned()), 0x2200, vec![]),
            (Error::Invalid("not here".to_owned()), 0x2200, vec![]),
        ];
        for (error, expected, fields) in cases {
            let mut body = Vec::new();
            put(&mut body, &error, Version::V4);

            let mut cursor = Cursor::new(&body);
            assert_eq!(cursor.i32(), Ok(expected), "{error:?}");
            assert_eq!(cursor.string(), Ok(error.to_string().as_str()));
            assert_eq!(cursor.rest(), fields, "{error:?}");
            assert_eq!(code(&error), expected);
        }
    }

    #[test]
    fn a_nodes_code_is_passed_on_where_it_needs_no_fields() {
        let cases = [
            (code::SYNTAX_ERROR, code::SYNTAX_ERROR),
            (code::INVALID, code::INVALID),
            (code::UNAUTHORIZED, code::UNAUTHORIZED),
            (code::OVERLOADED, code::OVERLOADED),
            (code::ALREADY_EXISTS, code::SERVER_ERROR),
            (code::UNAVAILABLE, code::SERVER_ERROR),
            (code::UNPREPARED, code::SERVER_ERROR),
            (code::READ_FAILURE, code::SERVER_ERROR),
            (code::CAS_WRITE_UNKNOWN, code::WRITE_TIMEOUT),
            (code::WRITE_FAILURE, code::WRITE_TIMEOUT),
            (0x7777, code::SERVER_ERROR),
        ];
        for (told, expected) in cases {
            let error = Error::Node {
                code: told,
                message: SENTENCE.to_owned(),
            };
            let mut body = Vec::new();
            put(&mut body, &error, Version::V4);

            let parsed = error::Error::parse(Cursor::new(&body)).unwrap();
            assert_eq!((parsed.code, parsed.message), (expected, SENTENCE));
            assert_eq!(code(&error), expected);
        }
    }

    #[test]
    fn a_version_that_is_not_spoken_is_answered_as_drivers_expect_it() {
        let beta = HeaderFault::Version {
            number: 5,
            beta: true,
        };
        let told = fault(&beta, Version::V4);
        assert_eq!(told.stream, 0);
        assert_eq!(
            told.sentence,
            "Invalid or unsupported protocol version (5); \
             the lowest supported version is 3 and the greatest is 4"
        );
    }

    #[test]
    fn other_faults_are_answered_on_their_stream_where_it_can_be_used() {
        let too_long = HeaderFault::TooLong {
            length: 9,
            limit: 8,
            stream: 7,
        };
        let opcode = HeaderFault::Opcode {
            byte: 0x7F,
            stream: 3,
        };
        let cases = [
            (too_long, 7),
            (opcode, 3),
            (HeaderFault::NegativeStream(-5), 0),
            (HeaderFault::Direction(0x84), 0),
        ];
        for (told, stream) in cases {
            assert_eq!(fault(&told, Version::V4).stream, stream, "{told:?}");
        }
    }
}
