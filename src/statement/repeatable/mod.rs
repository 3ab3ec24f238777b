//! Whether a write may be sent twice: what the text leaves open, the schema settles.

#[cfg(test)]
mod tests;

use super::schema::{Kind, Schema, Shape};
use super::{Class, Stamp, Statement, Table};

/// Whether a statement may be sent again when nobody knows if it was applied.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Repeatable {
    /// With the same timestamp, any number of times.
    Yes,
    /// Once more, at the next timestamp: it sets a whole list, whose old cells are hidden only
    /// below the timestamp (S2).
    Shifted,
    /// Never.
    No(Why),
}

/// Why a statement must not be repeated.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Why {
    /// It adds to a counter.
    Counter,
    /// It adds to a list or addresses it by index; or sets one at a timestamp in the text.
    List,
    /// It has a condition.
    Conditional,
    /// It changes the schema.
    Schema,
    /// It is not understood, or its table's columns are not known.
    Unknown,
}

impl Why {
    /// The fixed metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::List => "list",
            Self::Conditional => "conditional",
            Self::Schema => "schema",
            Self::Unknown => "unknown",
        }
    }
}

impl Repeatable {
    /// Of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Something whose effect depends on a column's type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Doubt {
    /// Which of the statement's tables.
    pub(super) table: usize,
    /// The column; none stands for all columns of the table.
    pub(super) column: Option<Box<str>>,
    pub(super) effect: Effect,
}

/// What is done to the column.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Effect {
    /// `x = x + ?` and the like.
    Add,
    /// `x[?] = …`, or its deletion.
    Element,
    /// `x = ?`
    Whole,
}

impl Effect {
    const fn on(self, kind: Option<Kind>) -> Repeatable {
        match (kind, self) {
            (Some(Kind::Counter), _) => Repeatable::No(Why::Counter),
            (Some(Kind::List), Self::Add | Self::Element) => Repeatable::No(Why::List),
            (Some(Kind::Map | Kind::Set), _) | (Some(Kind::Frozen | Kind::Other), Self::Whole) => {
                Repeatable::Yes
            }
            (Some(Kind::Frozen | Kind::Other) | None, Self::Add | Self::Element) => {
                Repeatable::No(Why::Unknown)
            }
            (Some(Kind::List) | None, Self::Whole) => Repeatable::Shifted,
        }
    }
}

/// What text and schema together say.
pub(super) fn settle(statement: &Statement, schema: &Schema, session: Option<&str>) -> Repeatable {
    match statement.class {
        Class::Write => {}
        Class::Conditional => return Repeatable::No(Why::Conditional),
        Class::Schema(_) => return Repeatable::No(Why::Schema),
        Class::Unknown => return Repeatable::No(Why::Unknown),
        Class::Describe
        | Class::Read
        | Class::System
        | Class::Topology(_)
        | Class::Traces
        | Class::Use(_) => return Repeatable::Yes,
    }
    let shape = |table: &Table| schema.table(table.keyspace_in(session)?, &table.name);
    let counts = |table| shape(table).is_some_and(|shape| shape.has(Kind::Counter));
    if tables(statement).iter().any(counts) {
        return Repeatable::No(Why::Counter);
    }
    let doubts = statement.doubts.iter().map(|doubt| {
        let table = tables(statement).get(doubt.table);
        let known = table.and_then(shape);
        at_timestamp(statement, known, doubt.on(known))
    });
    doubts.fold(statement.settled, Repeatable::and)
}

/// A timestamp in the text is what the client wants: it is not moved.
fn at_timestamp(statement: &Statement, known: Option<&Shape>, found: Repeatable) -> Repeatable {
    match found {
        Repeatable::Shifted if statement.timestamp != Stamp::None => {
            Repeatable::No(if known.is_some() {
                Why::List
            } else {
                Why::Unknown
            })
        }
        Repeatable::Shifted | Repeatable::Yes | Repeatable::No(_) => found,
    }
}

fn tables(statement: &Statement) -> &[Table] {
    if statement.tables.is_empty() {
        statement.table.as_slice()
    } else {
        &statement.tables
    }
}

impl Doubt {
    fn on(&self, known: Option<&Shape>) -> Repeatable {
        let Some(column) = &self.column else {
            let safe = known.is_some_and(|shape| !shape.has(Kind::List));
            return if safe {
                Repeatable::Yes
            } else {
                Repeatable::Shifted
            };
        };
        self.effect.on(known.and_then(|shape| shape.column(column)))
    }
}
