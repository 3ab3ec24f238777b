//! A frame becomes a request: read, looked up, planned, and started.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::known::Known;
use super::paging;
use super::request::{Batched, Flow, Request, What, legs};
use super::schema::Job;
use super::table::Term;
use super::{Client, Desk, Error, Origin, intercept};
use crate::cluster::Cluster;
use crate::pair::{Side, Sides};
use crate::replay::record::Repeat;
use crate::statement::topology::{Select, Unsupported};
use crate::statement::{Class, StatementId, prepared};
use crate::telemetry::RequestKind;
use crate::wire::header::FLAG_PAYLOAD;
use crate::wire::request::{
    Batch, Execute, Parameters, Prepare, Query, Values, What as Statement, batch,
};
use crate::wire::{ClientStream, Consistency, Cursor, Frame, Opcode};

/// Children of one batch; the protocol's own limit.
const BATCH_MAX: usize = u16::MAX as usize;

/// Bytes of the requests of one thread, until they are answered; one alone may be longer.
const HELD_MAX: usize = 128 << 20;
/// Above this size a request also heeds what the nodes of a side have not read yet.
const LARGE: usize = 64 << 10;
/// Bytes that the nodes of one side have not read yet, over all connections, when a large request is to
/// be added; one alone may be longer. What was given up waits there as well.
const UNREAD_MAX: usize = 64 << 20;

/// What a message says, before anything is decided.
pub(super) struct Intake {
    pub(super) what: What,
    pub(super) consistency: Consistency,
    /// The client's own timestamp.
    pub(super) timestamp: Option<i64>,
    /// The side that a paging state pins it to.
    pub(super) pinned: Option<Side>,
    /// The side that made the trace that is asked for.
    pub(super) traced: Option<Side>,
    /// The keyspace of names that have none: the client's, or the one that a message of version 5 names.
    pub(super) keyspace: Option<Rc<str>>,
}

impl<C: Client> Desk<C> {
    /// Takes one QUERY, PREPARE, EXECUTE or BATCH. Exactly one answer follows, at once or later.
    pub fn request(&self, origin: &Origin<C>, frame: Frame<'_>) {
        if let Err(error) = self.take(origin, frame) {
            let to = (origin.version, ClientStream(frame.header.stream));
            origin.client.refuse(to, &error);
        }
    }

    /// What a client sent, as it was read, before its frames are taken.
    #[inline]
    pub fn ahead(&self, read: &[u8]) {
        self.prepared.ahead(read);
    }

    fn take(&self, origin: &Origin<C>, frame: Frame<'_>) -> Result<(), Error> {
        let mut cursor = Cursor::new(frame.body);
        if frame.header.flags & FLAG_PAYLOAD != 0 {
            cursor.skip_bytes_map()?;
        }
        let payload = frame.body.len() - cursor.rest().len();
        self.has_room(frame.body.len())?;
        let intake = match frame.header.opcode {
            Opcode::Execute => self.execute(origin, cursor)?,
            Opcode::Query => self.query(origin, cursor)?,
            Opcode::Prepare => self.prepare(origin, cursor)?,
            Opcode::Batch => self.batch(origin, cursor)?,
            other => {
                return Err(Error::Invalid(format!(
                    "{other:?} is no request for a cluster"
                )));
            }
        };
        if self.answer_here(origin, frame, cursor, &intake)? {
            return Ok(());
        }
        self.start_request(origin, frame, payload, intake);
        Ok(())
    }

    #[inline]
    fn execute(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let execute = Execute::parse(cursor, origin.version)?;
        let entry = self
            .prepared
            .get(execute.id, &self.shared.registry, &self.schema.borrow())
            .ok_or_else(|| Error::Unprepared(execute.id.to_vec()))?;
        let pinned = pinned(&execute.parameters, origin)?;
        let traced = self.traced(&entry.known, execute.parameters.values);
        Ok(Intake {
            what: What::Execute(entry),
            consistency: execute.parameters.consistency,
            timestamp: execute.parameters.timestamp,
            pinned,
            traced,
            keyspace: origin.keyspace.clone(),
        })
    }

