//! A record applied to its cluster: the same bytes, the same timestamp, through the same code as
//! live writes.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::record::{self, Record, Statement};
use super::worker::{Applied, Apply};
use crate::cluster::Lost;
use crate::cluster::call::{Failure, Lesson, Line, Reply};
use crate::pair::Side;
use crate::statement::{StatementId, prepared};
use crate::wire::code::{self, Effect};
use crate::wire::request::{Batch, Child, Execute, Parameters, Query, Values, What, batch};
use crate::wire::{Consistency, Opcode, Version};

/// Statements whose ids one line remembers; at the limit it starts over.
const LESSONS_MAX: usize = 4_096;
/// Times that a node may forget a statement before the record counts as not applied.
const LESSONS_TRIED_MAX: usize = 3;

const NO_UNSET: &str = "the cluster speaks version 3, which has no unset values";
const TYPES_CHANGED: &str = "the bound columns do not have the types that it was written for";

/// What the cluster calls the statements that were prepared in one keyspace, by their text.
type Lessons = HashMap<Box<str>, Rc<Learnt>>;

#[derive(Debug)]
struct Learnt {
    id: Rc<[u8]>,
    bind_types: u64,
}

/// Applies records to one cluster.
#[derive(Debug)]
pub struct Applier {
    line: Line,
    within: Duration,
    /// By keyspace; those of none are under the empty name, which no keyspace has.
    lessons: RefCell<HashMap<Box<str>, Lessons>>,
}

impl Applier {
    /// Applies over this line; one attempt may take this long.
    #[must_use]
    pub fn new(line: Line, within: Duration) -> Self {
        Self {
            line,
            within,
            lessons: RefCell::default(),
        }
    }

    async fn run(&self, record: &Record, shift: bool) -> Result<Reply, Trouble> {
        // Version 3 reads them as null: what nobody wrote would be deleted.
        if self.line.version() == Version::V3 && leaves_unset(record) {
            return Err(Trouble::Unset);
        }
        let timestamp = record
            .timestamp
            .map(|at| if shift { at.saturating_add(1) } else { at });
        match &record.statements[..] {
            [one] if record.batch == record::Batch::None && 0 < one.count && !one.named => {
                self.execute(record, one, timestamp).await
            }
            [one] if record.batch == record::Batch::None => {
                self.query(record, one, timestamp).await
            }
            children => self.batch(record, children, timestamp).await,
        }
    }

    async fn execute(
        &self,
        record: &Record,
        statement: &Statement,
        timestamp: Option<i64>,
    ) -> Result<Reply, Trouble> {
        for _ in 0..LESSONS_TRIED_MAX {
            let learnt = self.learn(statement).await?;
            let parameters = parameters(record, Some(values(statement)), timestamp);
            let execute = Execute {
                id: &learnt.id,
                // A write has no columns, and a node that is told none sends all.
                columns: &[],
                parameters,
            };
            let version = self.line.version();
            let body = |out: &mut Vec<u8>| execute.put(out, version);
            let reply = self.call((version, None), Opcode::Execute, body).await?;
            if !self.forgot(&reply) {
                return Ok(reply);
            }
        }
        Err(Trouble::forgetful())
    }

    async fn query(
        &self,
        record: &Record,
        statement: &Statement,
        timestamp: Option<i64>,
    ) -> Result<Reply, Trouble> {
        let values = (0 < statement.count).then(|| values(statement));
        let mut parameters = parameters(record, values, timestamp);
        let version = self.line.version();
        let keyspace = statement.keyspace.as_deref();
        parameters.keyspace = keyspace.filter(|_| version.has_keyspaces());
        let query = Query {
            text: &statement.text,
            parameters,
        };
        let way = (version, keyspace);
        self.call(way, Opcode::Query, |out| query.put(out, version))
            .await
    }

    async fn batch(
        &self,
        record: &Record,
        children: &[Statement],
        timestamp: Option<i64>,
    ) -> Result<Reply, Trouble> {
        let kind = match record.batch {
            record::Batch::Counter => batch::Kind::Counter,
            record::Batch::Unlogged => batch::Kind::Unlogged,
            record::Batch::Logged | record::Batch::None => batch::Kind::Logged,
        };
        let serial = record.serial.map(Consistency);
        let count = u16::try_from(children.len()).unwrap_or(u16::MAX);
        let mut batch = Batch::of(
            kind,
            count,
            Consistency(record.consistency),
            serial,
            timestamp,
        );
        let keyspace = of_texts(children);
        for _ in 0..LESSONS_TRIED_MAX {
            let learnt = self.learn_all(children, keyspace).await?;
            let version = self.line.version();
            batch.keyspace = keyspace.filter(|_| version.has_keyspaces());
            let body = |out: &mut Vec<u8>| put_batch(&batch, children, &learnt, (out, version));
            let way = (version, keyspace);
            let reply = self.call(way, Opcode::Batch, body).await?;
            if !self.forgot(&reply) {
                return Ok(reply);
            }
        }
        Err(Trouble::forgetful())
    }

