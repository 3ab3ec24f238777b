//! What one thread knows about a text: its class and all that follows from it, worked out once.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use crate::replay::record::Repeat;
use crate::statement::{Class, Functions, Repeatable, Schema, Statement, Table, classify_in};
use crate::telemetry::RequestKind;

/// Texts that one thread remembers; at the limit it starts over.
const TEXTS_MAX: usize = 4_096;
/// A longer text is classified each time.
const TEXT_LEN_MAX: usize = 4 * 1024;

/// A text and what it means in one keyspace under one schema. What every request reads stands first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Known {
    pub(super) repeat: Repeat,
    pub(super) kind: RequestKind,
    /// A read of one partition by its whole key.
    pub(super) point: bool,
    /// Of the text: tells statements apart for the breaker.
    pub(super) hash: u64,
    pub(super) statement: Statement,
    pub(super) text: Arc<str>,
    tables: OnceCell<Box<[u64]>>,
}

impl Known {
    pub(super) fn new(
        text: Arc<str>,
        statement: Statement,
        keyspace: Option<&str>,
        schema: &Schema,
    ) -> Self {
        let repeat = match statement.repeatable(schema, keyspace) {
            Repeatable::Yes => Repeat::Yes,
            Repeatable::Shifted => Repeat::Shifted,
            Repeatable::No(_) => Repeat::No,
        };
        let kind = kind(&statement.class, repeat);
        let point = statement.point_read(schema, keyspace);
        let hash = hash(None, &text);
        Self {
            text,
            statement,
            repeat,
            kind,
            point,
            hash,
            tables: OnceCell::new(),
        }
    }

    /// The tables that it writes to, as hashes, in the keyspace that it was read in. None where the right
    /// to write to them is not all that is needed, or nobody knows.
    pub(super) fn tables(&self, keyspace: Option<&str>) -> &[u64] {
        self.tables.get_or_init(|| {
            let statement = &self.statement;
            if statement.class != Class::Write || statement.functions == Functions::Foreign {
                return Box::default();
            }
            let named = |it: &Table| hash(it.keyspace_in(keyspace), &it.name);
            match &*statement.tables {
                [] => statement.table.iter().map(named).collect(),
                several => several.iter().map(named).collect(),
            }
        })
    }
}

fn kind(class: &Class, repeat: Repeat) -> RequestKind {
    match class {
        Class::Conditional => RequestKind::Conditional,
        Class::Read => RequestKind::Read,
        Class::Schema(_) => RequestKind::Schema,
        Class::Describe | Class::System | Class::Traces => RequestKind::System,
        Class::Topology(_) => RequestKind::Topology,
        Class::Unknown => RequestKind::Unknown,
        Class::Use(_) => RequestKind::Session,
        Class::Write if repeat == Repeat::No => RequestKind::NotRepeatable,
        Class::Write => RequestKind::Write,
    }
}

fn hash(keyspace: Option<&str>, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    keyspace.hash(&mut hasher);
    text.hash(&mut hasher);
    hasher.finish()
}

/// What a text means, and the keyspace that was in use.
type InKeyspace = (Option<Box<str>>, Rc<Known>);

/// One thread's memory of texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: RefCell<HashMap<u64, InKeyspace>>,
}

impl Texts {
    /// What this text means in this keyspace.
    pub(super) fn get(&self, text: &str, keyspace: Option<&str>, schema: &Schema) -> Rc<Known> {
        let fresh = || {
            let statement = classify_in(text, keyspace);
            Rc::new(Known::new(Arc::from(text), statement, keyspace, schema))
        };
        if TEXT_LEN_MAX < text.len() {
            return fresh();
        }
        let hash = hash(keyspace, text);
        if let Some((of, known)) = self.known.borrow().get(&hash)
            && of.as_deref() == keyspace
            && *known.text == *text
        {
            return Rc::clone(known);
        }
        let known = fresh();
        let mut texts = self.known.borrow_mut();
        if TEXTS_MAX <= texts.len() {
            texts.clear();
        }
        texts.insert(hash, (keyspace.map(Box::from), Rc::clone(&known)));
        known
    }

    /// Forgets everything: the schema changed.
    pub(super) fn clear(&self) {
        self.known.borrow_mut().clear();
    }
}
