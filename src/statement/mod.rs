//! What a request means, and its rewritten form; no I/O.
//!
//! [`classify_in`] reads a text once; all that later steps ask is in the [`Statement`]. What text
//! cannot tell (`x = x + ?`) is kept as a doubt, which a [`Schema`] settles
//! ([`Statement::repeatable`]). In doubt nothing is ever a read, and nothing is repeatable.

mod calls;
mod change;
mod classify;
mod lexer;
mod mutation;
pub mod prepared;
mod repeatable;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod topology;

pub use change::{Change, Object, Verb};
pub use prepared::StatementId;
pub use repeatable::{Repeatable, Why};
pub use schema::Schema;

use repeatable::Doubt;

/// What one text means, whoever sends it.
#[derive(Clone, Debug, PartialEq)]
#[repr(C)]
pub struct Statement {
    /// What to do with it.
    pub class: Class,
    /// Whether the keyspace of the session changes what it means.
    pub needs_keyspace: bool,
    /// A write whose value each server works out by itself: `now()`, `uuid()` and their kin, or a
    /// function of the user's own.
    pub per_server: bool,
    /// Whose functions a write calls.
    pub functions: Functions,
    /// Whether the servers apply it wholly or not at all on one partition, so that Unavailable
    /// means "not applied": no batch, no `IN`, no condition.
    pub single_partition: bool,
    /// The first table that it names.
    pub table: Option<Table>,
    /// All its tables, if it is a batch over several.
    pub tables: Box<[Table]>,
    /// The number of bind markers, `?` or `:name`.
    pub markers: usize,
    /// `USING TIMESTAMP`; that of a batch as a whole stands before those of its children.
    pub timestamp: Stamp,
    /// `USING TTL`.
    pub ttl: Stamp,
    lookup: Lookup,
    /// What the text alone says about repeating it.
    settled: Repeatable,
    doubts: Box<[Doubt]>,
}

/// Whose functions a text calls.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Functions {
    /// Maybe somebody's own, for which one needs a right beside that to write. A name does not tell: one
    /// without a keyspace is looked for among the server's functions and in the keyspace of the table.
    Foreign,
    /// The server's, as `system.` before the name says; or it calls none.
    #[default]
    Native,
}

/// What the WHERE of a SELECT asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Lookup {
    equalities: Box<[Box<str>]>,
    aggregate: bool,
    many: bool,
}

/// What kind of statement it is: who answers it, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// With IF: decided by one cluster.
    Conditional,
    /// DESCRIBE and LIST: reads of the schema and the roles.
    Describe,
    /// SELECT from a table of the user's.
    Read,
    /// CREATE, ALTER, DROP, TRUNCATE, GRANT, REVOKE.
    Schema(Change),
    /// SELECT from a table of the server's own, but for the next two.
    System,
    /// SELECT from `system.local`, `system.peers` or `system.peers_v2`, which the proxy answers, or
    /// refuses if it cannot.
    Topology(Result<topology::Select, topology::Unsupported>),
    /// SELECT from `system_traces`.
    Traces,
    /// Not understood.
    Unknown,
    /// USE, with the keyspace's name as the server stores it.
    Use(Box<str>),
    /// INSERT, UPDATE, DELETE or a batch of them, without condition.
    Write,
}

/// A table's name as the server stores it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Table {
    /// The keyspace, if the text names it.
    pub keyspace: Option<Box<str>>,
    /// The table.
    pub name: Box<str>,
}

impl Table {
    /// Its keyspace in a session that uses this one.
    #[must_use]
    pub fn keyspace_in<'a>(&'a self, session: Option<&'a str>) -> Option<&'a str> {
        self.keyspace.as_deref().or(session)
    }
}

/// A number given by USING.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Stamp {
    /// In the text.
    Literal(i64),
    /// The bind marker with this index.
    Marker(usize),
    /// The named bind marker with this index.
    Named(usize, Box<str>),
    /// Not given.
    #[default]
    None,
    /// Given by children of a batch each for itself, or in a form that was not understood.
    Various,
}

impl Stamp {
    /// Whether the text gives it at all.
    #[must_use]
    pub fn is_given(&self) -> bool {
        *self != Self::None
    }
}

/// What this text means when no keyspace is in use.
#[must_use]
pub fn classify(text: &str) -> Statement {
    classify_in(text, None)
}

/// What this text means in a session that uses this keyspace (as the server stores its name). Any
/// text has a meaning, if only [`Class::Unknown`]; the time taken is linear in its length.
#[must_use]
pub fn classify_in(text: &str, keyspace: Option<&str>) -> Statement {
    classify::classify(text, keyspace)
}

impl Statement {
    /// Whether a SELECT aggregates, or calls a function that may do so.
    #[must_use]
    pub const fn aggregate(&self) -> bool {
        self.lookup.aggregate
    }

    /// The columns that the WHERE of a SELECT compares with `=`.
    #[must_use]
    pub fn equalities(&self) -> &[Box<str>] {
        &self.lookup.equalities
    }

    /// Whether it reads one partition by its whole key: quick on any cluster, whatever its size.
    #[must_use]
    pub fn point_read(&self, schema: &Schema, session_keyspace: Option<&str>) -> bool {
        if self.class != Class::Read || self.lookup.aggregate || self.lookup.many {
            return false;
        }
        let shape = self
            .table
            .as_ref()
            .and_then(|table| schema.table(table.keyspace_in(session_keyspace)?, &table.name));
        shape.is_some_and(|shape| {
            let mut key = shape.partition_key().peekable();
            let asked = |name| self.lookup.equalities.iter().any(|equal| &**equal == name);
            key.peek().is_some() && key.all(asked)
        })
    }

    /// Whether it may be sent again when nobody knows if it was applied.
    #[must_use]
    pub fn repeatable(&self, schema: &Schema, session_keyspace: Option<&str>) -> Repeatable {
        repeatable::settle(self, schema, session_keyspace)
    }
}
