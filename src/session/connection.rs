//! One client's task: its handshake under a deadline, its requests, its farewell.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::handshake::{Handshake, Refusal, Reply, excerpt, offered};
use super::outlet::Outlet;
use super::sessions::Stay;
use super::{Door, Requests, answer};
use crate::dispatch::{Admission, Origin};
use crate::socket::{Buffers, End, Handler, Next, Socket, Stream};
use crate::telemetry::RequestKind;
use crate::wire::header::{Direction, HeaderFault};
use crate::wire::request::Credentials;
use crate::wire::response::supported;
use crate::wire::{Coding, Frame, Opcode, Version, code, put};

/// For all that comes before READY.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The largest body accepted before READY.
const HANDSHAKE_FRAME_MAX: usize = 128 * 1024;
/// The class that AUTHENTICATE names: drivers know by it that a name and a password are wanted.
const AUTHENTICATOR: &str = "org.apache.cassandra.auth.PasswordAuthenticator";
/// For the client to close after we did.
const LINGER: Duration = Duration::from_secs(1);

/// Speaks with one client until either side closes.
pub(super) async fn converse<R: Requests<Outlet>>(stream: TcpStream, stay: Stay<R>) {
    let until = Instant::now() + HANDSHAKE_WITHIN;
    let Some(mut stream) = secure(stream, &stay, until).await else {
        return;
    };
    let end = speak(&mut stream, &stay, until).await;
    tracing::debug!(?end, "client connection ended");
    if matches!(end, End::Closed) {
        Box::pin(linger(stream, stay.requests.buffers())).await;
    }
}

/// The TLS handshake, where clients have to make one. Told to close, nobody waits for its end.
async fn secure<R: Requests<Outlet>>(
    stream: TcpStream,
    stay: &Stay<R>,
    until: Instant,
) -> Option<Stream> {
    let sessions = &stay.sessions;
    let Some(tls) = &sessions.tls else {
        return Some(Stream::Plain(stream));
    };
    let accept = Box::pin(timeout_at(until, tls.accept(stream)));
    let accepted = tokio::select! {
        accepted = accept => accepted,
        () = stay.session.outbox.closed() => return None,
    };
    let error = match accepted {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("nothing came of it in {HANDSHAKE_WITHIN:?}"),
    };
    if let Some(suppressed) = sessions.admit("tls") {
        tracing::warn!(suppressed, %error, "a client's TLS handshake failed");
    }
    None
}

async fn speak<R: Requests<Outlet>>(stream: &mut Stream, stay: &Stay<R>, until: Instant) -> End {
    let mut socket = Socket::new(stream);
    let mut conversation = Conversation::new(stay);
    // The timer lives in a box of its own, which goes with the handshake.
    let greeting = greet(&mut socket, &mut conversation);
    match Box::pin(timeout_at(until, greeting)).await {
        Ok(End::Returned) => drive(&mut socket, &mut conversation).await,
        Ok(end) => end,
        Err(_elapsed) => End::Lost(std::io::ErrorKind::TimedOut.into()),
    }
}

/// All that comes before the first request.
async fn greet<R: Requests<Outlet>>(
    socket: &mut Socket<&mut Stream>,
    conversation: &mut Conversation<'_, R>,
) -> End {
    loop {
        let end = drive(socket, conversation).await;
        if !matches!(end, End::Returned) {
            return end;
        }
        if let Some(coding) = conversation.coding.take() {
            socket.change(coding);
        }
        if let Some(claim) = conversation.claim.take() {
            conversation.check(claim).await;
        }
        if conversation.handshake.is_ready() {
            return End::Returned;
        }
    }
}

/// Drives the socket, and once more at once where a pause ended by what was flushed last: the
/// socket has stopped reading by then, and nobody else would wake it.
async fn drive<R: Requests<Outlet>>(
    socket: &mut Socket<&mut Stream>,
    conversation: &mut Conversation<'_, R>,
) -> End {
    let stay = conversation.stay;
    let in_flight_max = stay.sessions.config.in_flight_max.get();
    let (outbox, buffers) = (&stay.session.outbox, stay.requests.buffers());
    let mut driving = pin!(socket.drive(outbox, buffers, conversation));
    poll_fn(|cx| {
        let end = driving.as_mut().poll(cx);
        if end.is_pending() && stay.session.resumes(in_flight_max) {
            cx.waker().wake_by_ref();
        }
        end
    })
    .await
}

