//! What one cluster says of itself: who it is, and its tables' columns.

use std::time::Duration;

use uuid::Uuid;

use super::Lost;
use super::call::{Failure, Line, Row};
use crate::wire::request::register::Events;
use crate::wire::response::supported;
use crate::wire::{Opcode, Version};

/// How long one question may take.
pub(super) const WITHIN: Duration = Duration::from_secs(5);

/// A node's own row of `system.local`, as far as it matters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Local {
    /// The cluster's name.
    pub cluster_name: String,
    /// Its CQL version.
    pub cql_version: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its partitioner's class.
    pub partitioner: String,
    /// Its rack.
    pub rack: String,
    /// Its release, `5.0.7` for example.
    pub release_version: String,
    /// The version of its schema.
    pub schema_version: Uuid,
}

/// One column of one table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Column {
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// The column.
    pub name: String,
    /// `partition_key`, `clustering`, `regular` or `static`.
    pub kind: String,
    /// Its place within the key, -1 outside.
    pub position: i32,
    /// Its type as CQL text.
    pub type_text: String,
}

/// Asks to be told of events on the current connection.
///
/// # Errors
/// If the node does not agree.
pub async fn register(line: &Line) -> Result<(), Failure> {
    let asked = line.ask(Opcode::Register, Events::put_all, WITHIN).await;
    asked.map(drop)
}

/// The highest version that the node speaks and we do, by what it offers. One that does not say so
/// speaks the one that it was asked in.
///
/// # Errors
/// If it cannot be asked, or is about to leave: then it answers anything with an ERROR, which says nothing
/// of versions.
pub async fn version_max(line: &Line) -> Result<Version, Failure> {
    let asked_in = line.version();
    let reply = line.ask(Opcode::Options, |_| {}, WITHIN).await?;
    let offered = reply.content().and_then(supported::versions);
    let offered = offered.map_err(|fault| Lost::Broken(fault.to_string()))?;
    Ok(offered.unwrap_or(asked_in))
}

/// The node's own row.
///
/// # Errors
/// If it cannot be had.
pub async fn local(line: &Line) -> Result<Local, Failure> {
    local_within(line, WITHIN).await
}

/// The same within this time, from before the node is dialled.
pub(super) async fn local_within(line: &Line, within: Duration) -> Result<Local, Failure> {
    let text = "SELECT cluster_name, cql_version, data_center, partitioner, rack, release_version, \
                schema_version FROM system.local WHERE key = 'local'";
    let rows = line.rows(text, within).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let text = |place: usize| cell_text(&row, place);
    let version = row
        .get(6)
        .cloned()
        .flatten()
        .and_then(|bytes| Uuid::from_slice(&bytes).ok());
    Ok(Local {
        cluster_name: text(0),
        cql_version: text(1),
        datacenter: text(2),
        partitioner: text(3),
        rack: text(4),
        release_version: text(5),
        schema_version: version.unwrap_or_default(),
    })
}

/// Whether all nodes that the cluster lists have the schema of the one that is asked.
///
/// # Errors
/// If it cannot be asked.
pub async fn agrees(line: &Line) -> Result<bool, Failure> {
    let own = local(line).await?.schema_version;
    let peers = line
        .rows("SELECT schema_version FROM system.peers", WITHIN)
        .await?;
    Ok(peers.iter().all(|row| match row.first() {
        Some(Some(bytes)) => *bytes == own.as_bytes(),
        Some(None) | None => true,
    }))
}

/// All columns of all tables.
///
/// # Errors
/// If they cannot be had.
pub async fn columns(line: &Line) -> Result<Vec<Column>, Failure> {
    let text = "SELECT keyspace_name, table_name, column_name, kind, position, type \
                FROM system_schema.columns";
    let rows = line.rows(text, WITHIN).await?;
    Ok(rows
        .iter()
        .map(|row| Column {
            keyspace: cell_text(row, 0),
            table: cell_text(row, 1),
            name: cell_text(row, 2),
            kind: cell_text(row, 3),
            position: cell_int(row, 4),
            type_text: cell_text(row, 5),
        })
        .collect())
}

fn cell_text(row: &Row, place: usize) -> String {
    let bytes = row.get(place).cloned().flatten().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn cell_int(row: &Row, place: usize) -> i32 {
    let bytes = row.get(place).cloned().flatten().unwrap_or_default();
    bytes.try_into().map_or(-1, i32::from_be_bytes)
}