    fn query(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let query = Query::parse(cursor, origin.version)?;
        let keyspace = origin.keyspace_of(query.parameters.keyspace);
        let schema = self.schema.borrow();
        let known = self.texts.get(query.text, keyspace.as_deref(), &schema);
        let traced = self.traced(&known, query.parameters.values);
        Ok(Intake {
            what: What::Query(known),
            consistency: query.parameters.consistency,
            timestamp: query.parameters.timestamp,
            pinned: pinned(&query.parameters, origin)?,
            traced,
            keyspace,
        })
    }

    #[inline]
    fn traced(&self, known: &Known, values: Option<Values<'_>>) -> Option<Side> {
        match known.statement.class {
            Class::Traces => self.shared.traces.maker(&known.text, values),
            _ => None,
        }
    }

    fn prepare(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let prepare = Prepare::parse(cursor, origin.version)?;
        let keyspace = origin.keyspace_of(prepare.keyspace);
        let schema = self.schema.borrow();
        let known = self.texts.get(prepare.text, keyspace.as_deref(), &schema);
        let what = What::Prepare(known);
        Ok(Intake {
            what,
            consistency: Consistency::ONE,
            timestamp: None,
            pinned: None,
            traced: None,
            keyspace,
        })
    }

    fn batch(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let batch = Batch::parse(cursor, origin.version)?;
        debug_assert!(
            usize::from(batch.count) <= BATCH_MAX,
            "the count is a short"
        );
        let keyspace = origin.keyspace_of(batch.keyspace);
        let schema = self.schema.borrow();
        let mut batched = Batched {
            entries: Vec::with_capacity(batch.count.into()),
            texts: Vec::with_capacity(batch.count.into()),
            needs_keyspace: false,
            repeat: if batch.kind == batch::Kind::Counter {
                Repeat::No
            } else {
                Repeat::Yes
            },
            conditional: false,
            per_server: false,
            hash: 0,
        };
        for child in batch.children() {
            match child.what {
                Statement::Id(id) => {
                    let entry = self
                        .prepared
                        .get(id, &self.shared.registry, &schema)
                        .ok_or_else(|| Error::Unprepared(id.to_vec()))?;
                    batched.add(&entry.known);
                    batched.entries.push(Some(entry));
                    batched.texts.push(None);
                }
                Statement::Text(text) => {
                    let known = self.texts.get(text, keyspace.as_deref(), &schema);
                    batched.add(&known);
                    batched.needs_keyspace |= known.statement.needs_keyspace;
                    batched.entries.push(None);
                    batched.texts.push(Some(known));
                }
            }
        }
        Ok(Intake {
            what: What::Batch(Rc::new(batched)),
            consistency: batch.consistency,
            timestamp: batch.timestamp,
            pinned: None,
            traced: None,
            keyspace,
        })
    }

    /// Whether the answer needs no cluster of this thread's: topology, and schema changes.
    fn answer_here(
        &self,
        origin: &Origin<C>,
        frame: Frame<'_>,
        cursor: Cursor<'_>,
        intake: &Intake,
    ) -> Result<bool, Error> {
        let (class, text) = match &intake.what {
            What::Batch(_) => return Ok(false),
            What::Execute(entry) => (&entry.known.statement.class, None),
            What::Prepare(known) | What::Query(known) => (&known.statement.class, Some(known)),
        };
        match class {
            Class::Topology(select) => {
                let text = text.zip(Some(intake.keyspace.as_deref()));
                self.answer_topology(origin, frame, cursor, select, text)?;
            }
            Class::Schema(_) if !matches!(intake.what, What::Prepare(_)) => {
                self.change_schema(origin, frame, cursor, intake)?;
            }
            Class::Conditional
            | Class::Describe
            | Class::Read
            | Class::Schema(_)
            | Class::System
            | Class::Traces
            | Class::Unknown
            | Class::Use(_)
            | Class::Write => return Ok(false),
        }
        Ok(true)
    }

