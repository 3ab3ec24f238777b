//! Prepared statements: ours by id, and what each cluster calls them.
//!
//! The process-wide [`Registry`] is off the hot path: each thread copies what it uses into a table
//! of its own ([`Prepared`] by [`Entry`]).

mod entry;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::cluster::prepare::Id;
use crate::pair::{Pair, Side};
use crate::statement::Statement;

pub(super) use entry::{Entry, Itself, Prepared};

/// Statements that the registry makes room for.
const STATEMENTS: usize = 120_000;
/// Bytes of statements remembered by the process, and by each thread: 120,000 with texts of 100 bytes.
/// Beyond it the least used are forgotten, and a client that executes one is told to prepare it again.
const BYTES_MAX: usize = STATEMENTS * (OVERHEAD + USUAL);
/// What a statement takes beside its text.
const OVERHEAD: usize = 1_024;
/// The length of a usual text.
const USUAL: usize = 100;
/// Turns in which all statements could be replaced by others. Threads look into their own tables first, so
/// that what they use most the registry sees least: they say it once a turn.
const TURNS: usize = 8;

/// What one cluster said to PREPARE.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Node {
    /// The cluster's id.
    pub(super) id: Box<[u8]>,
    /// Its id of the result's columns; empty where it was not asked in version 5.
    pub(super) columns_id: Box<[u8]>,
    /// A fingerprint of the result's columns.
    pub(super) columns: u64,
    /// A fingerprint of the bound variables' types.
    pub(super) variables: u64,
    /// Which variables make up the partition key, in its order; empty where that is not known.
    pub(super) key: Box<[u16]>,
}

impl Node {
    /// Whether it says the same as `older`, but for the id of the columns, which only clients of version
    /// 5 are told, and the places of the key, which those of version 3 are not.
    fn repeats(&self, older: &Self) -> bool {
        (self.columns_id.is_empty() || self.columns_id == older.columns_id)
            && (self.key.is_empty() || self.key == older.key)
            && (&self.id, self.columns, self.variables)
                == (&older.id, older.columns, older.variables)
    }
}

/// [`Shown`] of clients that were shown different columns.
const SEVERAL: u64 = 0;

/// The columns that clients were shown, a fingerprint; once they differed it stays that way.
#[derive(Debug)]
struct Shown(AtomicU64);

impl Shown {
    fn is(&self, columns: u64) -> bool {
        columns != SEVERAL && self.0.load(Ordering::Relaxed) == columns
    }

    /// One more client is shown these; whether that made them several.
    fn add(&self, columns: u64) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        before != SEVERAL && before != columns && {
            self.0.store(SEVERAL, Ordering::Relaxed);
            true
        }
    }
}

/// One prepared statement of the process.
#[derive(Debug)]
pub(super) struct Template {
    /// Our id.
    pub(super) id: Id,
    /// The keyspace it was prepared in, where the text needs one.
    pub(super) keyspace: Option<Box<str>>,
    /// Its text.
    pub(super) text: Arc<str>,
    /// What it means.
    pub(super) statement: Statement,
    shown: Shown,
    /// What each cluster calls it.
    nodes: Pair<ArcSwapOption<Node>>,
}

impl Template {
    /// A statement that no client was shown and no cluster is known to know.
    pub(super) fn new(
        id: Id,
        keyspace: Option<&str>,
        (text, statement): (Arc<str>, Statement),
    ) -> Self {
        Self {
            id,
            keyspace: keyspace.map(Box::from),
            text,
            statement,
            shown: Shown(AtomicU64::new(SEVERAL)),
            nodes: Pair::default(),
        }
    }

    /// About how many bytes it takes.
    fn size(&self) -> usize {
        OVERHEAD + self.text.len()
    }

    /// Remembers what this side calls it. Whether it has other columns than it had.
    fn learn(&self, side: Side, node: Arc<Node>) -> bool {
        let before = self.nodes[side].load_full();
        match before {
            Some(before) if node.repeats(&before) => false,
            before => {
                let changed = before.is_some_and(|before| before.columns != node.columns);
                self.nodes[side].store(Some(node));
                changed
            }
        }
    }

    /// When rows may go without their columns: if every client knows them, whichever side it has them
    /// from.
    fn skip(&self, alone: bool) -> Skip {
        let columns = |side| self.nodes[side].load().as_ref().map(|node| node.columns);
        let same = match (columns(Side::A), columns(Side::B)) {
            (Some(one), Some(other)) if one != other => return Skip::Never,
            (Some(same), Some(_)) => same,
            (Some(same), None) | (None, Some(same)) if alone => same,
            _ => return Skip::Unknown,
        };
        match self.shown.is(same) {
            true => Skip::Always,
            false => Skip::Told,
        }
    }
}

/// Whether rows may go without their columns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Skip {
    Always,
    /// The sides' columns differ.
    Never,
    /// Only to a client of version 5, which says what columns it knows: others were shown others.
    Told,
    /// The columns of one side are not known.
    Unknown,
}

/// All prepared statements of the process.
#[derive(Debug)]
pub struct Registry {
    known: Cache<Id, Arc<Template>, BySize>,
    /// One cluster only: no other has columns of its own.
    alone: bool,
    bytes_max: usize,
    /// Grows when columns turn out to be others than the threads believe.
    changes: AtomicU64,
    /// Grows when so much was added that the threads should say what they use.
    turns: AtomicU64,
    /// Held while a statement is added, so that two threads add it once: bytes added in this turn.
    adding: Mutex<usize>,
}

/// Statements count by their size: a client chooses how long its texts are.
#[derive(Clone, Debug)]
struct BySize;

impl Weighter<Id, Arc<Template>> for BySize {
    fn weight(&self, _id: &Id, template: &Arc<Template>) -> u64 {
        u64::try_from(template.size()).unwrap_or(u64::MAX)
    }
}

impl Registry {
    /// Nothing remembered yet; `alone` if there is only one cluster.
    #[must_use]
    pub fn new(alone: bool) -> Self {
        Self::bounded(alone, BYTES_MAX)
    }

    /// The same for so many bytes of statements, in the process and in each thread.
    #[must_use]
    pub fn bounded(alone: bool, bytes_max: usize) -> Self {
        let statements = bytes_max / (OVERHEAD + USUAL);
        Self {
            known: Cache::with_weighter(statements, bytes_max as u64, BySize),
            alone,
            bytes_max,
            changes: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            adding: Mutex::default(),
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The statement of this id.
    #[must_use]
    pub(super) fn get(&self, id: &Id) -> Option<Arc<Template>> {
        self.known.get(id)
    }

    /// A client was shown these columns of a statement. What is known of it stays.
    pub(super) fn show(&self, mut template: Template, columns: u64) -> Arc<Template> {
        let mut added = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known.get(&template.id) {
            if known.shown.add(columns) {
                self.changed();
            }
            return known;
        }
        template.shown = Shown(AtomicU64::new(columns));
        let template = Arc::new(template);
        self.known.insert(template.id, Arc::clone(&template));
        *added += template.size();
        if self.bytes_max / TURNS <= *added {
            *added = 0;
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        drop(added);
        template
    }

    /// A thread uses this statement. One that was forgotten meanwhile is remembered again.
    fn used(&self, template: &Arc<Template>) {
        if self.known.get(&template.id).is_some() {
            return;
        }
        let adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.get(&template.id).is_none() {
            self.known.insert(template.id, Arc::clone(template));
        }
        drop(adding);
    }

    /// This side calls the statement so.
    pub(super) fn learn(&self, template: &Template, side: Side, node: Arc<Node>) {
        if template.learn(side, node) {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}
