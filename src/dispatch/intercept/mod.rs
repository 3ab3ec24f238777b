//! What drivers ask about the cluster, answered by the proxy: it is the cluster's one node.
//!
//! The tables look as a node of the advertised release shows them. A statement that a node would
//! refuse is refused here with the node's code and words, so that drivers fall back as they do there.

mod identity;
mod tables;
mod terms;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use uuid::Uuid;

use super::Error;
use crate::statement::topology::{Columns, Select};
use crate::wire::request::Values;
use crate::wire::response::result::{
    Column, PREPARED, ROWS, ROWS_NO_METADATA, put_columns, put_variables,
};
use crate::wire::{Version, code, put};
use tables::{Kind, Node, Table};
use terms::{Bound, Terms};

pub use identity::{host_id, lower_release, schema_version};

const KEYSPACE: &str = "system";

/// What the proxy says of itself; an immutable snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// The name of the cluster that drivers see.
    pub cluster_name: String,
    /// The datacenter of its one node.
    pub datacenter: String,
    /// The rack of its one node.
    pub rack: String,
    /// The node's id, the same after a restart.
    pub host_id: Uuid,
    /// The lower release of both clusters; it decides which tables and columns there are.
    pub release_version: String,
    /// Changes when the schema of either cluster does.
    pub schema_version: Uuid,
    /// The version of CQL.
    pub cql_version: String,
    /// The class name of the partitioner.
    pub partitioner: String,
    /// The highest protocol version offered.
    pub native_protocol: u8,
}

/// Writes the body of a RESULT (ROWS) for `select`; `dialled` is the address that the client
/// connected to.
///
/// # Errors
/// The refusal that a node would give; nothing was written then.
#[expect(
    clippy::too_many_arguments,
    reason = "what is asked, what is known, and where the answer goes"
)]
pub fn rows(
    select: &Select,
    facts: &Facts,
    dialled: SocketAddr,
    values: Option<Values<'_>>,
    skip_metadata: bool,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let table = Table::find(select.table, &facts.release_version)?;
    let asked = Asked::find(table, &select.columns)?;
    let terms = Terms::find(table, select)?;
    let bound = Bound::new(values, version, &terms.markers)?;
    let node = Node { facts, dialled };
    let visible = terms.hold(&node, &bound)? && table.has_node();

    put::i32(out, ROWS);
    if skip_metadata && asked.is_as_prepared() {
        put::i32(out, ROWS_NO_METADATA);
        put::i32(out, i32::try_from(asked.specs().len()).unwrap_or(0));
    } else {
        put_columns(out, (KEYSPACE, table.name), &asked.specs());
    }
    asked.put_rows(out, visible.then_some(&node));
    Ok(())
}

/// Writes the body of a RESULT (PREPARED). It describes the tables of release 4.0 and later; where
/// the advertised release is older, [`rows`] says so at each EXECUTE.
///
/// # Errors
/// The refusal that a node would give; nothing was written then.
pub fn prepared(
    select: &Select,
    id: &[u8],
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let table = Table::newest(select.table);
    let asked = Asked::find(table, &select.columns)?;
    let terms = Terms::find(table, select)?;
    let kinds: Vec<_> = terms.markers.iter().map(|it| it.kind.option()).collect();
    let variables: Vec<_> = terms
        .markers
        .iter()
        .zip(&kinds)
        .map(|(marker, kind)| Column {
            name: &marker.name,
            kind,
        })
        .collect();

    put::i32(out, PREPARED);
    put::short_bytes(out, id);
    let of = (KEYSPACE, table.name);
    put_variables(out, version, of, &variables, terms.key().as_slice());
    put_columns(out, of, &asked.specs());
    Ok(())
}

/// The columns of the answer.
enum Asked<'a> {
    All(Table),
    Count(&'a str),
    Named(Vec<(&'a str, &'static tables::Column)>),
}

impl<'a> Asked<'a> {
    fn find(table: Table, columns: &'a Columns) -> Result<Self, Error> {
        match columns {
            Columns::All => Ok(Self::All(table)),
            Columns::Count { alias } => Ok(Self::Count(alias.as_deref().unwrap_or("count"))),
            Columns::Named(named) => named
                .iter()
                .map(|(name, alias)| {
                    let column = table.column(name)?;
                    Ok((alias.as_deref().unwrap_or(column.name), column))
                })
                .collect::<Result<_, _>>()
                .map(Self::Named),
        }
    }

    /// Whether [`prepared`] announced the same columns.
    fn is_as_prepared(&self) -> bool {
        match self {
            Self::All(table) => table.is_newest(),
            Self::Count(_) | Self::Named(_) => true,
        }
    }

    fn specs(&self) -> Vec<Column<'a>> {
        let spec = |name: &'a str, kind: Kind| Column {
            name,
            kind: kind.option(),
        };
        match self {
            Self::All(table) => table
                .columns()
                .map(|column| spec(column.name, column.kind))
                .collect(),
            Self::Count(name) => vec![spec(name, Kind::BigInt)],
            Self::Named(named) => named
                .iter()
                .map(|(name, column)| spec(name, column.kind))
                .collect(),
        }
    }

    /// The rows' count and cells: the node's, if it is among them. A count is always a row.
    fn put_rows(&self, out: &mut Vec<u8>, node: Option<&Node<'_>>) {
        let rows = i32::from(node.is_some());
        match (self, node) {
            (Self::Count(_), _) => {
                put::i32(out, 1);
                put::bytes(out, &i64::from(rows).to_be_bytes());
            }
            (_, None) => put::i32(out, rows),
            (Self::All(table), Some(node)) => {
                put::i32(out, rows);
                for column in table.columns() {
                    column.put(out, node);
                }
            }
            (Self::Named(named), Some(node)) => {
                put::i32(out, rows);
                for (_, column) in named {
                    column.put(out, node);
                }
            }
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Node {
        code: code::INVALID,
        message: message.into(),
    }
}
