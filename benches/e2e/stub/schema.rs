//! The system tables of a one-node cluster with one table: `bench.t (k text PRIMARY KEY, v blob)`.

use std::net::{IpAddr, SocketAddr};

use super::rows::{Cell, Rows, Type};
use crate::wire::Body;

/// What exists in `system_schema` beside the tables that have rows here.
const EMPTY: [&str; 8] = [
    "aggregates",
    "dropped_columns",
    "functions",
    "indexes",
    "triggers",
    "types",
    "views",
    "view_where",
];

/// All tables that a driver or a proxy may ask for.
#[derive(Debug)]
pub(super) struct Schema {
    tables: Vec<Rows>,
}

impl Schema {
    pub(super) fn new(address: SocketAddr) -> Self {
        let local = table("system", "local", local(address));
        let mut peers = table("system", "peers", peers());
        peers.rows.clear();
        let keyspaces = table("system_schema", "keyspaces", keyspace());
        let tables = table("system_schema", "tables", bench_table());
        let mut columns = table(
            "system_schema",
            "columns",
            column("k", "partition_key", 0, "text"),
        );
        columns
            .rows
            .extend(table("", "", column("v", "regular", -1, "blob")).rows);
        let mut all = vec![local, peers, keyspaces, tables, columns];
        for name in EMPTY {
            let mut empty = table("system_schema", name, vec![text("keyspace_name", "bench")]);
            empty.rows.clear();
            all.push(empty);
        }
        Self { tables: all }
    }

    /// Answers a SELECT in lower case, or says why it is invalid.
    pub(super) fn select(&self, text: &str) -> Result<Rows, String> {
        let (asked, rest) = text
            .trim_start_matches("select")
            .split_once(" from ")
            .ok_or("no viable alternative at input")?;
        let name = rest
            .split([' ', ';', '\n', '\t'])
            .find(|word| !word.is_empty());
        let (keyspace, name) = name.and_then(|n| n.split_once('.')).ok_or("no keyspace")?;
        let found = self
            .tables
            .iter()
            .find(|t| t.keyspace == keyspace && t.table == name);
        let table = found.ok_or_else(|| format!("unconfigured table {name}"))?;
        let asked = asked.trim();
        if asked == "*" {
            return Ok(table.clone());
        }
        if asked.starts_with("count(") {
            let count = (table.rows.len() as u64).to_be_bytes().to_vec();
            let columns = vec![("count".to_owned(), Type::Bigint)];
            return Ok(Rows {
                columns,
                rows: vec![vec![Some(count)]],
                ..table.clone()
            });
        }
        let names: Vec<_> = asked
            .split(',')
            .map(|name| name.trim().trim_matches('"'))
            .collect();
        Ok(table.project(&names))
    }
}

/// One column with its one value.
type Field = (&'static str, Type, Cell);

fn table(keyspace: &str, name: &str, fields: Vec<Field>) -> Rows {
    let columns = fields
        .iter()
        .map(|(name, kind, _)| ((*name).to_owned(), *kind))
        .collect();
    let row = fields.into_iter().map(|(_, _, cell)| cell).collect();
    Rows {
        keyspace: keyspace.to_owned(),
        table: name.to_owned(),
        columns,
        rows: vec![row],
    }
}

fn local(address: SocketAddr) -> Vec<Field> {
    vec![
        text("key", "local"),
        text("bootstrapped", "COMPLETED"),
        inet("broadcast_address", address.ip()),
        text("cluster_name", "stub"),
        text("cql_version", "3.4.4"),
        text("data_center", "datacenter1"),
        uuid("host_id", address.port()),
        inet("listen_address", address.ip()),
        text("native_protocol_version", "4"),
        text("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"),
        text("rack", "rack1"),
        text("release_version", "3.11.19"),
        inet("rpc_address", address.ip()),
        uuid("schema_version", 1),
        set("tokens", &["-9000000000000000000"]),
    ]
}

fn peers() -> Vec<Field> {
    let nowhere = IpAddr::from([0, 0, 0, 0]);
    vec![
        inet("peer", nowhere),
        text("data_center", ""),
        uuid("host_id", 0),
        inet("preferred_ip", nowhere),
        text("rack", ""),
        text("release_version", ""),
        inet("rpc_address", nowhere),
        uuid("schema_version", 0),
        set("tokens", &[]),
    ]
}

fn keyspace() -> Vec<Field> {
    let replication = [
        ("class", "org.apache.cassandra.locator.SimpleStrategy"),
        ("replication_factor", "1"),
    ];
    vec![
        text("keyspace_name", "bench"),
        boolean("durable_writes", true),
        map("replication", &replication),
    ]
}

fn bench_table() -> Vec<Field> {
    vec![
        text("keyspace_name", "bench"),
        text("table_name", "t"),
        double("bloom_filter_fp_chance", 0.01),
        map(
            "caching",
            &[("keys", "ALL"), ("rows_per_partition", "NONE")],
        ),
        boolean("cdc", false),
        text("comment", ""),
        map("compaction", &[("class", "SizeTieredCompactionStrategy")]),
        map("compression", &[("class", "LZ4Compressor")]),
        double("crc_check_chance", 1.0),
        double("dclocal_read_repair_chance", 0.1),
        int("default_time_to_live", 0),
        map("extensions", &[]),
        set("flags", &["compound"]),
        int("gc_grace_seconds", 864_000),
        uuid("id", 2),
        int("max_index_interval", 2048),
        int("memtable_flush_period_in_ms", 0),
        int("min_index_interval", 128),
        double("read_repair_chance", 0.0),
        text("speculative_retry", "99PERCENTILE"),
    ]
}

fn column(name: &str, kind: &str, position: i32, cql: &str) -> Vec<Field> {
    vec![
        text("keyspace_name", "bench"),
        text("table_name", "t"),
        text("column_name", name),
        text("clustering_order", "none"),
        (
            "column_name_bytes",
            Type::Blob,
            Some(name.as_bytes().to_vec()),
        ),
        text("kind", kind),
        int("position", position),
        text("type", cql),
    ]
}

fn text(name: &'static str, value: &str) -> Field {
    (name, Type::Text, Some(value.as_bytes().to_vec()))
}

fn int(name: &'static str, value: i32) -> Field {
    (name, Type::Int, Some(value.to_be_bytes().to_vec()))
}

fn double(name: &'static str, value: f64) -> Field {
    (name, Type::Double, Some(value.to_be_bytes().to_vec()))
}

fn boolean(name: &'static str, value: bool) -> Field {
    (name, Type::Boolean, Some(vec![u8::from(value)]))
}

fn inet(name: &'static str, value: IpAddr) -> Field {
    let bytes = match value {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    (name, Type::Inet, Some(bytes))
}

/// A valid random-kind UUID that differs by `number`.
fn uuid(name: &'static str, number: u16) -> Field {
    let bytes = (0x5c0f_fee0_0000_4000_8000_0000_0000_0000_u128 | u128::from(number)).to_be_bytes();
    (name, Type::Uuid, Some(bytes.to_vec()))
}

fn set(name: &'static str, values: &[&str]) -> Field {
    let head = Body::default().count(values.len());
    let body = values
        .iter()
        .fold(head, |body, value| body.long_string(value));
    (name, Type::TextSet, Some(body.0))
}

fn map(name: &'static str, values: &[(&str, &str)]) -> Field {
    let head = Body::default().count(values.len());
    let body = values
        .iter()
        .fold(head, |body, (k, v)| body.long_string(k).long_string(v));
    (name, Type::TextMap, Some(body.0))
}
