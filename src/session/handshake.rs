//! What a client may say before and after STARTUP.
//!
//! ```text
//! Greeting --OPTIONS--> Greeting
//! Greeting --STARTUP--> Ready(version) --OPTIONS, REGISTER, requests--> Ready(version)
//! Greeting --STARTUP--> Authenticating(version) --AUTH_RESPONSE--> Ready(version), where clients log in
//! ```
//! Sentences are those of Cassandra 4 where it has one: drivers read some of them. As there, a
//! well-formed message at the wrong time costs an error and not the connection.

use crate::wire::header::{FLAG_BETA, FLAG_COMPRESSED, FLAG_PAYLOAD, FLAG_TRACING, FLAG_WARNINGS};
use crate::wire::request::Credentials;
use crate::wire::request::register::Events;
use crate::wire::request::startup::Startup;
use crate::wire::{Coding, Compression, Cursor, Frame, Malformed, Opcode, Version, code};

/// Flags that exist. Servers pass over those that mean nothing on a request.
const FLAGS_KNOWN: u8 = FLAG_BETA | FLAG_COMPRESSED | FLAG_PAYLOAD | FLAG_TRACING | FLAG_WARNINGS;
/// Flags that mean something to dispatch.
const FLAGS_PASSED: u8 = FLAG_PAYLOAD | FLAG_TRACING;
/// Messages before READY. Drivers need three; some say OPTIONS several times.
const MESSAGES_MAX: u8 = 16;
/// The lowest CQL that the native protocol carries.
const CQL_MAJOR_MIN: u32 = 3;

/// Which messages are allowed now.
#[derive(Debug)]
pub(super) struct Handshake {
    /// Whether clients have to log in.
    logs_in: bool,
    /// Messages that came before READY.
    said: u8,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Greeting,
    Authenticating(Version),
    Ready(Version),
}

/// What is done with a frame.
#[derive(Debug)]
pub(super) enum Reply<'a> {
    /// It is a request for dispatch.
    Pass(Frame<'a>),
    /// READY: the handshake is over, and what follows is coded so, both ways.
    Ready(Coding),
    /// AUTHENTICATE: who is it? What follows is coded so, both ways.
    Authenticate(Coding),
    /// They are to be checked; nothing is read until [`Handshake::let_in`] or the end.
    Check(Credentials<'a>),
    /// An ERROR.
    Refuse(Refusal),
    /// READY, and these events are wanted from now on.
    Register(Events),
    /// SUPPORTED.
    Supported,
}

/// Why a frame gets an error from here: a `PROTOCOL_ERROR`, or what was found of its credentials.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    /// Nobody of this name and password is known.
    #[error("Provided username {0} and/or password are incorrect")]
    Credentials(String),
    /// A cluster does not let the role in, and says why.
    #[error("{0}")]
    Denied(String),
    /// Compressed, and no compression was agreed on.
    #[error("Received a compressed frame, but no compression was negotiated")]
    Compressed,
    /// All that may come before READY has come.
    #[error("Too many messages before READY")]
    Chatter,
    /// A compression that is not offered.
    #[error("Unknown compression algorithm: {0}")]
    Compression(String),
    /// A CQL version below 3, or none.
    #[error(
        "CQL version {0} is not supported by the binary protocol \
         (supported version are >= 3.0.0)"
    )]
    CqlVersion(String),
    /// The option is mandatory.
    #[error("Missing value CQL_VERSION in STARTUP message")]
    CqlVersionMissing,
    /// A flag that does not exist.
    #[error("Unknown header flags {0:#04x}")]
    Flags(u8),
    /// A body that is not what its opcode says.
    #[error("Malformed {0} message: {1}")]
    Malformed(&'static str, Malformed),
    /// Version 3 has no custom payload.
    #[error("Received frame with CUSTOM_PAYLOAD flag for native protocol version < 4")]
    Payload,
    /// Version 5 has LZ4 only.
    #[error("Snappy compression is not supported in protocol V5")]
    Snappy,
    /// STARTUP on a connection that had its own.
    #[error("Unexpected message STARTUP, the connection is already initialized")]
    Started,
    /// A credential that nobody asked for.
    #[error("Unexpected message AUTH_RESPONSE, no authentication is under way")]
    Unasked,
    /// Only OPTIONS and STARTUP come before READY.
    #[error("Unexpected message {0}, expecting STARTUP or OPTIONS")]
    Unexpected(&'static str),
    /// Not spoken here. Drivers take the version to step down to from this sentence.
    #[error(
        "Invalid or unsupported protocol version ({number}); the lowest supported version is {} \
         and the greatest is {}",
        Version::ALL[0].number(),
        version_max.number()
    )]
    Version { number: u8, version_max: Version },
    /// Whoever has to log in does that first.
    #[error("Unexpected message {0}, needs authentication through AUTH_RESPONSE")]
    Unknown(&'static str),
    /// Another version than that of STARTUP.
    #[error(
        "Invalid message version. Got {} but previous messages on this connection had version {}",
        name(*got),
        name(*known)
    )]
    VersionChanged { got: Version, known: Version },
}

