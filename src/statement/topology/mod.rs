//! SELECTs of what drivers ask about the cluster, read far enough to be answered by the proxy.

mod parse;
#[cfg(test)]
mod tests;

use uuid::Uuid;

pub(super) use parse::parse;

/// The tables that the proxy answers itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Topology {
    /// `system.local`
    Local,
    /// `system.peers`
    Peers,
    /// `system.peers_v2`
    PeersV2,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Peers, Self::PeersV2];

    /// The table's name in the keyspace `system`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peers => "peers",
            Self::PeersV2 => "peers_v2",
        }
    }
}

/// A SELECT from one of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Select {
    /// From which.
    pub table: Topology,
    /// Each row as one text of JSON.
    pub json: bool,
    /// Partitions, not rows.
    pub distinct: bool,
    /// What it asks for.
    pub columns: Columns,
    /// All of these must hold.
    pub filters: Vec<Filter>,
    /// `GROUP BY` these columns.
    pub group_by: Vec<Box<str>>,
    /// `ORDER BY` these columns, in either direction.
    pub order_by: Vec<Box<str>>,
    /// At most so many rows of a partition.
    pub per_partition: Option<Operand>,
    /// At most so many rows.
    pub limit: Option<Operand>,
}

/// What a SELECT asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Columns {
    /// `*`
    All,
    /// These, in this order.
    Named(Vec<Selector>),
}

/// One column of the answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selector {
    /// What it shows.
    pub shows: Shows,
    /// `AS …`
    pub alias: Option<Box<str>>,
}

/// What a column of the answer shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shows {
    /// A column of the table.
    Column(Box<str>),
    /// `count(column)`
    Count(Box<str>),
    /// `count(*)`
    Rows,
}

/// One condition of the WHERE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// The column.
    pub column: Box<str>,
    /// What it must be.
    pub test: Test,
}

/// What a column must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Test {
    /// `= …`
    Equals(Operand),
    /// `IN (…, …)`
    In(Vec<Operand>),
    /// `IN ?`: one of a bound list.
    InBound(Operand),
}

/// A value in the text, or a place for one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operand {
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Int(i64),
    /// The bind marker with this index.
    Marker(usize),
    /// The named bind marker with this index.
    Named(usize, Box<str>),
    /// `'…'`: a text or an address.
    Text(Box<str>),
    /// A UUID.
    Uuid(Uuid),
}

/// A SELECT from one of the tables that the proxy does not answer. No node may answer it either: it
/// would show itself and its peers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsupported {
    /// From which.
    pub table: Topology,
    /// What is not supported there, as it stands in a sentence.
    pub what: Box<str>,
}
