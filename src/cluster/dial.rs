//! From an address to a connection that is ready for requests: TCP, STARTUP, USE.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Lost;
use super::shards::Aim;
use crate::socket::tls::Client;
use crate::socket::{Buffers, End, Handler, Next, Outbox, Socket, Stream};
use crate::wire::code::{self, Effect};
use crate::wire::header::{Direction, HeaderFault};
use crate::wire::request::{Credentials, Query, startup::Startup};
use crate::wire::response::error;
use crate::wire::{Coding, Compression, Frame, Opcode, Version, put};

/// The largest body accepted before a node said READY.
const HANDSHAKE_FRAME_MAX: usize = 128 * 1024;
/// Local ports that are tried for one connection to a shard: others may be in use.
const PORTS_TRIED_MAX: usize = 32;

/// What a connection is opened for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// All that needs no keyspace.
    Any,
    /// What needs this one, unquoted.
    Keyspace(String),
    /// The rows of one shard.
    Shard(Aim),
}

/// Who we are to the node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// Nobody: it must not ask.
    Nobody,
    /// A client's role. That it is refused says nothing about the node.
    Role(Credentials<'a>),
    /// The service account.
    Service(Credentials<'a>),
}

/// What is wanted of a connection, and what is known for it.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    /// `host:port`.
    pub(super) address: &'a str,
    pub(super) version: Version,
    pub(super) compression: Option<Compression>,
    pub(super) tls: Option<&'a Client>,
    /// Who we are there.
    pub(super) who: Who<'a>,
    pub(super) purpose: &'a Purpose,
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

/// A connection to which requests can be sent.
pub(super) struct Dialled {
    pub(super) socket: Socket<Stream>,
    /// The address that it reached.
    pub(super) peer: SocketAddr,
    /// Whether the node asked who we are.
    pub(super) was_asked: bool,
}

/// Opens a connection and brings it to where requests can be sent.
///
/// # Errors
/// Why there is none: nothing was sent on behalf of anybody.
pub(super) async fn dial(wish: Wish<'_>, buffers: &Buffers) -> Result<Dialled, Lost> {
    let role_said = Cell::new(false);
    let opened = timeout(wish.within, open(&wish, &role_said, buffers)).await;
    let late = |_elapsed| Err(Lost::Dial(format!("no answer in {:?}", wish.within)));
    match opened.unwrap_or_else(late) {
        Err(Lost::Dial(why)) if role_said.get() => Err(Lost::Unsure(why)),
        outcome => outcome,
    }
}

/// From when on a client's role has said who it is is noted in `role_said`.
async fn open(wish: &Wish<'_>, role_said: &Cell<bool>, buffers: &Buffers) -> Result<Dialled, Lost> {
    let refused = |e: io::Error| Lost::Dial(e.to_string());
    let stream = reach(wish).await.map_err(|e| Lost::unreached(&e))?;
    let peer = stream.peer_addr().map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
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
    let was_asked = answer == Opcode::Authenticate;
    if was_asked {
        role_said.set(matches!(wish.who, Who::Role(_)));
        log_in(&mut socket, wish, buffers).await?;
    }
    if let Purpose::Keyspace(keyspace) = wish.purpose {
        let text = format!("USE {}", quoted(keyspace));
        let body = |out: &mut Vec<u8>| Query::plain(&text).put(out, version);
        ask(&mut socket, (version, coding), Opcode::Query, buffers, body).await?;
    }
    Ok(Dialled {
        socket,
        peer,
        was_asked,
    })
}

/// The node; the shard, if its port for that lets us in.
async fn reach(wish: &Wish<'_>) -> io::Result<TcpStream> {
    let Purpose::Shard(aim) = wish.purpose else {
        return TcpStream::connect(wish.address).await;
    };
    // A port behind a wall answers nothing at all; the usual one needs time, too.
    match timeout(wish.within / 2, knock(aim)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(_)) | Err(_) => TcpStream::connect(aim.peer).await,
    }
}

