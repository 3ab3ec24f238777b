//! Prepared statements as one thread uses them: copies of what the [`Registry`] knows, without locks.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Node, Registry, Skip, Template};
use crate::cluster::prepare::Id;
use crate::dispatch::known::Known;
use crate::pair::{Pair, Side};
use crate::statement::Schema;
use crate::wire::{Version, frame};

/// So many entries stay in the processor's own caches; a larger table is looked up ahead.
const IN_CACHE: usize = 1_024;
/// Requests of one read that are looked up ahead: more would drive each other out of the first cache.
const AHEAD_MAX: usize = 64;
/// Statements that the registry is told of with one request: some microseconds.
const TOLD_MAX: usize = 64;

/// Whether the columns of both sides are being compared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Compare {
    Asked,
    Asks,
    #[default]
    Unasked,
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
pub(in crate::dispatch) struct Called {
    id: NodeId,
    columns_id: NodeId,
    /// A fingerprint of the result's columns.
    pub(in crate::dispatch) columns: u64,
    /// Which variables make up the partition key.
    pub(in crate::dispatch) key: Box<[u16]>,
}

impl Called {
    fn of(node: &Node) -> Self {
        Self {
            id: NodeId::of(&node.id),
            columns_id: NodeId::of(&node.columns_id),
            columns: node.columns,
            key: node.key.clone(),
        }
    }

    /// The cluster's id.
    #[inline]
    pub(in crate::dispatch) fn id(&self) -> &[u8] {
        self.id.bytes()
    }

    /// The cluster's id of the result's columns; empty where it was never told.
    pub(in crate::dispatch) fn columns_id(&self) -> &[u8] {
        self.columns_id.bytes()
    }
}

/// A prepared statement as one thread uses it. What every request reads stands first and together:
/// of 100,000 statements hardly one is in the processor's cache.
#[derive(Debug)]
#[repr(C)]
pub(in crate::dispatch) struct Entry {
    nodes: Pair<RefCell<Option<Called>>>,
    /// Whether rows may go without their columns to all clients, see [`Template::skip`].
    skips: Cell<bool>,
    /// Whether the side that does not know it should be asked for its columns, once.
    compare: Cell<Compare>,
    /// It was used since the registry was last told so.
    is_used: Cell<bool>,
    alone: bool,
    pub(in crate::dispatch) known: Known,
    pub(in crate::dispatch) template: Arc<Template>,
}

impl Entry {
    pub(super) fn new(template: Arc<Template>, schema: &Schema, alone: bool) -> Self {
        let keyspace = template.keyspace.as_deref();
        let known = Known::new(
            Arc::clone(&template.text),
            template.statement.clone(),
            keyspace,
            schema,
        );
        Self {
            nodes: Pair::default(),
            skips: Cell::new(false),
            compare: Cell::default(),
            is_used: Cell::new(false),
            alone,
            known,
            template,
        }
    }

    /// Whether rows may go without their columns to a client of this version.
    #[inline]
    pub(in crate::dispatch) fn may_skip(&self, version: Version) -> bool {
        self.skips.get()
            || match self.template.skip(self.alone) {
                Skip::Always => {
                    self.skips.set(true);
                    true
                }
                Skip::Never => false,
                Skip::Told => Version::V5 <= version,
                Skip::Unknown => {
                    if self.compare.get() == Compare::Unasked {
                        self.compare.set(Compare::Asks);
                    }
                    false
                }
            }
    }

    /// Whether a client would be spared the columns, were those of the other side known.
    #[inline]
    pub(in crate::dispatch) fn asks(&self) -> bool {
        self.compare.get() == Compare::Asks
    }

    /// The other side is being asked: not again.
    pub(in crate::dispatch) fn asked(&self) {
        self.compare.set(Compare::Asked);
    }

