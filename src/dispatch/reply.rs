//! The answer to the client: a node's own, with our ids and our paging tag, or an error of ours.

use std::rc::Rc;
use std::sync::Arc;

use super::answers::{VOID, node_of};
use super::flow::Reply;
use super::known::Known;
use super::registry::Template;
use super::request::{Flow, Held, Request, What};
use super::{Client, Desk, Error, Login, paging};
use crate::cluster::Limit;
use crate::cluster::prepare::Id;
use crate::pair::Side;
use crate::replay::record::Repeat;
use crate::statement::{Class, StatementId, prepared};
use crate::wire::header::FLAG_TRACING;
use crate::wire::request::{Batch, batch};
use crate::wire::response::{Prefix, error, result};
use crate::wire::{Cursor, Frame, Opcode, code, put};

impl<C: Client> Desk<C> {
    /// Answers the client.
    #[inline]
    pub(super) fn answer_client(
        &self,
        request: &mut Request<C>,
        reply: Reply,
        current: Option<(Side, Frame<'_>)>,
    ) {
        match reply {
            Reply::Of(side) => self.answer_of(request, side, current),
            Reply::Ambiguous => match request.flow {
                Flow::Read(_) if !is_conditional(request) => self.answer_heard(request, current),
                Flow::Read(_) => self.answer_conditional(request, current),
                Flow::Chain(_) | Flow::Write(_) => {
                    self.refuse(request, &self.write_unknown(request));
                }
            },
            Reply::Unsent => self.answer_heard(request, current),
            Reply::QueueRefused => self.refuse(request, &Error::QueueRefused),
        }
    }

    fn answer_of(&self, request: &mut Request<C>, side: Side, current: Option<(Side, Frame<'_>)>) {
        if let Some((of, frame)) = current
            && of == side
        {
            return self.pass(
                request,
                side,
                (frame.header.flags, frame.header.opcode),
                frame.body,
            );
        }
        match std::mem::take(&mut request.legs[side].held) {
            Held::Void => self.pass(request, side, (0, Opcode::Result), &VOID),
            Held::Frame {
                flags,
                opcode,
                body,
            } => self.pass(request, side, (flags, opcode), &body),
            Held::Error(error) => self.refuse(request, &error),
            Held::Nothing => self.refuse(request, &self.unheard(request)),
        }
    }

    /// Nobody knows whether a conditional was applied. The node's own words pass only where they say
    /// so and no driver takes them for leave to run it again (S14, S15).
    fn answer_conditional(&self, request: &mut Request<C>, current: Option<(Side, Frame<'_>)>) {
        let says_so = current.filter(|(_, frame)| {
            let content = frame.content();
            let says_so = content.and_then(|(_, content)| error::is_write_unknown(content));
            frame.header.opcode == Opcode::Error && says_so == Ok(true)
        });
        match says_so {
            Some((side, _)) => self.answer_of(request, side, current),
            None => self.refuse(request, &self.write_unknown(request)),
        }
    }

    /// No answer counts: what some side said is told all the same, else that none did.
    fn answer_heard(&self, request: &mut Request<C>, current: Option<(Side, Frame<'_>)>) {
        let heard = current.map(|(side, _)| side).or_else(|| {
            Side::ALL
                .into_iter()
                .find(|side| !matches!(request.legs[*side].held, Held::Nothing))
        });
        match heard {
            Some(side) => self.answer_of(request, side, current),
            None => self.refuse(request, &self.unheard(request)),
        }
    }

    fn unheard(&self, request: &Request<C>) -> Error {
        if let Some(login) = &request.login
            && let Some(error) = self.shut_out(request, login)
        {
            return error;
        }
        let was_sent = Side::ALL
            .into_iter()
            .any(|side| request.legs[side].sent.is_some());
        match was_sent {
            true => self.unknown(request),
            false => self.unsent(request),
        }
    }

    /// Why nothing was sent anywhere.
    #[cold]
    fn unsent(&self, request: &Request<C>) -> Error {
        let legs = request.legs.as_ref();
        let full = |side: Side| Some((side, legs[side].full?));
        let full = Side::ALL.into_iter().find_map(full);
        if request.pinned {
            return self.no_page(request, full.map(|(_, limit)| limit));
        }
        if let Some((side, limit)) = full {
            return Error::Full {
                cluster: self.shared.names[side].clone(),
                limit: limit.to_string(),
            };
        }
        let out = self.view.get().out;
        let mut asked = Side::ALL.into_iter().filter(|it| legs[*it].since.is_some());
        let needed = match &request.flow {
            Flow::Chain(_) => asked.next().or_else(|| out.iter().next()),
            Flow::Read(read) => read.only(),
            // It waited for its record in vain.
            Flow::Write(write) if asked.next().is_none() && !write.is_recorded() => {
                return Error::QueueRefused;
            }
            Flow::Write(_) => None,
        };
        match needed {
            Some(side) if out.contains(side) => Error::Away(self.shared.names[side].clone()),
            Some(side) if self.shared.policy.is_dual() && !out.contains(!side) => {
                Error::Unreached(self.shared.names[side].clone())
            }
            Some(_) | None => Error::Unreachable,
        }
    }

    /// Why a paging cannot go on. Not OVERLOADED, which drivers repeat by themselves (S27).
    fn no_page(&self, request: &Request<C>, full: Option<Limit>) -> Error {
        let home = self.shared.policy.home();
        let is_foreign = |side| side != home && request.consistency.is_serial();
        let only = match &request.flow {
            Flow::Read(read) => read.only(),
            Flow::Chain(_) | Flow::Write(_) => None,
        };
        Error::Paging(match full {
            Some(limit) => format!(
                "the cluster that began this paging takes no more requests now: {limit}; \
                 ask for this page again"
            )
            .into(),
            None if only.is_some_and(is_foreign) => {
                "the cluster that began this paging does not answer at a serial consistency; \
                 start it again from the first page"
                    .into()
            }
            None => {
                "the cluster that began this paging is away; start it again from the first page"
                    .into()
            }
        })
    }

    /// All clusters that it was for do not let its role in.
    #[cold]
    fn shut_out(&self, request: &Request<C>, login: &Login<C>) -> Option<Error> {
        let legs = request.legs.as_ref();
        let mut asked = Side::ALL.into_iter().filter(|it| legs[*it].since.is_some());
        let shut = asked.clone().next()?;
        asked.all(|it| legs[it].is_shut).then(|| Error::Node {
            code: code::UNAUTHORIZED,
            message: format!(
                "cluster {} does not let {} log in",
                self.shared.names[shut],
                login.role.name()
            ),
        })
    }

    /// A node may have done what it was asked: no answer came, or none that makes sense.
    fn unknown(&self, request: &Request<C>) -> Error {
        match request.flow {
            Flow::Read(_) if !is_conditional(request) => Error::ReadTimeout {
                consistency: request.consistency,
            },
            Flow::Chain(_) | Flow::Read(_) | Flow::Write(_) => self.write_unknown(request),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as the others")]
    fn write_unknown(&self, request: &Request<C>) -> Error {
        Error::WriteUnknown {
            consistency: request.consistency,
            write_type: write_type(request),
        }
    }

    fn refuse(&self, request: &Request<C>, error: &Error) {
        request
            .client
            .refuse((request.version, request.stream), error);
    }

    /// Passes a node's answer on: as it is, but for a prepared id, a paging state, a keyspace.
    #[inline]
    fn pass(&self, request: &Request<C>, side: Side, (flags, opcode): (u8, Opcode), body: &[u8]) {
        let to = (request.version, request.stream);
        if flags & FLAG_TRACING != 0 {
            self.remember_trace(side, flags, body);
        }
        if opcode == Opcode::Result && body != VOID {
            return self.pass_result(request, side, flags, body);
        }
        if opcode == Opcode::Error {
            return self.pass_error(request, flags, body);
        }
        if opcode != Opcode::Result {
            return self.refuse(request, &self.unknown(request));
        }
        request
            .client
            .answer(to, flags, opcode, |out| out.extend_from_slice(body));
    }

    #[cold]
    fn remember_trace(&self, side: Side, flags: u8, body: &[u8]) {
        if let Ok((
            Prefix {
                tracing: Some(id), ..
            },
            _,
        )) = Prefix::split(flags, body)
        {
            self.shared.traces.remember(id, side);
        }
    }

    #[inline]
    fn pass_result(&self, request: &Request<C>, side: Side, flags: u8, body: &[u8]) {
        let to = (request.version, request.stream);
        let Ok((prefix, content)) = Prefix::split(flags, body) else {
            return self.refuse(request, &self.unknown(request));
        };
        if let What::Prepare(known) = &request.what {
            return self.pass_prepared(request, side, (flags, prefix), content, known);
        }
        if let Some(Class::Use(keyspace)) = class_of(request) {
            request.client.use_keyspace(keyspace);
        }
        match result::paging(content) {
            Ok(Some(paging)) => {
                let head = |out: &mut Vec<u8>| {
                    let tag = paging::tag(side, request.version);
                    let length = paging.state.len() + tag.len();
                    out.extend_from_slice(prefix.bytes);
                    out.extend_from_slice(paging.head);
                    put::i32(out, i32::try_from(length).unwrap_or(i32::MAX));
                    out.extend_from_slice(&tag);
                    out.extend_from_slice(paging.state);
                };
                request.client.pass(to, flags, head, paging.tail);
            }
            Ok(None) | Err(_) => request.client.pass(to, flags, |_out| {}, body),
        }
    }

    fn pass_error(&self, request: &Request<C>, flags: u8, body: &[u8]) {
        let error =
            Prefix::split(flags, body).and_then(|(_, content)| error::Error::parse(content));
        let Ok(error) = error else {
            return self.refuse(request, &self.unknown(request));
        };
        // An id that only a node knows means nothing to the client (I14).
        if error.code == code::UNPREPARED {
            return self.refuse(request, &Error::Unreachable);
        }
        let to = (request.version, request.stream);
        request
            .client
            .answer(to, flags, Opcode::Error, |out| out.extend_from_slice(body));
    }

    fn pass_prepared(
        &self,
        request: &Request<C>,
        side: Side,
        (flags, prefix): (u8, Prefix<'_>),
        content: Cursor<'_>,
        known: &Rc<Known>,
    ) {
        let Ok(answer) = result::Prepared::parse(content, request.version) else {
            return self.refuse(request, &self.unknown(request));
        };
        let keyspace = request.keyspace();
        let StatementId(id) = prepared::id(keyspace, &known.text);
        let node = node_of(&answer, request.version);
        let template = self.remember(id, keyspace, known, node.columns);
        let registry = &self.shared.registry;
        registry.learn(&template, side, Arc::new(node));
        let to = (request.version, request.stream);
        request.client.answer(to, flags, Opcode::Result, |out| {
            out.extend_from_slice(prefix.bytes);
            answer.put(out, &id, request.version);
        });
    }

    /// Puts a prepared statement into the registry, with the columns that a client is shown.
    pub(super) fn remember(
        &self,
        id: Id,
        keyspace: Option<&str>,
        known: &Known,
        shown: u64,
    ) -> Arc<Template> {
        let what = (Arc::clone(&known.text), known.statement.clone());
        let template = Template::new(id, keyspace, what);
        self.shared.registry.show(template, shown)
    }
}

/// The class of a single statement.
fn class_of<C: Client>(request: &Request<C>) -> Option<&Class> {
    match &request.what {
        What::Execute(entry) => Some(&entry.known.statement.class),
        What::Query(known) => Some(&known.statement.class),
        What::Batch(_) | What::Prepare(_) => None,
    }
}

fn is_conditional<C: Client>(request: &Request<C>) -> bool {
    match &request.what {
        What::Batch(batch) => batch.conditional,
        What::Execute(_) | What::Prepare(_) | What::Query(_) => {
            class_of(request) == Some(&Class::Conditional)
        }
    }
}

/// The write type of an ambiguous answer. Never `BATCH_LOG`, which drivers repeat (S15).
fn write_type<C: Client>(request: &Request<C>) -> &'static str {
    if is_conditional(request) {
        return "CAS";
    }
    if class_of(request) == Some(&Class::Unknown) {
        return "SIMPLE";
    }
    match &request.what {
        What::Batch(_) => match Batch::parse(Cursor::new(request.content()), request.version) {
            Ok(batch) => match batch.kind {
                batch::Kind::Logged => "BATCH",
                batch::Kind::Unlogged => "UNLOGGED_BATCH",
                batch::Kind::Counter => "COUNTER",
            },
            Err(_) => "BATCH",
        },
        What::Execute(entry) if entry.known.repeat == Repeat::No => "COUNTER",
        What::Query(known) if known.repeat == Repeat::No => "COUNTER",
        What::Execute(_) | What::Prepare(_) | What::Query(_) => "SIMPLE",
    }
}