/// Through the shard-aware port, from a local one that names the shard.
async fn knock(aim: &Aim) -> io::Result<TcpStream> {
    let mut failed = io::ErrorKind::Unsupported.into();
    let Some((door, shard)) = aim.door else {
        return Err(failed);
    };
    let door = {
        // The scope of an IPv6 address stays.
        let mut at = aim.peer;
        at.set_port(door.get());
        at
    };
    let random = RandomState::new().hash_one(shard);
    let ports = aim.sharding.ports(shard, random);
    // TCP lets a port connect to itself.
    for port in ports.filter(|it| *it != door.port()).take(PORTS_TRIED_MAX) {
        match connect_from(port, door).await {
            Err(error) if is_taken(&error) => failed = error,
            outcome => return outcome,
        }
    }
    Err(failed)
}

async fn connect_from(port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let (socket, any): (_, IpAddr) = match to {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
    };
    // The same port may lead to several nodes.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(any, port))?;
    socket.connect(to).await
}

fn is_taken(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

/// Says who we are, coded as STARTUP agreed.
async fn log_in(
    socket: &mut Socket<Stream>,
    wish: &Wish<'_>,
    buffers: &Buffers,
) -> Result<(), Lost> {
    let (credentials, is_role) = match wish.who {
        Who::Nobody => {
            let text = "the cluster asks for credentials, and the configuration has none (auth)";
            return Err(Lost::Dial(text.to_owned()));
        }
        Who::Role(credentials) => (credentials, true),
        Who::Service(credentials) => (credentials, false),
    };
    let body = |out: &mut Vec<u8>| credentials.put(out);
    let way = (wish.version, wish.coding());
    let answer = ask(socket, way, Opcode::AuthResponse, buffers, body).await;
    match answer {
        Ok(_success) => Ok(()),
        Err(Lost::Role(sentence)) if !is_role => Err(Lost::Dial(format!("refused: {sentence}"))),
        Err(lost) => Err(lost),
    }
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
        Ok(error) if step == Opcode::AuthResponse && is_verdict(&error) => {
            Lost::Role(error.message.to_owned())
        }
        Ok(error) => Lost::Dial(format!("refused: {} ({:#06x})", error.message, error.code)),
        Err(fault) => Lost::Dial(fault.to_string()),
    }
}

/// Whether a node knows that it does not let somebody in. Cassandra and ScyllaDB say `BAD_CREDENTIALS`
/// also where they cannot read their own roles. Only how a sentence begins is theirs alone: further on it
/// may repeat the name, which a stranger chose ("Provided username … and/or password are incorrect").
fn is_verdict(error: &error::Error<'_>) -> bool {
    const UNSURE: [&str; 6] = [
        "Unable to perform authentication",
        "Error during authentication",
        "Could not verify password",
        "Cannot achieve consistency",
        "Operation failed",
        "Operation timed out",
    ];
    let is_final = matches!(error.code, code::BAD_CREDENTIALS | code::UNAUTHORIZED);
    is_final && !UNSURE.iter().any(|it| error.message.starts_with(it))
}