    fn answer_topology(
        &self,
        origin: &Origin<C>,
        frame: Frame<'_>,
        cursor: Cursor<'_>,
        select: &Result<Select, Unsupported>,
        text: Option<(&Rc<Known>, Option<&str>)>,
    ) -> Result<(), Error> {
        self.metrics.client_request(RequestKind::Topology);
        let select = select.as_ref().map_err(intercept::unsupported)?;
        let to = (origin.version, ClientStream(frame.header.stream));
        let mut body = self.buffers().lend();
        if frame.header.opcode == Opcode::Prepare
            && let Some((known, keyspace)) = text
        {
            let keyspace = keyspace.filter(|_| known.statement.needs_keyspace);
            let StatementId(id) = prepared::id(keyspace, &known.text);
            intercept::prepared(select, &id, origin.version, &mut body)?;
            self.remember(id, keyspace, known, 0);
        } else {
            let parameters = match frame.header.opcode {
                Opcode::Execute => Execute::parse(cursor, origin.version)?.parameters,
                _ => Query::parse(cursor, origin.version)?.parameters,
            };
            let news = self.shared.news.load();
            let skip = parameters.skip_metadata;
            let (facts, dialled) = (&news.facts, origin.dialled);
            let values = parameters.values;
            intercept::rows(
                select,
                facts,
                dialled,
                values,
                skip,
                origin.version,
                &mut body,
            )?;
        }
        origin
            .client
            .answer(to, 0, Opcode::Result, |out| out.extend_from_slice(&body));
        self.buffers().give_back(body);
        Ok(())
    }

