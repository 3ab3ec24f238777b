//! The tables as Cassandra has them: their columns in the order of `SELECT *`, and what the one
//! node says in each.

use std::net::{IpAddr, SocketAddr};

use super::{Facts, KEYSPACE, identity, invalid};
use crate::dispatch::Error;
use crate::statement::topology::Topology;
use crate::wire::put;

/// Between nodes; no driver dials it.
const STORAGE_PORT: i32 = 7_000;
/// One token owns the whole ring; zero is one under every partitioner of numbers.
const TOKEN: &str = "0";

/// The first release with `peers_v2` and with ports in `local`.
const PORTS_SINCE: u64 = 4;

/// The node that `system.local` describes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) facts: &'a Facts,
    pub(super) dialled: SocketAddr,
}

/// A value as it stands on the wire; none is null.
pub(super) type Cell = Option<Vec<u8>>;

/// A column of one of the tables.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    port: bool,
    cell: fn(&Node<'_>) -> Cell,
}

impl Column {
    const fn new(name: &'static str, kind: Kind, cell: fn(&Node<'_>) -> Cell) -> Self {
        let port = false;
        Self {
            name,
            kind,
            port,
            cell,
        }
    }

    /// One that came with release 4.0.
    const fn port(name: &'static str, cell: fn(&Node<'_>) -> Cell) -> Self {
        let port = true;
        Self {
            name,
            kind: Kind::Int,
            port,
            cell,
        }
    }

    /// One of a table without rows.
    const fn bare(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, |_| None)
    }

    /// What the node says in it.
    pub(super) fn cell(&self, node: &Node<'_>) -> Cell {
        (self.cell)(node)
    }
}

const LOCAL: &[Column] = &[
    Column::new("key", Kind::Text, |_| text("local")),
    Column::new("bootstrapped", Kind::Text, |_| text("COMPLETED")),
    Column::new("broadcast_address", Kind::Inet, address),
    Column::port("broadcast_port", |_| int(STORAGE_PORT)),
    Column::new("cluster_name", Kind::Text, |it| {
        text(&it.facts.cluster_name)
    }),
    Column::new("cql_version", Kind::Text, |it| text(&it.facts.cql_version)),
    Column::new("data_center", Kind::Text, |it| text(&it.facts.datacenter)),
    Column::new("gossip_generation", Kind::Int, |_| None),
    Column::new("host_id", Kind::Uuid, |it| {
        Some(it.facts.host_id.as_bytes().to_vec())
    }),
    Column::new("listen_address", Kind::Inet, address),
    Column::port("listen_port", |_| int(STORAGE_PORT)),
    Column::new("native_protocol_version", Kind::Text, |it| {
        text(&it.facts.native_protocol.to_string())
    }),
    Column::new("partitioner", Kind::Text, |it| text(&it.facts.partitioner)),
    Column::new("rack", Kind::Text, |it| text(&it.facts.rack)),
    Column::new("release_version", Kind::Text, |it| {
        text(&it.facts.release_version)
    }),
    Column::new("rpc_address", Kind::Inet, address),
    Column::port("rpc_port", |it| int(i32::from(it.dialled.port()))),
    Column::new("schema_version", Kind::Uuid, |it| {
        Some(it.facts.schema_version.as_bytes().to_vec())
    }),
    Column::new("tokens", Kind::TextSet, |_| tokens()),
    Column::new("truncated_at", Kind::BlobByUuid, |_| None),
];

const PEERS: &[Column] = &[
    Column::bare("peer", Kind::Inet),
    Column::bare("data_center", Kind::Text),
    Column::bare("host_id", Kind::Uuid),
    Column::bare("preferred_ip", Kind::Inet),
    Column::bare("rack", Kind::Text),
    Column::bare("release_version", Kind::Text),
    Column::bare("rpc_address", Kind::Inet),
    Column::bare("schema_version", Kind::Uuid),
    Column::bare("tokens", Kind::TextSet),
];

const PEERS_V2: &[Column] = &[
    Column::bare("peer", Kind::Inet),
    Column::bare("peer_port", Kind::Int),
    Column::bare("data_center", Kind::Text),
    Column::bare("host_id", Kind::Uuid),
    Column::bare("native_address", Kind::Inet),
    Column::bare("native_port", Kind::Int),
    Column::bare("preferred_ip", Kind::Inet),
    Column::bare("preferred_port", Kind::Int),
    Column::bare("rack", Kind::Text),
    Column::bare("release_version", Kind::Text),
    Column::bare("schema_version", Kind::Uuid),
    Column::bare("tokens", Kind::TextSet),
];

