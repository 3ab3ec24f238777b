//! Prepared statements: ours by id, and what each cluster calls them.
//!
//! The process-wide [`Registry`] is off the hot path: each thread copies what it uses into a table
//! of its own ([`Prepared`] by [`Entry`]).

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::known::Known;
use crate::cluster::prepare::Id;
use crate::pair::{Pair, Side};
use crate::statement::{Schema, Statement};
use crate::wire::frame;

/// Statements that the registry makes room for.
const STATEMENTS: usize = 120_000;
/// Bytes of statements remembered by the process, and by each thread: 120,000 with texts of 100 bytes.
/// Beyond it the least used are forgotten, and a client that executes one is told to prepare it again.
const BYTES_MAX: usize = STATEMENTS * (OVERHEAD + 100);
/// What a statement takes beside its text.
const OVERHEAD: usize = 1_024;

/// So many entries stay in the processor's own caches; a larger table is looked up ahead.
const IN_CACHE: usize = 1_024;
/// Requests of one read that are looked up ahead: more would drive each other out of the first cache.
const AHEAD_MAX: usize = 64;

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
    /// Whether `newer` says the same, but for the id of the columns, which it was not told.
    pub(super) fn differs_by_columns_id(&self, newer: &Self) -> bool {
        newer.columns_id.is_empty()
            && (&self.id, self.columns, self.variables, &self.key)
                == (&newer.id, newer.columns, newer.variables, &newer.key)
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
    /// The columns that clients were shown, a fingerprint.
    pub(super) shown: u64,
    /// What each cluster calls it.
    pub(super) nodes: Pair<ArcSwapOption<Node>>,
}

impl Template {
    /// About how many bytes it takes.
    fn size(&self) -> usize {
        OVERHEAD + self.text.len()
    }

    /// Whether it would be the same if this side were asked again and said this.
    pub(super) fn says(&self, side: Side, node: &Node, shown: u64) -> bool {
        let known = self.nodes[side].load();
        self.shown == shown && known.as_deref() == Some(node)
    }
}

/// All prepared statements of the process.
#[derive(Debug)]
pub struct Registry {
    known: Cache<Id, Arc<Template>, BySize>,
}

/// Statements count by their size: a client chooses how long its texts are.
#[derive(Clone, Debug)]
struct BySize;

impl Weighter<Id, Arc<Template>> for BySize {
    fn weight(&self, _id: &Id, template: &Arc<Template>) -> u64 {
        u64::try_from(template.size()).unwrap_or(u64::MAX)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            known: Cache::with_weighter(STATEMENTS, BYTES_MAX as u64, BySize),
        }
    }
}

impl Registry {
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

    /// Remembers a statement, in place of an older one of the same id.
    pub(super) fn put(&self, template: Arc<Template>) {
        self.known.insert(template.id, template);
    }
}

/// A cluster's id, in place where it is as long as Cassandra's and ScyllaDB's are.
#[derive(Debug)]
enum NodeId {
    Other(Box<[u8]>),
    Usual(Id),
}

impl NodeId {
    fn of(id: &[u8]) -> Self {
        let usual = Id::try_from(id).map(Self::Usual);
        usual.unwrap_or_else(|_| Self::Other(id.into()))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Other(id) => id,
            Self::Usual(id) => id,
        }
    }
}

/// What a request needs of a [`Node`].
#[derive(Debug)]
pub(super) struct Called {
    id: NodeId,
    columns_id: NodeId,
    /// A fingerprint of the result's columns.
    pub(super) columns: u64,
}

impl Called {
    fn of(node: &Node) -> Self {
        Self {
            id: NodeId::of(&node.id),
            columns_id: NodeId::of(&node.columns_id),
            columns: node.columns,
        }
    }

    /// The cluster's id.
    #[inline]
    pub(super) fn id(&self) -> &[u8] {
        self.id.bytes()
    }

    /// The cluster's id of the result's columns; empty where it was never told.
    pub(super) fn columns_id(&self) -> &[u8] {
        self.columns_id.bytes()
    }
}

/// A prepared statement as one thread uses it. What every request reads stands first and together:
/// of 100,000 statements hardly one is in the processor's cache.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    nodes: Pair<RefCell<Option<Called>>>,
    /// The columns that clients were shown, a fingerprint.
    pub(super) shown: u64,
    pub(super) known: Known,
    pub(super) template: Arc<Template>,
}

impl Entry {
    fn new(template: Arc<Template>, schema: &Schema) -> Self {
        let keyspace = template.keyspace.as_deref();
        let known = Known::new(
            Arc::clone(&template.text),
            template.statement.clone(),
            keyspace,
            schema,
        );
        Self {
            nodes: Pair::default(),
            shown: template.shown,
            known,
            template,
        }
    }

