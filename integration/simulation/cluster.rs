//! A model of one cluster: cells where the last write wins, counters that add, lists that append.

use std::collections::BTreeMap;

/// A write's number: its value in every cell, so that each value tells where it came from.
pub(crate) type Id = u32;

/// What a write does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Adds to a counter: may never be applied twice.
    Count,
    /// Deletes a cell.
    Delete(u8),
    /// Assigns a whole list (S2): applied twice at one timestamp it is there twice.
    List(u8),
    /// Sets a cell.
    Put(u8),
}

/// One write as it travels, the same bytes to both sides and into the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mutation {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
    /// The write timestamp.
    pub(crate) at: i64,
    /// Every cluster refuses it for good.
    pub(crate) invalid: bool,
    /// The client's role may not do it: so they refuse it when it comes from the client, and would take
    /// it from the worker.
    pub(crate) stolen: bool,
}

impl Mutation {
    pub(crate) fn is_repeatable(&self) -> bool {
        self.kind != Kind::Count
    }
}

/// What a cell holds: timestamp, whether it is a tombstone, value. The greatest wins.
pub(crate) type Cell = (i64, bool, Id);

#[derive(Debug, Default)]
struct List {
    deleted_at: i64,
    entries: Vec<(i64, Id)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    cells: BTreeMap<u8, Cell>,
    lists: BTreeMap<u8, List>,
    applied: Vec<u32>,
}

impl Cluster {
    /// Applies a write, `shift` microseconds after its own timestamp.
    pub(crate) fn apply(&mut self, mutation: Mutation, shift: i64) {
        let index = usize::try_from(mutation.id).expect("small");
        if self.applied.len() <= index {
            self.applied.resize(index + 1, 0);
        }
        self.applied[index] += 1;
        let at = mutation.at + shift;
        match mutation.kind {
            Kind::Count => {}
            Kind::Delete(cell) => self.set(cell, (at, true, mutation.id)),
            Kind::Put(cell) => self.set(cell, (at, false, mutation.id)),
            Kind::List(list) => self.lists.entry(list).or_default().assign(at, mutation.id),
        }
    }

    /// How many times a write was applied.
    pub(crate) fn times(&self, id: Id) -> u32 {
        let index = usize::try_from(id).expect("small");
        self.applied.get(index).copied().unwrap_or(0)
    }

    pub(crate) fn has(&self, id: Id) -> bool {
        self.times(id) != 0
    }

    pub(crate) fn cell(&self, cell: u8) -> Option<Cell> {
        self.cells.get(&cell).copied()
    }

    /// The list as a reader sees it.
    pub(crate) fn list(&self, list: u8) -> Vec<Id> {
        let entries = self.lists.get(&list).map(|list| &list.entries);
        entries
            .into_iter()
            .flatten()
            .map(|(_, value)| *value)
            .collect()
    }

    fn set(&mut self, at: u8, cell: Cell) {
        let place = self.cells.entry(at).or_insert(cell);
        *place = cell.max(*place);
    }
}

impl List {
    /// The overwrite's tombstone is one before its values, so equal timestamps add up.
    fn assign(&mut self, at: i64, value: Id) {
        self.deleted_at = self.deleted_at.max(at - 1);
        if self.deleted_at < at {
            self.entries.push((at, value));
        }
        let deleted_at = self.deleted_at;
        self.entries.retain(|(at, _)| deleted_at < *at);
    }
}