impl Refusal {
    /// Whether the connection closes after the answer.
    pub(super) const fn is_fatal(&self) -> bool {
        match self {
            Self::Chatter
            | Self::Compressed
            | Self::Credentials(_)
            | Self::Denied(_)
            | Self::Flags(_)
            | Self::Payload
            | Self::Version { .. }
            | Self::VersionChanged { .. } => true,
            Self::Compression(_)
            | Self::CqlVersion(_)
            | Self::CqlVersionMissing
            | Self::Malformed(..)
            | Self::Snappy
            | Self::Started
            | Self::Unasked
            | Self::Unexpected(_)
            | Self::Unknown(_) => false,
        }
    }

    /// The code of the ERROR.
    pub(super) const fn code(&self) -> i32 {
        match self {
            Self::Credentials(_) | Self::Denied(_) => code::BAD_CREDENTIALS,
            _ => code::PROTOCOL_ERROR,
        }
    }

    /// The stream that the answer goes to.
    pub(super) const fn stream(&self, asked: i16) -> i16 {
        // As a server that could not read the rest of such a header.
        if matches!(self, Self::Version { .. }) {
            0
        } else {
            asked
        }
    }
}

impl Handshake {
    /// A new connection.
    pub(super) const fn new(logs_in: bool) -> Self {
        Self {
            logs_in,
            said: 0,
            stage: Stage::Greeting,
        }
    }

    /// The credentials were right.
    pub(super) const fn let_in(&mut self) {
        if let Stage::Authenticating(version) = self.stage {
            self.stage = Stage::Ready(version);
        }
    }

    /// Whether requests are taken.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Takes a frame. Versions up to `version_max` are offered, which may change until STARTUP.
    #[inline]
    pub(super) fn handle_frame<'a>(&mut self, frame: Frame<'a>, version_max: Version) -> Reply<'a> {
        self.judge(frame, version_max).unwrap_or_else(Reply::Refuse)
    }

    #[inline]
    fn judge<'a>(
        &mut self,
        mut frame: Frame<'a>,
        version_max: Version,
    ) -> Result<Reply<'a>, Refusal> {
        self.judge_version(frame.header.version, version_max)?;
        judge_flags(&frame)?;
        match self.stage {
            Stage::Greeting => return self.count().and_then(|()| self.greet(&frame)),
            Stage::Authenticating(_) => return self.count().and_then(|()| identify(&frame)),
            Stage::Ready(_) => {}
        }
        match frame.header.opcode {
            Opcode::Batch | Opcode::Execute | Opcode::Prepare | Opcode::Query => {
                frame.header.flags &= FLAGS_PASSED;
                Ok(Reply::Pass(frame))
            }
            Opcode::Options => Ok(Reply::Supported),
            Opcode::Register => body(&frame)
                .and_then(Events::parse)
                .map(Reply::Register)
                .map_err(|fault| Refusal::Malformed("REGISTER", fault)),
            Opcode::Startup => Err(Refusal::Started),
            Opcode::AuthResponse => Err(Refusal::Unasked),
            answer => Err(Refusal::Unexpected(label(answer))),
        }
    }

    fn count(&mut self) -> Result<(), Refusal> {
        self.said = self.said.saturating_add(1);
        match self.said <= MESSAGES_MAX {
            true => Ok(()),
            false => Err(Refusal::Chatter),
        }
    }

    const fn judge_version(&self, got: Version, version_max: Version) -> Result<(), Refusal> {
        match self.stage {
            Stage::Greeting if version_max.number() < got.number() => Err(Refusal::Version {
                number: got.number(),
                version_max,
            }),
            Stage::Ready(known) | Stage::Authenticating(known)
                if known.number() != got.number() =>
            {
                Err(Refusal::VersionChanged { got, known })
            }
            Stage::Greeting | Stage::Authenticating(_) | Stage::Ready(_) => Ok(()),
        }
    }

    fn greet(&mut self, frame: &Frame<'_>) -> Result<Reply<'static>, Refusal> {
        match frame.header.opcode {
            Opcode::Options => Ok(Reply::Supported),
            Opcode::Startup => {
                let startup = body(frame)
                    .and_then(Startup::parse)
                    .map_err(|fault| Refusal::Malformed("STARTUP", fault))?;
                let coding = judge_startup(&startup, frame.header.version)?;
                if self.logs_in {
                    self.stage = Stage::Authenticating(frame.header.version);
                    return Ok(Reply::Authenticate(coding));
                }
                self.stage = Stage::Ready(frame.header.version);
                Ok(Reply::Ready(coding))
            }
            other => Err(Refusal::Unexpected(label(other))),
        }
    }
}

