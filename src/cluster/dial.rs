//! From an address to a connection that is ready for requests: TCP, STARTUP, USE.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Account, Lost};
use crate::socket::tls::Client;
use crate::socket::{Buffers, End, Handler, Next, Outbox, Socket, Stream};
use crate::wire::code::{self, Effect};
use crate::wire::header::{Direction, HeaderFault};
use crate::wire::request::{Credentials, Query, startup::Startup};
use crate::wire::response::error;
use crate::wire::{Coding, Compression, Frame, Opcode, Version, put};

/// The largest body accepted before a node said READY.
const HANDSHAKE_FRAME_MAX: usize = 128 * 1024;

/// What a connection is opened for.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    /// `host:port`.
    pub(super) address: &'a str,
    pub(super) version: Version,
    pub(super) compression: Option<Compression>,
    pub(super) tls: Option<&'a Client>,
    pub(super) account: Option<&'a Account>,
    /// Unquoted.
    pub(super) keyspace: Option<&'a str>,
    /// For all of it.
    pub(super) within: Duration,
}

impl Wish<'_> {
    /// The compression that STARTUP asks for: version 5 has no Snappy.
    fn asked(&self) -> Option<Compression> {
        let is_possible = Coding::of(self.version, self.compression).is_some();
        self.compression.filter(|_| is_possible)
    }

    /// How bytes are wrapped once STARTUP is answered.
    pub(super) fn coding(&self) -> Coding {
        Coding::of(self.version, self.asked()).unwrap_or_default()
    }
}

/// Opens a connection and brings it to where requests can be sent.
///
/// # Errors
/// Why there is none: nothing was sent on behalf of anybody.
pub(super) async fn dial(wish: Wish<'_>, buffers: &Buffers) -> Result<Socket<Stream>, Lost> {
    timeout(wish.within, open(&wish, buffers))
        .await
        .unwrap_or_else(|_elapsed| Err(Lost::Dial(format!("no answer in {:?}", wish.within))))
}

async fn open(wish: &Wish<'_>, buffers: &Buffers) -> Result<Socket<Stream>, Lost> {
    let stream = TcpStream::connect(wish.address)
        .await
        .map_err(|e| Lost::Dial(e.to_string()))?;
    stream
        .set_nodelay(true)
        .map_err(|e| Lost::Dial(e.to_string()))?;
    let stream = match wish.tls {
        None => Stream::Plain(stream),
        Some(tls) => tls
            .connect(host(wish.address), stream)
            .await
            .map_err(|e| Lost::Dial(format!("TLS: {e}")))?,
    };
    let mut socket = Socket::new(stream);
    let (version, coding) = (wish.version, wish.coding());
    let body = |out: &mut Vec<u8>| Startup::put_own(out, wish.asked());
    let way = (version, Coding::Plain);
    let answer = ask(&mut socket, way, Opcode::Startup, buffers, body).await?;
    socket.change(coding);
    if answer == Opcode::Authenticate {
        log_in(&mut socket, wish, buffers).await?;
    }
    if let Some(keyspace) = wish.keyspace {
        let text = format!("USE {}", quoted(keyspace));
        let body = |out: &mut Vec<u8>| Query::plain(&text).put(out, version);
        ask(&mut socket, (version, coding), Opcode::Query, buffers, body).await?;
    }
    Ok(socket)
}

/// Says who we are, coded as STARTUP agreed.
async fn log_in(
    socket: &mut Socket<Stream>,
    wish: &Wish<'_>,
    buffers: &Buffers,
) -> Result<(), Lost> {
    let Some(Account {
        username, password, ..
    }) = wish.account
    else {
        let text = "the cluster asks for credentials, and the configuration has none (auth)";
        return Err(Lost::Dial(text.to_owned()));
    };
    let credentials = Credentials { username, password };
    let body = |out: &mut Vec<u8>| credentials.put(out);
    let way = (wish.version, wish.coding());
    ask(socket, way, Opcode::AuthResponse, buffers, body)
        .await
        .map(drop)
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
        .unwrap_or(host)
}

/// An identifier as it stands in CQL, whatever it is made of.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// One request and its answer on a connection that nobody else uses yet: the opcode of one that lets
/// us go on.
async fn ask(
    socket: &mut Socket<Stream>,
    (version, coding): (Version, Coding),
    opcode: Opcode,
    buffers: &Buffers,
    body: impl FnOnce(&mut Vec<u8>),
) -> Result<Opcode, Lost> {
    let outbox = Outbox::default();
    outbox.change(coding);
    outbox.put(buffers, |out| {
        let begun = put::begin(out, (version, Direction::Request), 0, 0, opcode);
        body(out);
        put::end(out, begun);
    });
    let mut first = First {
        step: opcode,
        answer: None,
    };
    let end = socket.drive(&outbox, buffers, &mut first).await;
    match (end, first.answer) {
        (End::Returned, Some(answer)) => answer,
        (End::Lost(error), _) => Err(Lost::Dial(error.to_string())),
        (End::Returned | End::Closed, answer) => {
            answer.unwrap_or_else(|| Err(Lost::Dial("closed during the handshake".to_owned())))
        }
    }
}

/// Takes the first answer of a handshake step.
struct First {
    step: Opcode,
    answer: Option<Result<Opcode, Lost>>,
}

impl Handler for First {
    const DIRECTION: Direction = Direction::Response;

    fn frame(&mut self, frame: Frame<'_>) -> Next {
        self.answer = Some(match frame.header.opcode {
            Opcode::Error => Err(refusal(&frame, self.step)),
            answer if follows(self.step, answer) => Ok(answer),
            Opcode::AuthChallenge => Err(Lost::Dial(
                "the cluster wants more than a name and a password".to_owned(),
            )),
            other => Err(Lost::Dial(format!(
                "unexpected {other:?} during the handshake"
            ))),
        });
        Next::Return
    }

    fn fault(&mut self, fault: HeaderFault) {
        self.answer = Some(Err(Lost::Dial(fault.to_string())));
    }

    fn limit(&self) -> usize {
        HANDSHAKE_FRAME_MAX
    }
}

/// Whether a node lets us go on with this answer.
const fn follows(step: Opcode, answer: Opcode) -> bool {
    match step {
        Opcode::Startup => matches!(answer, Opcode::Ready | Opcode::Authenticate),
        Opcode::AuthResponse => matches!(answer, Opcode::AuthSuccess),
        _ => matches!(answer, Opcode::Result),
    }
}

/// What an ERROR means: a keyspace that the node refuses, in whatever words, is the client's affair and
/// says nothing about the node.
fn refusal(frame: &Frame<'_>, step: Opcode) -> Lost {
    let parsed = frame
        .content()
        .and_then(|(_, content)| error::Error::parse(content));
    match parsed {
        Ok(error) if step == Opcode::Query && is_refused(error.code) => Lost::Keyspace {
            code: error.code,
            message: error.message.to_owned(),
        },
        Ok(error) if step == Opcode::Startup && error.code == code::PROTOCOL_ERROR => {
            Lost::Version(error.message.to_owned())
        }
        Ok(error) => Lost::Dial(format!("refused: {} ({:#06x})", error.message, error.code)),
        Err(fault) => Lost::Dial(fault.to_string()),
    }
}

fn is_refused(code: i32) -> bool {
    code::effect(code, false) == Effect::Refused
}