/// Lets the client read the last answers: a socket that is closed with bytes of the client unread
/// resets the connection, and what was on its way is lost.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, buffers: &Buffers) {
    let mut unread = buffers.lend();
    let rest = async {
        // In TLS this writes, which a client that reads nothing would never let end.
        if stream.shutdown().await.is_err() {
            return;
        }
        while stream
            .read_buf(&mut unread)
            .await
            .is_ok_and(|read| 0 < read)
        {
            unread.clear();
        }
    };
    let closed = timeout(LINGER, rest).await;
    buffers.give_back(unread);
    tracing::trace!(in_time = closed.is_ok(), "client closed after us");
}

/// The reading side of one client.
struct Conversation<'a, R: Requests<Outlet>> {
    stay: &'a Stay<R>,
    handshake: Handshake,
    /// What STARTUP agreed on, until the socket knows it.
    coding: Option<Coding>,
    /// Who the client says that it is, until that is checked.
    claim: Option<Claim>,
    origin: Origin<Outlet>,
}

/// Credentials that are to be checked, and where the answer goes.
struct Claim {
    to: (Version, i16),
    username: String,
    password: String,
}

impl<'a, R: Requests<Outlet>> Conversation<'a, R> {
    fn new(stay: &'a Stay<R>) -> Self {
        Self {
            stay,
            handshake: Handshake::new(stay.sessions.door.asks()),
            coding: None,
            claim: None,
            origin: Origin {
                client: Outlet::new(Rc::clone(&stay.session)),
                // Until STARTUP, before which nothing is passed on.
                version: stay.sessions.version_max(),
                keyspace: None,
                dialled: stay.session.dialled,
                login: None,
            },
        }
    }

    #[inline]
    fn pass(&mut self, frame: Frame<'_>) {
        let mut state = self.stay.session.state.borrow_mut();
        state.handle_request();
        self.origin.keyspace.clone_from(&state.keyspace);
        drop(state);
        self.stay.requests.request(&self.origin, frame);
    }

    /// What follows the answer to STARTUP is coded so.
    fn start(&mut self, version: Version, coding: Coding) {
        self.origin.version = version;
        self.stay.session.state.borrow_mut().version = Some(version);
        self.stay.session.outbox.change(coding);
        self.coding = Some(coding);
    }

    /// Lets the client in, or tells it why not and closes.
    async fn check(&mut self, claim: Claim) {
        let Claim {
            to,
            username,
            password,
        } = claim;
        let session = &self.stay.session;
        let unknown = || Some(Refusal::Credentials(excerpt(&username)));
        let refusal = match &self.stay.sessions.door {
            Door::Open => unknown(),
            Door::Users(users) => match users.knows(&username, password).await {
                true => None,
                false => unknown(),
            },
            Door::Clusters => match self.ask_clusters(to.0, &username, &password).await {
                Ok(()) => None,
                Err(Some(refusal)) => Some(refusal),
                // A refusal would be the end for most drivers; they come again after a hang-up.
                Err(None) => return session.drain(),
            },
        };
        match refusal {
            None => {
                session.put(to, 0, Opcode::AuthSuccess, |body| put::bytes(body, &[]));
                self.handshake.let_in();
            }
            Some(refusal) => {
                self.refuse(to, &refusal);
                // One guess a connection: what was sent behind it is not read.
                session.drain();
            }
        }
    }

    /// Has the clusters say who comes in; an error of `None` where none can tell, there
    /// are too many others, or nobody waits.
    async fn ask_clusters(
        &mut self,
        version: Version,
        username: &str,
        password: &str,
    ) -> Result<(), Option<Refusal>> {
        let said = Credentials { username, password };
        let admission = tokio::select! {
            admission = self.stay.requests.log_in(said, version) => admission,
            () = self.stay.session.outbox.closed() => return Err(None),
        };
        match admission {
            Admission::In(login) => {
                self.origin.login = Some(login);
                Ok(())
            }
            Admission::Full(why) => {
                if let Some(suppressed) = self.stay.sessions.admit("crowded") {
                    tracing::warn!(suppressed, why, "a client that logs in is hung up on");
                }
                Err(None)
            }
            Admission::Refused(sentence) => Err(Some(Refusal::Denied(sentence))),
            Admission::Unknown(why) => {
                if let Some(suppressed) = self.stay.sessions.admit("log in") {
                    tracing::warn!(suppressed, why, "no cluster can tell who a client is");
                }
                Err(None)
            }
        }
    }

    /// What the client speaks; before STARTUP the highest version that is offered.
    fn version(&self) -> Version {
        let agreed = self.stay.session.state.borrow().version;
        agreed.unwrap_or_else(|| self.stay.sessions.version_max())
    }