fn is_refused(code: i32) -> bool {
    code::effect(code, false) == Effect::Refused
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::sharding::Sharding;
    use super::*;

    /// Only one port from 49,152 on leads to each of so many shards, and none above 60,999 is given to
    /// others unasked.
    const SHARDS: u16 = 16_384;
    const SHARD: u16 = 61_777 - 49_152;
    const PORT: u16 = 61_777;

    struct Node {
        usual: TcpListener,
        door: TcpListener,
    }

    impl Node {
        async fn new() -> Self {
            let usual = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
            Self { usual, door }
        }

        /// Which of its ports is reached for the shard, and from which one.
        async fn reach(&self) -> (u16, u16) {
            let port = self.door.local_addr().unwrap().port();
            let purpose = Purpose::Shard(Aim {
                peer: self.usual.local_addr().unwrap(),
                door: NonZeroU16::new(port).map(|port| (port, SHARD)),
                sharding: Sharding::told(0, SHARDS, [port, 0]),
            });
            let wish = Wish {
                address: "nobody.invalid:1",
                version: Version::V4,
                compression: None,
                tls: None,
                who: Who::Nobody,
                purpose: &purpose,
                within: Duration::from_secs(2),
            };
            let stream = reach(&wish).await.unwrap();
            let ports = (stream.peer_addr(), stream.local_addr());
            (ports.0.unwrap().port(), ports.1.unwrap().port())
        }
    }

    #[tokio::test]
    async fn the_local_port_names_the_shard_and_where_none_is_left_the_usual_port_is_taken() {
        let node = Node::new().await;
        let door = node.door.local_addr().unwrap().port();
        assert_eq!(node.reach().await, (door, PORT));
        // The same port may lead to another node meanwhile.
        let other = Node::new().await;
        let (_, port) = other.reach().await;
        assert_eq!(port, PORT);

        let _taken = TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
        let (reached, from) = node.reach().await;
        assert_eq!(reached, node.usual.local_addr().unwrap().port());
        assert_ne!(from, PORT);
    }

    fn answer(opcode: Opcode, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        let way = (Version::V4, Direction::Response);
        let begun = put::begin(&mut out, way, 0, 0, opcode);
        body(&mut out);
        put::end(&mut out, begun);
        out
    }

    #[test]
    fn only_how_a_sentence_begins_says_that_a_node_could_not_tell() {
        let texts = [
            (true, "Provided username tom and/or password are incorrect"),
            (
                true,
                "Provided username timed out and/or password are incorrect",
            ),
            (true, "Username and/or password are incorrect"),
            (
                false,
                "Unable to perform authentication: Operation timed out",
            ),
            (false, "Cannot achieve consistency level LOCAL_ONE"),
            (
                false,
                "Operation timed out for system_auth.roles - received 0",
            ),
        ];
        for (expected, text) in texts {
            let bytes = answer(Opcode::Error, |out| {
                error::put(out, code::BAD_CREDENTIALS, text);
            });
            let scanned = Frame::scan(&bytes, Direction::Response, usize::MAX);
            let (frame, _) = scanned.unwrap().unwrap();
            let lost = refusal(&frame, Opcode::AuthResponse);
            assert_eq!(matches!(lost, Lost::Role(_)), expected, "{text}");
        }
    }

    /// What comes of a node that answers this and then nothing more.
    async fn dialled(said: &[u8], who: Who<'_>) -> Lost {
        let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = node.local_addr().unwrap().to_string();
        let wish = Wish {
            address: &address,
            version: Version::V4,
            compression: None,
            tls: None,
            who,
            purpose: &Purpose::Any,
            within: Duration::from_millis(100),
        };
        let buffers = Buffers::default();
        let serve = async {
            let (mut stream, _) = node.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(said).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = dial(wish, &buffers) => outcome.err().unwrap(),
            () = serve => unreachable!(),
        }
    }

    #[tokio::test]
    async fn once_a_role_has_said_who_it_is_nothing_is_the_nodes_fault() {
        let said = Credentials {
            username: "tom",
            password: "in",
        };
        let asks = answer(Opcode::Authenticate, |out| put::string(out, "Any"));
        let mut fails = asks.clone();
        fails.extend(answer(Opcode::Error, |out| {
            error::put(out, code::SERVER_ERROR, "busy");
        }));
        for told in [&asks, &fails] {
            let lost = dialled(told, Who::Role(said)).await;
            assert!(matches!(lost, Lost::Unsure(_)), "{lost}");
            let lost = dialled(told, Who::Service(said)).await;
            assert!(matches!(lost, Lost::Dial(_)), "{lost}");
        }
        let lost = dialled(&[], Who::Role(said)).await;
        assert!(matches!(lost, Lost::Dial(_)), "{lost}");
    }
}