/// One of the tables, as a release has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    topology: Topology,
    all: &'static [Column],
    /// The number of columns in it; the partition key is the first, the others cluster.
    primary_key: usize,
    ports: bool,
}

impl Table {
    /// The table as this release has it. A release that cannot be read counts as a new one.
    pub(super) fn find(topology: Topology, release: &str) -> Result<Self, Error> {
        let ports = identity::major(release).is_none_or(|major| PORTS_SINCE <= major);
        if !ports && topology == Topology::PeersV2 {
            return Err(invalid("unconfigured table peers_v2"));
        }
        let newest = Self::newest(topology);
        Ok(Self { ports, ..newest })
    }

    /// The table as the newest releases have it.
    pub(super) const fn newest(topology: Topology) -> Self {
        let (all, primary_key) = match topology {
            Topology::Local => (LOCAL, 1),
            Topology::Peers => (PEERS, 1),
            Topology::PeersV2 => (PEERS_V2, 2),
        };
        Self {
            name: topology.name(),
            topology,
            all,
            primary_key,
            ports: true,
        }
    }

    pub(super) const fn is_newest(self) -> bool {
        self.ports
    }

    /// Whether the node that the client dialled is a row of it.
    pub(super) const fn has_node(self) -> bool {
        match self.topology {
            Topology::Local => true,
            Topology::Peers | Topology::PeersV2 => false,
        }
    }

    pub(super) fn columns(self) -> impl Iterator<Item = &'static Column> {
        self.all
            .iter()
            .filter(move |column| self.ports || !column.port)
    }

    pub(super) fn column(self, name: &str) -> Result<&'static Column, Error> {
        self.columns()
            .find(|column| column.name == name)
            .ok_or_else(|| {
                let table = self.name;
                invalid(format!(
                    "Undefined column name {name} in table {KEYSPACE}.{table}"
                ))
            })
    }

    /// Whether this column is the partition key.
    pub(super) fn is_key(self, column: &Column) -> bool {
        column.name == self.key()
    }

    /// Whether this column is in the primary key behind the partition key.
    pub(super) fn is_clustering(self, column: &Column) -> bool {
        let mut clustering = self.primary_key().iter().skip(1);
        clustering.any(|it| it.name == column.name)
    }

    /// The columns of the primary key in their order.
    pub(super) fn primary_key(self) -> &'static [Column] {
        self.all.get(..self.primary_key).unwrap_or_default()
    }

    /// The name of the partition key.
    pub(super) const fn key(self) -> &'static str {
        match self.topology {
            Topology::Local => "key",
            Topology::Peers | Topology::PeersV2 => "peer",
        }
    }
}

/// A column's type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    BigInt,
    BlobByUuid,
    Inet,
    Int,
    Text,
    TextSet,
    Uuid,
}

impl Kind {
    /// Its `[option]`.
    pub(super) const fn option(self) -> &'static [u8] {
        match self {
            Self::BigInt => &[0x00, 0x02],
            Self::BlobByUuid => &[0x00, 0x21, 0x00, 0x0C, 0x00, 0x03],
            Self::Inet => &[0x00, 0x10],
            Self::Int => &[0x00, 0x09],
            Self::Text => &[0x00, 0x0D],
            Self::TextSet => &[0x00, 0x22, 0x00, 0x0D],
            Self::Uuid => &[0x00, 0x0C],
        }
    }

    /// Its name in CQL.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::BlobByUuid => "map<uuid, blob>",
            Self::Inet => "inet",
            Self::Int => "int",
            Self::Text => "text",
            Self::TextSet => "set<text>",
            Self::Uuid => "uuid",
        }
    }

    pub(super) const fn is_collection(self) -> bool {
        match self {
            Self::BlobByUuid | Self::TextSet => true,
            Self::BigInt | Self::Inet | Self::Int | Self::Text | Self::Uuid => false,
        }
    }
}

/// The bytes of an address; one of version 4 that came by a socket of version 6 is of version 4.
pub(super) fn inet(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(node: &Node<'_>) -> Cell {
    Some(inet(node.dialled.ip()))
}

fn int(number: i32) -> Cell {
    Some(number.to_be_bytes().to_vec())
}

fn text(text: &str) -> Cell {
    Some(text.into())
}

fn tokens() -> Cell {
    let mut set = Vec::new();
    put::i32(&mut set, 1);
    put::bytes(&mut set, TOKEN.as_bytes());
    Some(set)
}