    async fn call(
        &self,
        (version, keyspace): (Version, Option<&str>),
        opcode: Opcode,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Reply, Trouble> {
        let way = (version, keyspace.filter(|_| !version.has_keyspaces()));
        Ok(self.line.call(way, (0, opcode), body, self.within).await?)
    }

    /// What each child of a batch is called that cannot go as text in this keyspace.
    async fn learn_all(
        &self,
        children: &[Statement],
        keyspace: Option<&str>,
    ) -> Result<Vec<Option<Rc<Learnt>>>, Trouble> {
        let mut all = Vec::with_capacity(children.len());
        for child in children {
            let elsewhere = child.keyspace.is_some() && child.keyspace.as_deref() != keyspace;
            all.push(match elsewhere || child.bind_types != 0 {
                true => Some(self.learn(child).await?),
                false => None,
            });
        }
        Ok(all)
    }

    /// What the statement is called, once its types are known to be those it was written for.
    async fn learn(&self, statement: &Statement) -> Result<Rc<Learnt>, Trouble> {
        let keyspace = statement.keyspace.as_deref();
        let learnt = self.lesson(keyspace, &statement.text).await?;
        // A column that was dropped and added again with another type would take the bytes wrongly
        // (S9).
        match statement.bind_types == 0 || statement.bind_types == learnt.bind_types {
            true => Ok(learnt),
            false => Err(Trouble::TypesChanged),
        }
    }

    async fn lesson(&self, keyspace: Option<&str>, text: &str) -> Result<Rc<Learnt>, Trouble> {
        let name = keyspace.unwrap_or_default();
        if let Some(known) = self.lessons.borrow().get(name)
            && let Some(learnt) = known.get(text)
        {
            return Ok(Rc::clone(learnt));
        }
        let StatementId(id) = prepared::id(keyspace, text);
        let way = (self.line.version(), keyspace);
        let Lesson { id, bind_types } = self.line.teach(way, id, text, self.within).await?;
        let bind_types = fingerprint(&bind_types);
        let learnt = Rc::new(Learnt { id, bind_types });
        let mut lessons = self.lessons.borrow_mut();
        if LESSONS_MAX <= lessons.values().map(HashMap::len).sum() {
            lessons.clear();
        }
        let known = lessons.entry(Box::from(name)).or_default();
        known.insert(Box::from(text), Rc::clone(&learnt));
        Ok(learnt)
    }

    /// Whether the node does not know an id any more, nor do we then.
    fn forgot(&self, reply: &Reply) -> bool {
        let forgot = reply
            .error()
            .is_some_and(|(code, _)| code == code::UNPREPARED);
        if forgot {
            self.lessons.borrow_mut().clear();
        }
        forgot
    }
}

fn leaves_unset(record: &Record) -> bool {
    let mut values = record.statements.iter().flat_map(Statement::values);
    values.any(|(_, value)| value == record::Value::Unset)
}

/// The keyspace of those children that go as text: one session wrote them all.
fn of_texts(children: &[Statement]) -> Option<&str> {
    let texts = children.iter().filter(|child| child.bind_types == 0);
    texts
        .into_iter()
        .find_map(|child| child.keyspace.as_deref())
}

fn put_batch(
    batch: &Batch<'_>,
    children: &[Statement],
    learnt: &[Option<Rc<Learnt>>],
    (out, version): (&mut Vec<u8>, Version),
) {
    batch.put_head(out);
    for (child, learnt) in children.iter().zip(learnt) {
        let what = match learnt {
            Some(learnt) => What::Id(&learnt.id),
            None => What::Text(&child.text),
        };
        let values = values(child);
        Child { what, values }.put(out);
    }
    batch.put_tail(out, version);
}

impl Apply for Applier {
    async fn apply(&self, side: Side, record: Rc<Record>, shift: bool) -> Applied {
        debug_assert_eq!(side, self.line.side(), "each side has its own line");
        match self.run(&record, shift).await {
            Ok(reply) => reply.error().map_or(Applied::Done, |(code, message)| {
                judge(code, message, record.single_partition)
            }),
            Err(Trouble::Maybe(text)) => Applied::Maybe(text),
            Err(Trouble::NotApplied(text)) => Applied::NotApplied(text),
            Err(Trouble::Refused(text)) => Applied::Refused(text),
            Err(Trouble::TypesChanged) => Applied::Unfit(TYPES_CHANGED.to_owned()),
            Err(Trouble::Unset) => Applied::Unfit(NO_UNSET.to_owned()),
        }
    }
}

/// Why there is no answer to judge.
#[derive(Debug)]
enum Trouble {
    Maybe(String),
    NotApplied(String),
    Refused(String),
    TypesChanged,
    Unset,
}

impl Trouble {
    fn forgetful() -> Self {
        Self::NotApplied("the node keeps forgetting the statement".to_owned())
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(Lost::Keyspace { code, message })
            | Failure::Unteachable { code, message }
                if code::effect(code, false) == Effect::Refused =>
            {
                Self::Refused(message)
            }
            failure if failure.may_have_applied() => Self::Maybe(failure.to_string()),
            failure => Self::NotApplied(failure.to_string()),
        }
    }
}

/// As the live path judges.
fn judge(code: i32, message: String, single_partition: bool) -> Applied {
    match code::effect(code, single_partition) {
        Effect::Maybe => Applied::Maybe(message),
        Effect::NotApplied => Applied::NotApplied(message),
        Effect::Refused => Applied::Refused(message),
    }
}

/// A fingerprint of metadata, never 0. Records hold it, so no version of this program may change it.
#[must_use]
pub fn fingerprint(metadata: &[u8]) -> u64 {
    let digest = Sha256::digest(metadata);
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first).max(1)
}

fn values(statement: &Statement) -> Values<'_> {
    Values {
        count: statement.count,
        named: statement.named,
        bytes: &statement.values,
    }
}

fn parameters<'a>(
    record: &Record,
    values: Option<Values<'a>>,
    timestamp: Option<i64>,
) -> Parameters<'a> {
    let serial = record.serial.map(Consistency);
    let plain = Parameters::plain(Consistency(record.consistency));
    Parameters {
        values,
        serial,
        timestamp,
        ..plain
    }
}
