//! What comes back from the clusters, and the loop that lets the machine decide and obeys it.

use std::rc::Rc;
use std::sync::Arc;

use super::flow::{Action, Actions, Input};
use super::registry::{Entry, Node};
use super::request::{Flow, Held, Request, What, orphan};
use super::table::{Key, Term};
use super::verdict::judge;
use super::{Client, Desk, Error, Login};
use crate::cluster::prepare::{Id, Taught};
use crate::cluster::{Connection, Limit, Lost, Refused, Sink, Target};
use crate::pair::Side;
use crate::policy::{Report, Verdict};
use crate::replay::apply::fingerprint;
use crate::wire::response::{error, result};
use crate::wire::{Cursor, Frame, Opcode, Version, code};

/// PREPAREs that one request may need on one side before the side counts as sick.
const LESSONS_MAX: u8 = 3;

/// The body of a RESULT of kind VOID.
pub(super) const VOID: [u8; 4] = result::VOID.to_be_bytes();

impl<C: Client> Sink for Desk<C> {
    type Ticket = Key;

    #[inline]
    fn answer(&self, side: Side, key: Key, on: &Rc<Connection<Key>>, frame: Frame<'_>) {
        let judged = {
            let mut table = self.table.borrow_mut();
            let Some(request) = table.get_mut(key) else {
                self.metrics.answer_orphaned(side);
                self.hear_late(&frame);
                return on.adopt();
            };
            request.legs[side].sent = None;
            if frame.header.opcode == Opcode::Error
                && request.flow.waiting().contains(side)
                && let Some(entry) = unprepared(request, side, &frame)
            {
                self.metrics.unprepared(side);
                request.legs[side].host = Some(on.host());
                let taught = self.teach(key, request, side, &entry);
                drop(table);
                return taught.unwrap_or_else(|verdict| {
                    self.advance(key, Input::Answered(side, verdict), None);
                });
            }
            let judged = judge(&frame, request.single_partition(), request.hash());
            self.hear(side, judged.report);
            if request.login.is_some() {
                self.hear_of_rights(request, judged.verdict, &frame);
            }
            judged
        };
        self.advance(
            key,
            Input::Answered(side, judged.verdict),
            Some((side, frame)),
        );
    }

    fn opened(&self, side: Side) {
        self.metrics.backend_connected(side);
    }

    fn failed(&self, side: Side) {
        self.report(side, Report::Strike);
    }

    fn turned_away(&self, side: Side, sentence: &str) {
        self.turned_away(side, "a role that logged in is refused here", sentence);
    }

    fn gone(&self, side: Side) {
        self.metrics.backend_gone(side);
    }

    fn lost(&self, side: Side, key: Key, lost: &Lost) {
        self.wake();
        let hop = {
            let mut table = self.table.borrow_mut();
            let Some(request) = table.get_mut(key) else {
                return self.hear_late_of(lost);
            };
            request.legs[side].sent = None;
            if let Lost::Keyspace { code, message } = lost {
                let error = Error::Node {
                    code: *code,
                    message: message.clone(),
                };
                request.legs[side].held = Held::Error(error);
            }
            note_shut(request, side, lost);
            self.hop(key, request, side, lost)
        };
        let verdict = match (hop, lost) {
            (Some(Ok(())), _) => return,
            (Some(Err(verdict)), _) => verdict,
            (None, Lost::Keyspace { .. }) => Verdict::Definite,
            (None, lost) if lost.may_have_applied() => Verdict::Maybe,
            (
                None,
                Lost::Broken(_)
                | Lost::Dial(_)
                | Lost::Files(_)
                | Lost::Role(_)
                | Lost::Unsure(_)
                | Lost::Version(_),
            ) => Verdict::NotApplied,
        };
        self.advance(key, Input::Answered(side, verdict), None);
    }

