//! A frame becomes a request: read, looked up, planned, and started.

use std::rc::Rc;
use std::sync::Arc;

use super::flow::{Actions, Chain, Read, Rules, Write};
use super::known::Known;
use super::paging;
use super::request::{Batched, Flow, Request, What, legs};
use super::schema::Job;
use super::table::Term;
use super::{Client, Desk, Error, Origin, intercept};
use crate::pair::Side;
use crate::policy::ReadPlan;
use crate::replay::record::Repeat;
use crate::statement::{Class, StatementId, prepared};
use crate::telemetry::RequestKind;
use crate::wire::header::FLAG_PAYLOAD;
use crate::wire::request::{Batch, Execute, Parameters, Prepare, Query, What as Statement, batch};
use crate::wire::{ClientStream, Consistency, Cursor, Frame, Opcode};

/// Children of one batch; the protocol's own limit.
const BATCH_MAX: usize = u16::MAX as usize;

/// What a message says, before anything is decided.
struct Intake {
    what: What,
    consistency: Consistency,
    /// The client's own timestamp.
    timestamp: Option<i64>,
    /// The side that a paging state pins it to.
    pinned: Option<Side>,
}

impl<C: Client> Desk<C> {
    /// Takes one QUERY, PREPARE, EXECUTE or BATCH. Exactly one answer follows, at once or later.
    pub fn request(&self, origin: &Origin<C>, frame: Frame<'_>) {
        if let Err(error) = self.take(origin, frame) {
            let to = (origin.version, ClientStream(frame.header.stream));
            origin.client.refuse(to, &error);
        }
    }