    /// What this side calls it, if it was ever told.
    #[inline]
    pub(super) fn called(&self, side: Side) -> Option<Ref<'_, Called>> {
        if self.nodes[side].borrow().is_none() {
            let node = self.node(side)?;
            *self.nodes[side].borrow_mut() = Some(Called::of(&node));
        }
        Ref::filter_map(self.nodes[side].borrow(), Option::as_ref).ok()
    }

    /// All that this side said of it.
    pub(super) fn node(&self, side: Side) -> Option<Arc<Node>> {
        self.template.nodes[side].load_full()
    }

    /// What this side calls the columns that a client knows under this id: its own id, where they are
    /// the same; else the client's, and the node will say that they changed.
    pub(super) fn columns_id<'a>(&self, side: Side, own: &'a Called, known: &'a [u8]) -> &'a [u8] {
        let is_same =
            |other: Ref<'_, Called>| other.columns_id() == known && other.columns == own.columns;
        let is_told = !own.columns_id().is_empty();
        if is_told && self.called(!side).is_some_and(is_same) {
            own.columns_id()
        } else {
            known
        }
    }

    /// Remembers what this side calls it.
    pub(super) fn learn(&self, side: Side, node: Arc<Node>) {
        *self.nodes[side].borrow_mut() = Some(Called::of(&node));
        self.template.nodes[side].store(Some(node));
    }

    /// Whether this side's id is `id`.
    pub(super) fn is_called(&self, side: Side, id: &[u8]) -> bool {
        self.called(side).is_some_and(|called| called.id() == id)
    }
}

/// An id is a hash already.
#[derive(Debug, Default)]
pub(super) struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// One thread's table of prepared statements.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    entries: RefCell<HashMap<Id, Rc<Entry>, BuildHasherDefault<Itself>>>,
    /// Their sizes together, in bytes; what was forgotten one by one still counts.
    bytes: Cell<usize>,
}

impl Prepared {
    /// The statement of this id, from the registry where this thread has not seen it.
    #[inline]
    pub(super) fn get(&self, id: &[u8], registry: &Registry, schema: &Schema) -> Option<Rc<Entry>> {
        let id: &Id = id.try_into().ok()?;
        if let Some(entry) = self.entries.borrow().get(id) {
            return Some(Rc::clone(entry));
        }
        let entry = Rc::new(Entry::new(registry.get(id)?, schema));
        let bytes = self.bytes.get() + entry.template.size();
        if BYTES_MAX < bytes {
            self.clear();
        }
        self.bytes.set(self.bytes.get() + entry.template.size());
        let mut entries = self.entries.borrow_mut();
        entries.insert(*id, Rc::clone(&entry));
        Some(entry)
    }

    /// Touches what the EXECUTEs among these frames will need. Their requests come one after another,
    /// and each would wait for memory alone; here the processor fetches for several at a time.
    #[inline]
    pub(super) fn ahead(&self, read: &[u8]) {
        let entries = self.entries.borrow();
        if entries.len() <= IN_CACHE {
            return;
        }
        for id in frame::executed(read).take(AHEAD_MAX) {
            if let Ok(id) = <&Id>::try_from(id)
                && let Some(entry) = entries.get(id)
            {
                std::hint::black_box(entry.shown);
            }
        }
    }

    /// Forgets everything: the schema changed, or a statement was prepared anew.
    pub(super) fn clear(&self) {
        self.entries.borrow_mut().clear();
        self.bytes.set(0);
    }

    /// Forgets one statement.
    pub(super) fn forget(&self, id: &Id) {
        self.entries.borrow_mut().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::classify_in;

    fn template(number: u64, length: usize) -> Arc<Template> {
        let mut id = Id::default();
        id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let text = format!("SELECT v FROM ks.t WHERE k = {number}");
        Arc::new(Template {
            id,
            keyspace: None,
            statement: classify_in(&text, None),
            text: Arc::from(text.clone() + &" ".repeat(length.saturating_sub(text.len()))),
            shown: 0,
            nodes: Pair::default(),
        })
    }

    #[test]
    fn long_texts_are_bounded_by_their_bytes() {
        let (registry, prepared) = (Registry::default(), Prepared::default());
        let schema = Schema::default();
        let length = 1024 * 1024;
        for number in 0..500 {
            let template = template(number, length);
            let id = template.id;
            registry.put(template);
            assert!(prepared.get(&id, &registry, &schema).is_some());
        }
        let held = BYTES_MAX / length;
        assert!(registry.len() <= held && held / 2 < registry.len());
        assert!(prepared.entries.borrow().len() <= held);
    }

    #[test]
    fn a_hundred_thousand_usual_statements_are_all_remembered() {
        let registry = Registry::default();
        for number in 0..100_000 {
            registry.put(template(number, 80));
        }
        assert_eq!(registry.len(), 100_000);
    }

    #[test]
    fn what_a_client_knows_of_the_columns_is_told_in_each_clusters_own_words() {
        let node = |columns_id: &[u8], columns| {
            Arc::new(Node {
                id: Box::from(&b"id"[..]),
                columns_id: Box::from(columns_id),
                columns,
                variables: 0,
                key: Box::default(),
            })
        };
        let entry = Entry::new(template(1, 0), &Schema::default());
        let told = |side, known: &[u8]| {
            let own = entry.called(side).unwrap();
            entry.columns_id(side, &own, known).to_vec()
        };
        entry.learn(Side::A, node(b"of A", 7));
        entry.learn(Side::B, node(b"of B", 7));
        assert_eq!(told(Side::B, b"of A"), b"of B");
        assert_eq!(told(Side::A, b"of B"), b"of A");
        assert_eq!(told(Side::A, b"of A"), b"of A");
        // What nobody called so is passed on: the node will say that the columns changed.
        assert_eq!(told(Side::A, b"old"), b"old");
        // Other columns on the other side: the same.
        entry.learn(Side::B, node(b"of B", 8));
        assert_eq!(told(Side::B, b"of A"), b"of A");
        // A side that was never asked in version 5.
        entry.learn(Side::B, node(b"", 7));
        assert_eq!(told(Side::B, b"of A"), b"of A");
    }
}