    fn taught(&self, side: Side, key: Key, id: &Id, taught: &Taught<'_>) {
        let outcome = {
            let mut table = self.table.borrow_mut();
            let mut request = table.get_mut(key);
            if let Taught::Known(prepared, version) = taught {
                let entry = request.as_ref().and_then(|request| request.entry(id));
                self.learn(side, id, entry, node_of(prepared, *version));
            }
            let Some(request) = &mut request else {
                return match taught {
                    Taught::Known(..) => {}
                    Taught::Lost(lost) => self.hear_late_of(lost),
                    Taught::Refused(frame) => self.hear_late(frame),
                };
            };
            // Settled meanwhile: to send it now would be to apply what counts as not applied.
            if !request.flow.waiting().contains(side) {
                return;
            }
            match taught {
                Taught::Known(..) => self
                    .send_or_teach(key, request, side)
                    .map_err(|verdict| (verdict, None)),
                Taught::Refused(frame) => {
                    let judged = judge(frame, true, request.hash());
                    self.hear(side, judged.report);
                    if request.login.is_some() {
                        self.hear_of_rights(request, judged.verdict, frame);
                    }
                    // Only the PREPARE was sent.
                    let verdict = match judged.verdict {
                        Verdict::Maybe => Verdict::NotApplied,
                        verdict => verdict,
                    };
                    Err((verdict, Some((side, *frame))))
                }
                Taught::Lost(lost) => {
                    note_shut(request, side, lost);
                    let again = self.hop_untold(key, request, side, lost);
                    again.map_err(|verdict| (verdict, None))
                }
            }
        };
        if let Err((verdict, frame)) = outcome {
            self.advance(key, Input::Answered(side, verdict), frame);
        }
    }
}

/// The statement that the node has forgotten, if that is what it says.
fn unprepared<C: Client>(request: &Request<C>, side: Side, frame: &Frame<'_>) -> Option<Rc<Entry>> {
    let (_, content) = frame.content().ok()?;
    let error = error::Error::parse(content).ok()?;
    if error.code != code::UNPREPARED {
        return None;
    }
    request.called(side, error.unprepared?)
}

fn is_unauthorized(frame: &Frame<'_>) -> bool {
    let content = frame.content();
    let error = content.and_then(|(_, content)| error::Error::parse(content));
    error.is_ok_and(|it| it.code == code::UNAUTHORIZED)
}

/// A read goes to its second side: what its entry believes of the columns is as old as the request.
#[inline]
fn fails_over<C: Client>(request: &Request<C>, to: Side) {
    if let (Flow::Read(_), What::Execute(entry)) = (&request.flow, &request.what)
        && request.legs[!to].since.is_some()
    {
        entry.renew(to);
    }
}

/// The cluster does not let the client's role in, which may mean that it is none any more, or not into the
/// keyspace.
fn note_shut<C: Client>(request: &mut Request<C>, side: Side, lost: &Lost) {
    if matches!(lost, Lost::Role(_)) {
        request.legs[side].is_shut = true;
        request.flow.forbid();
    } else if is_kept_out(lost) {
        note_unauthorized(request);
    }
}

/// Whether a role may not use the keyspace that a connection was for.
const fn is_kept_out(lost: &Lost) -> bool {
    matches!(
        lost,
        Lost::Keyspace {
            code: code::UNAUTHORIZED,
            ..
        }
    )
}

/// A cluster says that the client's role may not do this.
fn note_unauthorized<C: Client>(request: &mut Request<C>) {
    if let Some(login) = &request.login {
        login.refused(&request.what, request.keyspace.as_deref());
        request.flow.forbid();
    }
}

/// What a node said to PREPARE, kept.
pub(super) fn node_of(prepared: &result::Prepared<'_>, version: Version) -> Node {
    Node {
        id: prepared.id.into(),
        columns_id: prepared.columns_id.into(),
        columns: fingerprint(prepared.columns),
        variables: fingerprint(&prepared.bind_types()),
        key: result::key_places(Cursor::new(prepared.metadata), version).unwrap_or_default(),
    }
}

impl<C: Client> Desk<C> {
    /// What an answer means for the side's health.
    #[inline]
    fn hear(&self, side: Side, report: Option<Report>) {
        match report {
            Some(report) => self.report(side, report),
            None if self.struck[side].get() => self.report(side, Report::Success),
            None => {}
        }
    }