    fn refuse(&self, to: (Version, i16), refusal: &Refusal) -> Next {
        let version = to.0.min(self.version());
        let stream = refusal.stream(to.1);
        let sentence = refusal.to_string();
        self.stay
            .session
            .protest((version, stream), refusal.code(), &sentence);
        if !refusal.is_fatal() {
            return Next::Continue;
        }
        // The clusters' words are logged where they are heard.
        let is_usual = matches!(refusal, Refusal::Denied(_) | Refusal::Version { .. });
        self.part(refusal, is_usual);
        Next::Close
    }

    /// The connection ends by the client's doing: usual where it tried a version that is not spoken, as
    /// drivers begin with the highest that they know, or was not let in; its fault otherwise.
    fn part(&self, cause: &(dyn std::error::Error + 'static), is_usual: bool) {
        self.stay.sessions.expect_end(&self.stay.session);
        if is_usual {
            tracing::debug!(%cause, "a client is turned away");
        } else if let Some(suppressed) = self.stay.sessions.admit("protocol") {
            tracing::warn!(
                suppressed,
                cause,
                "closing a client that broke the protocol"
            );
        }
    }
}

impl<R: Requests<Outlet>> Handler for Conversation<'_, R> {
    const DIRECTION: Direction = Direction::Request;

    #[inline]
    fn wake(&mut self) {
        self.stay.requests.wake();
    }

    #[inline]
    fn ahead(&mut self, read: &[u8]) {
        self.stay.requests.ahead(read);
    }

    #[inline]
    fn frame(&mut self, frame: Frame<'_>) -> Next {
        let to = (frame.header.version, frame.header.stream);
        let reply = self
            .handshake
            .handle_frame(frame, self.stay.sessions.version_max());
        if let Reply::Pass(frame) = reply {
            self.pass(frame);
            return Next::Continue;
        }
        self.answer(to, reply)
    }

    fn fault(&mut self, fault: HeaderFault) {
        let told = answer::fault(&fault, self.stay.sessions.version_max());
        let to = (self.version(), told.stream);
        let code = code::PROTOCOL_ERROR;
        self.stay.session.protest(to, code, &told.sentence);
        self.part(&fault, matches!(fault, HeaderFault::Version { .. }));
    }

    #[inline]
    fn limit(&self) -> usize {
        if self.handshake.is_ready() {
            self.stay.sessions.config.frame_max.get() as usize
        } else {
            HANDSHAKE_FRAME_MAX
        }
    }

    #[inline]
    fn is_paused(&self) -> bool {
        let in_flight_max = self.stay.sessions.config.in_flight_max.get();
        self.stay.session.is_paused(in_flight_max)
    }
}

impl<R: Requests<Outlet>> Conversation<'_, R> {
    /// Answers what is not a request for dispatch.
    fn answer(&mut self, to: (Version, i16), reply: Reply<'_>) -> Next {
        let session = &self.stay.session;
        self.stay
            .requests
            .metrics()
            .client_request(RequestKind::Session);
        match reply {
            Reply::Pass(frame) => self.pass(frame),
            Reply::Ready(coding) => {
                self.stay.sessions.recognise(session);
                session.put(to, 0, Opcode::Ready, |_body| {});
                self.start(to.0, coding);
                return Next::Return;
            }
            Reply::Authenticate(coding) => {
                session.put(to, 0, Opcode::Authenticate, |body| {
                    put::string(body, AUTHENTICATOR);
                });
                self.start(to.0, coding);
                return Next::Return;
            }
            Reply::Check(Credentials { username, password }) => {
                self.stay.sessions.recognise(session);
                self.claim = Some(Claim {
                    to,
                    username: username.to_owned(),
                    password: password.to_owned(),
                });
                return Next::Return;
            }
            Reply::Refuse(refusal) => return self.refuse(to, &refusal),
            Reply::Register(events) => {
                session.state.borrow_mut().handle_register(events);
                session.put(to, 0, Opcode::Ready, |_body| {});
            }
            Reply::Supported => session.put(to, 0, Opcode::Supported, |body| {
                supported::put(body, offered(self.stay.sessions.version_max()));
            }),
        }
        Next::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_farewell_is_left_all_the_same() {
        let (mine, theirs) = tokio::io::duplex(1);
        // Nobody reads it, so that flushing, as TLS does for its last words, never ends.
        let mut mine = tokio::io::BufWriter::new(mine);
        mine.write_all(b"last words").await.unwrap();
        let began = Instant::now();
        linger(mine, &Buffers::default()).await;
        assert_eq!(began.elapsed(), LINGER);
        drop(theirs);
    }
}
