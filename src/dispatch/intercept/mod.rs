//! What drivers ask about the cluster, answered by the proxy: it is the cluster's one node.
//!
//! The tables look as a node of the advertised release shows them. A statement that a node would
//! refuse is refused here with the node's code and words, so that drivers fall back as they do there.

mod asked;
mod identity;
mod json;
mod rules;
mod tables;
mod terms;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use uuid::Uuid;

use super::Error;
use crate::statement::topology::{Select, Unsupported};
use crate::wire::request::Values;
use crate::wire::response::result::{
    Column, PREPARED, ROWS, ROWS_NO_METADATA, put_columns, put_variables,
};
use crate::wire::{Version, code, put};
use asked::Asked;
use tables::{Node, Table};
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
    let (asked, terms) = read(table, select)?;
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
    let (asked, terms) = read(table, select)?;
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
    if Version::V5 <= version {
        // The columns of what is answered here never change under one statement.
        put::short_bytes(out, id);
    }
    let of = (KEYSPACE, table.name);
    put_variables(out, version, of, &variables, terms.key().as_slice());
    put_columns(out, of, &asked.specs());
    Ok(())
}

/// What a client is told whose SELECT from one of the tables cannot be answered here.
#[must_use]
pub fn unsupported(found: &Unsupported) -> Error {
    let Unsupported { table, what } = found;
    let table = table.name();
    invalid(format!(
        "On {KEYSPACE}.{table}, which the proxy answers itself, {what} is not supported"
    ))
}

fn read(table: Table, select: &Select) -> Result<(Asked<'_>, Terms<'_>), Error> {
    let asked = Asked::find(table, select)?;
    let terms = Terms::find(table, select)?;
    rules::check(table, select, &asked)?;
    Ok((asked, terms))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Node {
        code: code::INVALID,
        message: message.into(),
    }
}
