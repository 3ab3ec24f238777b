//! The columns of the answer, and its row.

use std::borrow::Cow;

use super::tables::{self, Cell, Kind, Node, Table};
use super::{invalid, json};
use crate::dispatch::Error;
use crate::statement::topology::{Columns, Select, Selector, Shows};
use crate::wire::put;
use crate::wire::response::result::Column;

const JSON: &str = "[json]";

/// What a SELECT asks for, of a table that has it.
pub(super) struct Asked<'a> {
    columns: Vec<Shown<'a>>,
    json: bool,
    /// Whether there is a row though no node is in it: a count of none.
    always: bool,
    /// Whether the columns are the same in all releases.
    fixed: bool,
}

/// One column under the name that it has in the answer.
struct Shown<'a> {
    name: Cow<'a, str>,
    what: What,
}

enum What {
    Cell(&'static tables::Column),
    Count(&'static tables::Column),
    Rows,
}

impl<'a> Asked<'a> {
    pub(super) fn find(table: Table, select: &'a Select) -> Result<Self, Error> {
        let (columns, all): (Vec<_>, _) = match &select.columns {
            Columns::All => (table.columns().map(Shown::cell).collect(), true),
            Columns::Named(named) => {
                let shown = named.iter().map(|it| Shown::find(table, it));
                (shown.collect::<Result<_, _>>()?, false)
            }
        };
        let counts = columns.iter().any(|it| it.what.counts());
        if counts && select.per_partition.is_some() && select.group_by.is_empty() {
            let refused = "PER PARTITION LIMIT is not allowed with aggregate queries.";
            return Err(invalid(refused));
        }
        Ok(Self {
            columns,
            json: select.json,
            always: counts && select.group_by.is_empty(),
            fixed: select.json || !all || table.is_newest(),
        })
    }

    /// Whether [`super::prepared`] announced the same columns.
    pub(super) const fn is_as_prepared(&self) -> bool {
        self.fixed
    }

    pub(super) fn specs(&self) -> Vec<Column<'_>> {
        let spec = |name, kind: Kind| Column {
            name,
            kind: kind.option(),
        };
        if self.json {
            return vec![spec(JSON, Kind::Text)];
        }
        let specs = self.columns.iter().map(|it| spec(&it.name, it.what.kind()));
        specs.collect()
    }

    /// The columns of the table that it shows or counts.
    pub(super) fn of_table(&self) -> impl Iterator<Item = &'static tables::Column> {
        self.columns.iter().filter_map(|it| match it.what {
            What::Cell(column) | What::Count(column) => Some(column),
            What::Rows => None,
        })
    }

    /// The rows' count and cells: the node's, if it is among them.
    pub(super) fn put_rows(&self, out: &mut Vec<u8>, node: Option<&Node<'_>>) {
        if node.is_none() && !self.always {
            put::i32(out, 0);
            return;
        }
        put::i32(out, 1);
        if self.json {
            let shown = self.columns.iter();
            let row = json::row(shown.map(|it| (&*it.name, it.what.kind(), it.what.cell(node))));
            put::bytes(out, row.as_bytes());
            return;
        }
        for shown in &self.columns {
            match shown.what.cell(node) {
                Some(bytes) => put::bytes(out, &bytes),
                None => put::i32(out, -1),
            }
        }
    }
}

impl<'a> Shown<'a> {
    const fn cell(column: &'static tables::Column) -> Self {
        Self {
            name: Cow::Borrowed(column.name),
            what: What::Cell(column),
        }
    }

    fn find(table: Table, selector: &'a Selector) -> Result<Self, Error> {
        let shown = match &selector.shows {
            Shows::Column(name) => Self::cell(table.column(name)?),
            Shows::Count(name) => {
                let column = table.column(name)?;
                Self {
                    name: Cow::Owned(format!("system.count({})", column.name)),
                    what: What::Count(column),
                }
            }
            Shows::Rows => Self {
                name: Cow::Borrowed("count"),
                what: What::Rows,
            },
        };
        Ok(match &selector.alias {
            Some(alias) => Self {
                name: Cow::Borrowed(alias),
                ..shown
            },
            None => shown,
        })
    }
}

impl What {
    const fn counts(&self) -> bool {
        match self {
            Self::Count(_) | Self::Rows => true,
            Self::Cell(_) => false,
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Cell(column) => column.kind,
            Self::Count(_) | Self::Rows => Kind::BigInt,
        }
    }

    fn cell(&self, node: Option<&Node<'_>>) -> Cell {
        let of = |column: &tables::Column| node.and_then(|node| column.cell(node));
        let count = |there: bool| Some(i64::from(there).to_be_bytes().to_vec());
        match self {
            Self::Cell(column) => of(column),
            Self::Count(column) => count(of(column).is_some()),
            Self::Rows => count(node.is_some()),
        }
    }
}