    /// What this side calls it, if it was ever told.
    #[inline]
    pub(in crate::dispatch) fn called(&self, side: Side) -> Option<Ref<'_, Called>> {
        if self.nodes[side].borrow().is_none() {
            let node = self.node(side)?;
            *self.nodes[side].borrow_mut() = Some(Called::of(&node));
        }
        Ref::filter_map(self.nodes[side].borrow(), Option::as_ref).ok()
    }

    /// All that this side said of it.
    pub(in crate::dispatch) fn node(&self, side: Side) -> Option<Arc<Node>> {
        self.template.nodes[side].load_full()
    }

    /// Looks up anew the sides that had told no id of the columns when they were looked up: they tell it
    /// in version 5 only, and on any thread.
    #[inline]
    pub(in crate::dispatch) fn hear_columns_ids(&self) {
        for side in Side::ALL {
            let untold = |called: &Called| called.columns_id().is_empty();
            if self.nodes[side].borrow().as_ref().is_some_and(untold)
                && let Some(node) = &*self.template.nodes[side].load()
                && !node.columns_id.is_empty()
            {
                *self.nodes[side].borrow_mut() = Some(Called::of(node));
            }
        }
    }

    /// What this side calls the columns that a client knows under this id: its own id, where they are
    /// the same; else the client's, and the node will say that they changed.
    pub(in crate::dispatch) fn columns_id<'a>(
        &self,
        side: Side,
        own: &'a Called,
        known: &'a [u8],
    ) -> &'a [u8] {
        let is_same =
            |other: Ref<'_, Called>| other.columns_id() == known && other.columns == own.columns;
        let is_told = !own.columns_id().is_empty() && !known.is_empty();
        if is_told && self.called(!side).is_some_and(is_same) {
            own.columns_id()
        } else {
            known
        }
    }

    /// Looks up anew what this side calls it: also for the requests that hold it already.
    pub(in crate::dispatch) fn renew(&self, side: Side) {
        *self.nodes[side].borrow_mut() = None;
        self.skips.set(false);
        self.compare.set(Compare::Unasked);
    }

    /// Whether this side's id is `id`.
    pub(in crate::dispatch) fn is_called(&self, side: Side, id: &[u8]) -> bool {
        self.called(side).is_some_and(|called| called.id() == id)
    }
}

/// An id is a hash already.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Itself(u64);

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
pub(in crate::dispatch) struct Prepared {
    pub(super) entries: RefCell<HashMap<Id, Rc<Entry>, BuildHasherDefault<Itself>>>,
    /// Their sizes together, in bytes.
    bytes: Cell<usize>,
    /// [`Registry::changes`] as of these entries.
    changes: Cell<u64>,
    /// Those that were used since the registry was last told so.
    pub(super) used: RefCell<Vec<Rc<Entry>>>,
    /// [`Registry::turns`] when it had been told of all.
    turn: Cell<u64>,
}

impl Prepared {
    /// The statement of this id, from the registry where this thread has not seen it.
    #[inline]
    pub(in crate::dispatch) fn get(
        &self,
        id: &[u8],
        registry: &Registry,
        schema: &Schema,
    ) -> Option<Rc<Entry>> {
        let id: &Id = id.try_into().ok()?;
        let changes = registry.changes.load(Ordering::Acquire);
        if self.changes.replace(changes) != changes {
            self.clear();
        }
        let turn = registry.turns.load(Ordering::Relaxed);
        if self.turn.get() != turn {
            self.tell(registry, turn);
        }
        if let Some(entry) = self.entries.borrow().get(id) {
            if !entry.is_used.get() {
                entry.is_used.set(true);
                self.used.borrow_mut().push(Rc::clone(entry));
            }
            return Some(Rc::clone(entry));
        }
        let entry = Rc::new(Entry::new(registry.get(id)?, schema, registry.alone));
        let bytes = self.bytes.get() + entry.template.size();
        if registry.bytes_max < bytes {
            self.clear();
        }
        self.bytes.set(self.bytes.get() + entry.template.size());
        let mut entries = self.entries.borrow_mut();
        entries.insert(*id, Rc::clone(&entry));
        Some(entry)
    }

    /// Tells the registry what is used here, a part of it with each request, so that none waits for long.
    #[cold]
    fn tell(&self, registry: &Registry, turn: u64) {
        let mut used = self.used.borrow_mut();
        let from = used.len().saturating_sub(TOLD_MAX);
        for entry in used.drain(from..) {
            entry.is_used.set(false);
            registry.used(&entry.template);
        }
        if used.is_empty() {
            self.turn.set(turn);
        }
    }

    /// Touches what the EXECUTEs among these frames will need. Their requests come one after another,
    /// and each would wait for memory alone; here the processor fetches for several at a time.
    #[inline]
    pub(in crate::dispatch) fn ahead(&self, read: &[u8]) {
        let entries = self.entries.borrow();
        if entries.len() <= IN_CACHE {
            return;
        }
        for id in frame::executed(read).take(AHEAD_MAX) {
            if let Ok(id) = <&Id>::try_from(id)
                && let Some(entry) = entries.get(id)
            {
                std::hint::black_box(entry.skips.get());
            }
        }
    }

    /// Forgets everything: the schema changed, or what was believed of columns.
    pub(in crate::dispatch) fn clear(&self) {
        self.entries.borrow_mut().clear();
        self.used.borrow_mut().clear();
        self.bytes.set(0);
    }
}