    /// Hands a schema change to the control runtime, which runs them one at a time.
    fn change_schema(
        &self,
        origin: &Origin<C>,
        frame: Frame<'_>,
        cursor: Cursor<'_>,
        intake: &Intake,
    ) -> Result<(), Error> {
        self.metrics.client_request(RequestKind::Schema);
        let version = origin.version;
        let mut body = Vec::with_capacity(frame.body.len());
        let payload = frame.body.len() - cursor.rest().len();
        body.extend_from_slice(frame.body.get(..payload).unwrap_or_default());
        let (known, keyspace) = match &intake.what {
            What::Execute(entry) => {
                let parameters = Execute::parse(cursor, version)?.parameters;
                Query {
                    text: &entry.template.text,
                    parameters,
                }
                .put(&mut body, version);
                (&entry.known, entry.template.keyspace.as_deref())
            }
            What::Query(known) => {
                body.extend_from_slice(cursor.rest());
                (&**known, intake.keyspace.as_deref())
            }
            What::Batch(_) | What::Prepare(_) => return Ok(()),
        };
        let (done, outcome) = tokio::sync::oneshot::channel();
        let job = Job {
            version,
            body,
            flags: frame.header.flags,
            keyspace: keyspace
                .filter(|_| known.statement.needs_keyspace)
                .map(str::to_owned),
            statement: Arc::new(known.statement.clone()),
            role: origin.login.as_ref().map(|it| it.role.clone()),
            until: std::time::Instant::now() + self.shared.config.deadlines.schema,
            done,
        };
        self.shared
            .jobs
            .try_send(job)
            .map_err(|_full| Error::Busy("too many schema changes wait"))?;
        let client = origin.client.clone();
        let to = (origin.version, ClientStream(frame.header.stream));
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move {
            match outcome.await {
                Ok(Ok(it)) => {
                    let body = |out: &mut Vec<u8>| out.extend_from_slice(&it.body);
                    client.answer(to, it.flags, it.opcode, body);
                }
                Ok(Err(error)) => client.refuse(to, &error),
                Err(_dropped) => client.refuse(to, &Error::Unreachable),
            }
        });
        Ok(())
    }

    #[inline]
    fn start_request(&self, origin: &Origin<C>, frame: Frame<'_>, payload: usize, intake: Intake) {
        let (flow, actions, term) = self.plan(&intake, origin.login.as_deref());
        let mut body = self.buffers().lend();
        body.extend_from_slice(frame.body);
        self.held.set(self.held.get() + body.len());
        let timestamp = match flow {
            Flow::Write(_) => intake.timestamp.or_else(|| Some(self.timestamp())),
            Flow::Chain(_) | Flow::Read(_) => intake.timestamp,
        };
        let request = Request {
            client: origin.client.clone(),
            login: origin.login.clone(),
            stream: ClientStream(frame.header.stream),
            version: origin.version,
            flags: frame.header.flags,
            keyspace: intake.keyspace,
            what: intake.what,
            body,
            payload,
            consistency: intake.consistency,
            timestamp,
            flow,
            since: self.now.get(),
            legs: legs(),
            pinned: intake.pinned.is_some(),
            seq: None,
            unvouched: Sides::NONE,
        };
        let key = {
            let mut table = self.table.borrow_mut();
            if table.is_empty() {
                self.busy.notify_one();
            }
            let key = table.insert(request);
            table.arm(key, term, self.now.get() + self.wait(term));
            key
        };
        self.carry_out(key, actions, None);
    }

    /// Whether this thread may hold so many bytes more. A compressed body arrives 255 times smaller, so
    /// the bound is on what requests hold, not on what came.
    #[inline]
    fn has_room(&self, size: usize) -> Result<(), Error> {
        let held = self.held.get();
        match held == 0 || held + size <= HELD_MAX {
            true => Ok(()),
            false => Err(Error::Busy("they hold more memory than one thread may")),
        }
    }

    /// Whether a request of this size may wait for a side's nodes to read it. The other side does not
    /// suffer from one that reads nothing.
    #[inline]
    pub(super) fn may_wait(cluster: &Cluster<Self>, size: usize) -> bool {
        if size <= LARGE {
            return true;
        }
        let unread = cluster.unsent();
        unread == 0 || unread + size <= UNREAD_MAX
    }

    pub(super) fn wait(&self, term: Term) -> std::time::Duration {
        let deadlines = &self.shared.config.deadlines;
        match term {
            Term::Keep | Term::Write => deadlines.write,
            Term::Read => deadlines.read,
            Term::ReadFirst => deadlines.failover_after,
            Term::ReadRest => deadlines.read.saturating_sub(deadlines.failover_after),
            // The second side of `sync` has as long as the first: it is attempted in any case (DESIGN 4).
            Term::WriteFirst => deadlines.write / 2,
            Term::WriteRest => deadlines.write.saturating_sub(deadlines.write / 2),
        }
    }
}

fn pinned<C: Client>(
    parameters: &Parameters<'_>,
    origin: &Origin<C>,
) -> Result<Option<Side>, Error> {
    let Some(state) = parameters.paging_state else {
        return Ok(None);
    };
    let (side, _) = paging::split(state, origin.version).ok_or(Error::Paging(Cow::Borrowed(
        "this paging state was not made by this proxy",
    )))?;
    Ok(Some(side))
}

impl Batched {
    fn add(&mut self, known: &Known) {
        self.hash = self.hash.rotate_left(5) ^ known.hash;
        self.conditional |= known.statement.class == Class::Conditional;
        self.per_server |= known.statement.per_server;
        self.repeat = match (self.repeat, known.repeat) {
            (Repeat::No, _) | (_, Repeat::No) => Repeat::No,
            (Repeat::Shifted, _) | (_, Repeat::Shifted) => Repeat::Shifted,
            (Repeat::Yes, Repeat::Yes) => Repeat::Yes,
        };
    }
}