    /// What an answer says of what a client's role may do.
    fn hear_of_rights(&self, request: &mut Request<C>, verdict: Verdict, frame: &Frame<'_>) {
        let Some(login) = &request.login else { return };
        match verdict {
            Verdict::Ok if matches!(request.flow, Flow::Write(_)) => {
                login.took(&request.what, request.keyspace.as_deref(), self.now.get());
            }
            Verdict::Definite if is_unauthorized(frame) => note_unauthorized(request),
            Verdict::Definite | Verdict::Maybe | Verdict::NotApplied | Verdict::Ok => {}
        }
    }

    /// An answer that nobody waits for any more. Whose it was and what for is forgotten: that a role may not
    /// do something is held against all of them, until a cluster takes something from them again.
    #[inline]
    fn hear_late(&self, frame: &Frame<'_>) {
        let may_tell = self.shared.config.passthrough && frame.header.opcode == Opcode::Error;
        if may_tell && is_unauthorized(frame) {
            self.logins.forget_rights();
        }
    }

    /// The same of a connection.
    fn hear_late_of(&self, lost: &Lost) {
        if is_kept_out(lost) {
            self.logins.forget_rights();
        }
    }

    /// Lets the machine decide over what happened, and obeys.
    #[inline]
    pub(super) fn advance(&self, key: Key, input: Input, current: Option<(Side, Frame<'_>)>) {
        let actions = {
            let mut table = self.table.borrow_mut();
            let Some(request) = table.get_mut(key) else {
                return;
            };
            let waited = request.flow.waiting();
            let actions = request.flow.handle(input);
            self.measure(request, waited, input, &actions);
            actions
        };
        self.carry_out(key, actions, current);
    }

    /// Carries out what the machine wants. `current` is an answer still in the read buffer.
    #[inline]
    pub(super) fn carry_out(&self, key: Key, actions: Actions, current: Option<(Side, Frame<'_>)>) {
        let mut failed: [Option<(Side, Verdict)>; 2] = [None; 2];
        let mut table = self.table.borrow_mut();
        let Some(request) = table.get_mut(key) else {
            return;
        };
        let (mut answered, mut keeps) = (false, false);
        for action in actions.iter() {
            match action {
                Action::Send(side) => {
                    fails_over(request, side);
                    request.legs[side].since = Some(self.now.get());
                    if let Err(verdict) = self.send_or_teach(key, request, side) {
                        failed[side.index()] = Some((side, verdict));
                    }
                }
                Action::Reply(reply) => {
                    answered = true;
                    self.answer_client(request, reply, current);
                }
                Action::Keep { live, .. } => {
                    keeps = live.is_empty();
                    self.journal(key, request, action);
                }
                Action::KeepTrying { .. }
                | Action::Landed(_)
                | Action::Missed(..)
                | Action::Void => self.journal(key, request, action),
            }
        }
        if let (false, Some((side, frame))) = (answered, current) {
            request.legs[side].held = Held::copy(&frame);
        }
        if request.flow.is_over() {
            let request = table.remove(key);
            drop(table);
            return request.into_iter().for_each(|request| self.forget(request));
        }
        if keeps {
            table.arm(key, Term::Keep, self.now.get() + self.wait(Term::Keep));
        }
        drop(table);
        for (side, verdict) in failed.into_iter().flatten() {
            self.advance(key, Input::Answered(side, verdict), None);
        }
    }

    /// Answers that come from now on find nobody.
    fn forget(&self, request: Request<C>) {
        for side in Side::ALL {
            orphan(&request.legs[side]);
        }
        self.shared.untold.remove(request.unvouched);
        self.held
            .set(self.held.get().saturating_sub(request.body.len()));
        self.buffers().give_back(request.body);
    }

    /// Sends the request to one side, after teaching it what it does not know.
    #[inline]
    pub(super) fn send_or_teach(
        &self,
        key: Key,
        request: &mut Request<C>,
        side: Side,
    ) -> Result<(), Verdict> {
        match request.unknown_to(side) {
            Some(entry) => self.teach(key, request, side, &entry),
            None => self.send(key, request, side),
        }
    }

    #[inline]
    fn send(&self, key: Key, request: &mut Request<C>, side: Side) -> Result<(), Verdict> {
        let Some(cluster) = self.cluster(request.login.as_ref(), side) else {
            return Err(Verdict::NotApplied);
        };
        if !Self::may_wait(cluster, request.body.len()) {
            return Err(self.refused(request, side, Refused::Busy(Limit::Unread)));
        }
        let target = request.target(side, cluster.heeds_tokens());
        let way = (request.version, request.bound_to());
        let kind = (request.flags, request.opcode());
        let sent = cluster.send(key, target, way, kind, |out| request.put(side, out));
        let (connection, stream) = match sent {
            Ok(sent) => sent,
            Err(refused) => return Err(self.refused(request, side, refused)),
        };
        request.legs[side].sent(connection, stream);
        if let What::Execute(entry) = &request.what
            && entry.asks()
        {
            self.ask_columns(request.login.as_ref(), (entry, request.version), !side);
        }
        Ok(())
    }

    /// Has the other side prepare it too: rows go without their columns only if both have the same.
    #[cold]
    fn ask_columns(
        &self,
        login: Option<&Rc<Login<C>>>,
        (entry, version): (&Entry, Version),
        side: Side,
    ) {
        if let Some(cluster) = self.cluster(login, side)
            && !self.view.get().out.contains(side)
        {
            entry.asked();
            let template = &entry.template;
            let way = (version, template.keyspace.as_deref());
            let (nobody, target) = (Key::NOBODY, Target::Any);
            if let Err(refused) = cluster.teach(nobody, target, way, template.id, &template.text) {
                tracing::debug!(%side, %refused, "columns could not be compared");
            }
        }
    }

    fn learn(&self, side: Side, id: &Id, entry: Option<Rc<Entry>>, node: Node) {
        let registry = &self.shared.registry;
        let find = || self.prepared.get(id, registry, &self.schema.borrow());
        if let Some(entry) = entry.or_else(find) {
            registry.learn(&entry.template, side, Arc::new(node));
            entry.renew(side);
        }
    }

    fn teach(
        &self,
        key: Key,
        request: &mut Request<C>,
        side: Side,
        entry: &Entry,
    ) -> Result<(), Verdict> {
        let leg = &mut request.legs[side];
        leg.lessons = leg.lessons.saturating_add(1);
        let lessons_max = match &request.what {
            What::Batch(batch) => {
                LESSONS_MAX.saturating_add(u8::try_from(batch.entries.len()).unwrap_or(u8::MAX))
            }
            What::Execute(_) | What::Prepare(_) | What::Query(_) => LESSONS_MAX,
        };
        if lessons_max < leg.lessons {
            return Err(Verdict::NotApplied);
        }
        let Some(cluster) = self.cluster(request.login.as_ref(), side) else {
            return Err(Verdict::NotApplied);
        };
        let template = &entry.template;
        let way = (request.version, template.keyspace.as_deref());
        let target = request.target(side, cluster.heeds_tokens());
        let taught = cluster.teach(key, target, way, template.id, &template.text);
        let asked = match taught {
            Ok(asked) => asked,
            Err(refused) => return Err(self.refused(request, side, refused)),
        };
        let leg = &mut request.legs[side];
        (leg.host, leg.asked) = (Some(asked.host()), Some(asked));
        Ok(())
    }

    fn refused(&self, request: &mut Request<C>, side: Side, refused: Refused) -> Verdict {
        let cluster = self.cluster(request.login.as_ref(), side);
        match refused {
            // One node's trouble is not the cluster's.
            Refused::Down if cluster.is_some_and(|it| it.is_served()) => {}
            Refused::Down => self.report(side, Report::Strike),
            Refused::Busy(limit) => request.legs[side].full = Some(limit),
            Refused::Unsure => {}
            Refused::Role => {
                request.legs[side].is_shut = true;
                request.flow.forbid();
            }
        }
        Verdict::NotApplied
    }
}

impl Held {
    /// Copies an answer out of the read buffer; the usual one needs no copy.
    #[inline]
    pub(super) fn copy(frame: &Frame<'_>) -> Self {
        let header = &frame.header;
        if header.opcode == Opcode::Result && header.flags == 0 && frame.body == VOID {
            return Self::Void;
        }
        Self::Frame {
            flags: header.flags,
            opcode: header.opcode,
            body: frame.body.to_vec(),
        }
    }
}