/// Who the client says that it is.
fn identify<'a>(frame: &Frame<'a>) -> Result<Reply<'a>, Refusal> {
    match frame.header.opcode {
        Opcode::AuthResponse => body(frame)
            .and_then(Credentials::parse)
            .map(Reply::Check)
            .map_err(|fault| Refusal::Malformed("AUTH_RESPONSE", fault)),
        other => Err(Refusal::Unknown(label(other))),
    }
}

#[inline]
fn judge_flags(frame: &Frame<'_>) -> Result<(), Refusal> {
    let (flags, opcode) = (frame.header.flags, frame.header.opcode);
    if flags & !FLAGS_PASSED == 0 && (flags & FLAG_PAYLOAD == 0) {
        return Ok(());
    }
    if flags & !FLAGS_KNOWN != 0 {
        return Err(Refusal::Flags(flags & !FLAGS_KNOWN));
    }
    // gocql with a compressor flags its first OPTIONS, whose body is empty; servers let it pass.
    // In version 5 segments are compressed, not messages, and the flag says nothing.
    let is_old = frame.header.version < Version::V5;
    if flags & FLAG_COMPRESSED != 0 && opcode != Opcode::Options && is_old {
        return Err(Refusal::Compressed);
    }
    if flags & FLAG_PAYLOAD != 0 && frame.header.version < Version::V4 {
        return Err(Refusal::Payload);
    }
    Ok(())
}

fn judge_startup(startup: &Startup<'_>, version: Version) -> Result<Coding, Refusal> {
    let cql = startup.cql_version.ok_or(Refusal::CqlVersionMissing)?;
    let major = cql.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < CQL_MAJOR_MIN) {
        return Err(Refusal::CqlVersion(excerpt(cql)));
    }
    let compression = match startup.compression {
        Some(name) => Some(
            Compression::named(name)
                .ok_or_else(|| Refusal::Compression(excerpt(name).to_lowercase()))?,
        ),
        None => None,
    };
    Coding::of(version, compression).ok_or(Refusal::Snappy)
}

/// A request's own body, behind the payload that its flags announce.
fn body<'a>(frame: &Frame<'a>) -> Result<Cursor<'a>, Malformed> {
    let mut cursor = Cursor::new(frame.body);
    if frame.header.flags & FLAG_PAYLOAD != 0 {
        cursor.skip_bytes_map()?;
    }
    Ok(cursor)
}

/// What a stranger wrote, short and plain enough to be told back, and to be logged.
pub(super) fn excerpt(text: &str) -> String {
    text.chars()
        .filter(|it| !it.is_control())
        .take(32)
        .collect()
}

const fn name(version: Version) -> &'static str {
    match version {
        Version::V3 => "3/v3",
        Version::V4 => "4/v4",
        Version::V5 => "5/v5",
    }
}

/// The versions that SUPPORTED lists.
pub(super) fn offered(version_max: Version) -> &'static [&'static str] {
    const NAMES: [&str; Version::ALL.len()] =
        [name(Version::V3), name(Version::V4), name(Version::V5)];
    NAMES.get(..=version_max.index()).unwrap_or(&NAMES)
}

/// An opcode as the specification writes it.
const fn label(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::AuthResponse => "AUTH_RESPONSE",
        Opcode::Batch => "BATCH",
        Opcode::Execute => "EXECUTE",
        Opcode::Options => "OPTIONS",
        Opcode::Prepare => "PREPARE",
        Opcode::Query => "QUERY",
        Opcode::Register => "REGISTER",
        Opcode::Startup => "STARTUP",
        Opcode::AuthChallenge
        | Opcode::AuthSuccess
        | Opcode::Authenticate
        | Opcode::Error
        | Opcode::Event
        | Opcode::Ready
        | Opcode::Result
        | Opcode::Supported => "of a server",
    }
}