    fn take(&self, origin: &Origin<C>, frame: Frame<'_>) -> Result<(), Error> {
        let mut cursor = Cursor::new(frame.body);
        if frame.header.flags & FLAG_PAYLOAD != 0 {
            cursor.skip_bytes_map()?;
        }
        let payload = frame.body.len() - cursor.rest().len();
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
    fn execute(&self, _origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let execute = Execute::parse(cursor)?;
        let entry = self
            .prepared
            .get(execute.id, &self.shared.registry, &self.schema.borrow())
            .ok_or_else(|| Error::Unprepared(execute.id.to_vec()))?;
        let pinned = pinned(&execute.parameters, _origin)?;
        Ok(Intake {
            what: What::Execute(entry),
            consistency: execute.parameters.consistency,
            timestamp: execute.parameters.timestamp,
            pinned,
        })
    }

    fn query(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let query = Query::parse(cursor)?;
        let known = self.texts.get(
            query.text,
            origin.keyspace.as_deref(),
            &self.schema.borrow(),
        );
        Ok(Intake {
            what: What::Query(known),
            consistency: query.parameters.consistency,
            timestamp: query.parameters.timestamp,
            pinned: pinned(&query.parameters, origin)?,
        })
    }

    fn prepare(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let text = Prepare::parse(cursor)?.text;
        let known = self
            .texts
            .get(text, origin.keyspace.as_deref(), &self.schema.borrow());
        let what = What::Prepare(known);
        Ok(Intake {
            what,
            consistency: Consistency::ONE,
            timestamp: None,
            pinned: None,
        })
    }

    fn batch(&self, origin: &Origin<C>, cursor: Cursor<'_>) -> Result<Intake, Error> {
        let batch = Batch::parse(cursor)?;
        debug_assert!(
            usize::from(batch.count) <= BATCH_MAX,
            "the count is a short"
        );
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
                    let known = self.texts.get(text, origin.keyspace.as_deref(), &schema);
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
        let (class, values) = match &intake.what {
            What::Batch(_) => return Ok(false),
            What::Execute(entry) => (&entry.known.statement.class, None),
            What::Prepare(known) | What::Query(known) => (&known.statement.class, Some(known)),
        };
        match class {
            Class::Topology(select) => {
                self.answer_topology(origin, frame, cursor, select, values)?;
            }
            Class::Schema(_) if !matches!(intake.what, What::Prepare(_)) => {
                self.change_schema(origin, frame, cursor, &intake.what)?;
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
        select: &crate::statement::topology::Select,
        text: Option<&Rc<Known>>,
    ) -> Result<(), Error> {
        self.metrics.client_request(RequestKind::Topology);
        let to = (origin.version, ClientStream(frame.header.stream));
        let mut body = self.buffers().lend();
        if frame.header.opcode == Opcode::Prepare
            && let Some(known) = text
        {
            let keyspace = origin
                .keyspace
                .as_deref()
                .filter(|_| known.statement.needs_keyspace);
            let StatementId(id) = prepared::id(keyspace, &known.text);
            intercept::prepared(select, &id, origin.version, &mut body)?;
            self.remember(id, keyspace, known, None, 0);
        } else {
            let parameters = match frame.header.opcode {
                Opcode::Execute => Execute::parse(cursor)?.parameters,
                _ => Query::parse(cursor)?.parameters,
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
        what: &What,
    ) -> Result<(), Error> {
        self.metrics.client_request(RequestKind::Schema);
        let mut body = Vec::with_capacity(frame.body.len());
        let (known, keyspace) = match what {
            What::Execute(entry) => {
                let parameters = Execute::parse(cursor)?.parameters;
                Query {
                    text: &entry.template.text,
                    parameters,
                }
                .put(&mut body, origin.version);
                (&entry.known, entry.template.keyspace.as_deref())
            }
            What::Query(known) => {
                body.extend_from_slice(cursor.rest());
                (&**known, origin.keyspace.as_deref())
            }
            What::Batch(_) | What::Prepare(_) => return Ok(()),
        };
        let (done, outcome) = tokio::sync::oneshot::channel();
        let job = Job {
            version: origin.version,
            body,
            flags: frame.header.flags & !FLAG_PAYLOAD,
            keyspace: keyspace
                .filter(|_| known.statement.needs_keyspace)
                .map(str::to_owned),
            statement: Arc::new(known.statement.clone()),
            until: std::time::Instant::now() + self.shared.config.deadlines.schema,
            done,
        };
        self.shared
            .jobs
            .try_send(job)
            .map_err(|_full| Error::Busy("schema changes"))?;
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
        let (flow, actions, term) = self.plan(&intake);
        let mut body = self.buffers().lend();
        body.extend_from_slice(frame.body);
        let timestamp = match flow {
            Flow::Write(_) => intake.timestamp.or_else(|| Some(self.timestamp())),
            Flow::Chain(_) | Flow::Read(_) => intake.timestamp,
        };
        let request = Request {
            client: origin.client.clone(),
            stream: ClientStream(frame.header.stream),
            version: origin.version,
            flags: frame.header.flags,
            keyspace: origin.keyspace.clone(),
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

    pub(super) fn wait(&self, term: Term) -> std::time::Duration {
        let deadlines = &self.shared.config.deadlines;
        match term {
            Term::Keep | Term::Write => deadlines.write,
            Term::Read => deadlines.read,
            Term::ReadFirst => deadlines.failover_after,
            Term::ReadRest => deadlines.read.saturating_sub(deadlines.failover_after),
        }
    }

    /// Asks the policy where it goes, and makes the machine that takes it there.
    #[inline]
    fn plan(&self, intake: &Intake) -> (Flow, Actions, Term) {
        let (class, known) = match &intake.what {
            What::Batch(batch) if batch.conditional => return self.at_home_only(),
            What::Batch(batch) => return self.plan_write(batch.repeat),
            What::Prepare(known) => {
                self.metrics.client_request(RequestKind::Prepare);
                let home = !matches!(known.statement.class, Class::Read);
                return self.plan_read(home, false);
            }
            What::Execute(entry) => (&entry.known.statement.class, &entry.known),
            What::Query(known) => (&known.statement.class, &**known),
        };
        match class {
            Class::Read if intake.consistency.is_serial() => {
                self.metrics.client_request(RequestKind::Read);
                let home = self.shared.policy.home();
                match intake.pinned {
                    // Only home answers at a serial consistency, and it cannot go on with this page.
                    Some(side) if side != home => unsent(side),
                    Some(_) | None => self.only(home),
                }
            }
            Class::Read => {
                self.metrics.client_request(RequestKind::Read);
                match intake.pinned {
                    Some(first) => self.only(first),
                    None => self.plan_read(false, known.point),
                }
            }
            Class::Write => {
                if known.statement.per_server {
                    self.metrics.per_server_value();
                }
                self.plan_write(known.repeat)
            }
            Class::Conditional => self.at_home_only(),
            Class::Unknown => {
                self.metrics.client_request(RequestKind::Unknown);
                self.metrics.unknown_statement();
                let home = self.shared.policy.home();
                let other = Some(!home).filter(|_| self.shared.policy.is_dual());
                let (chain, actions) = Chain::new(home, other, self.view.get().out);
                (Flow::Chain(chain), actions, Term::Read)
            }
            Class::Describe
            | Class::System
            | Class::Traces
            | Class::Use(_)
            | Class::Schema(_)
            | Class::Topology(_) => {
                self.metrics.client_request(known.kind);
                match intake.pinned {
                    Some(first) => self.only(first),
                    None => self.plan_read(true, false),
                }
            }
        }
    }

    fn plan_read(&self, at_home: bool, point: bool) -> (Flow, Actions, Term) {
        let view = self.view.get();
        let plan = if at_home {
            self.shared.policy.at_home(view)
        } else {
            let queue = self.shared.queue.as_ref();
            let is_behind = |side| queue.is_some_and(|queue| queue.is_behind(side));
            self.shared.policy.read(view, is_behind)
        };
        if let Some(side) = plan.avoided {
            self.metrics.stale_avoided(side);
        }
        let (read, actions) = Read::new(plan);
        let term = if point && plan.then.is_some() {
            Term::ReadFirst
        } else {
            Term::Read
        };
        (Flow::Read(read), actions, term)
    }

    fn plan_write(&self, repeat: Repeat) -> (Flow, Actions, Term) {
        let kind = match repeat {
            Repeat::No => RequestKind::NotRepeatable,
            Repeat::Shifted | Repeat::Yes => RequestKind::Write,
        };
        self.metrics.client_request(kind);
        let writes = &self.shared.policy.config().writes;
        let rules = Rules {
            ack: writes.ack,
            on_queue_failure: writes.on_queue_failure,
            repeatable: repeat != Repeat::No,
            recorded: self.shared.policy.is_dual(),
        };
        let accepts = self
            .shared
            .queue
            .as_ref()
            .is_some_and(|queue| queue.accepts());
        let plan = self.shared.policy.write(self.view.get());
        let (write, actions) = Write::new(plan, rules, accepts);
        (Flow::Write(write), actions, Term::Write)
    }

    fn at_home_only(&self) -> (Flow, Actions, Term) {
        self.metrics.client_request(RequestKind::Conditional);
        if self.shared.policy.is_dual() {
            self.metrics.conditional_not_copied();
        }
        let (flow, actions, _) = self.only(self.shared.policy.home());
        (flow, actions, Term::Write)
    }

    /// What only this side can answer.
    fn only(&self, first: Side) -> (Flow, Actions, Term) {
        if self.shared.policy.is_dual() && self.view.get().out.contains(first) {
            return unsent(first);
        }
        let (read, actions) = Read::new(alone(first));
        (Flow::Read(read), actions, Term::Read)
    }
}

/// Answered without asking anybody: this side could, and is away.
fn unsent(side: Side) -> (Flow, Actions, Term) {
    let (read, actions) = Read::unsent(alone(side));
    (Flow::Read(read), actions, Term::Read)
}

const fn alone(first: Side) -> ReadPlan {
    ReadPlan {
        first,
        then: None,
        avoided: None,
    }
}

fn pinned<C>(parameters: &Parameters<'_>, origin: &Origin<C>) -> Result<Option<Side>, Error> {
    let Some(state) = parameters.paging_state else {
        return Ok(None);
    };
    let (side, _) = paging::split(state, origin.version).ok_or(Error::Paging(
        "this paging state was not made by this proxy",
    ))?;
    Ok(Some(side))
}

impl Batched {
    fn add(&mut self, known: &Known) {
        self.hash = self.hash.rotate_left(5) ^ known.hash;
        self.conditional |= known.statement.class == Class::Conditional;
        self.repeat = match (self.repeat, known.repeat) {
            (Repeat::No, _) | (_, Repeat::No) => Repeat::No,
            (Repeat::Shifted, _) | (_, Repeat::Shifted) => Repeat::Shifted,
            (Repeat::Yes, Repeat::Yes) => Repeat::Yes,
        };
    }
}
