//! Rows and their columns, as RESULT carries them.

use crate::wire::{Body, kind};

/// The column types that the stub speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bigint,
    Blob,
    Boolean,
    Double,
    Inet,
    Int,
    Text,
    TextMap,
    TextSet,
    Uuid,
}

impl Type {
    pub(super) fn put(self, body: Body) -> Body {
        match self {
            Self::Bigint => body.short(0x02),
            Self::Blob => body.short(0x03),
            Self::Boolean => body.short(0x04),
            Self::Double => body.short(0x07),
            Self::Inet => body.short(0x10),
            Self::Int => body.short(0x09),
            Self::Text => body.short(0x0D),
            Self::TextMap => body.short(0x21).short(0x0D).short(0x0D),
            Self::TextSet => body.short(0x22).short(0x0D),
            Self::Uuid => body.short(0x0C),
        }
    }
}

/// A cell's bytes; `None` is null.
pub(super) type Cell = Option<Vec<u8>>;

/// A small table, or the part of one that a query asked for.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) keyspace: String,
    pub(super) table: String,
    pub(super) columns: Vec<(String, Type)>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Rows {
    pub(super) fn one_value(keyspace: &str, table: &str, column: &str, value: &[u8]) -> Self {
        Self {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            columns: vec![(column.to_owned(), Type::Blob)],
            rows: vec![vec![Some(value.to_vec())]],
        }
    }

    /// The columns alone, as PREPARED carries them too.
    pub(super) fn metadata(&self) -> Body {
        let body = Body::default().int(1).count(self.columns.len());
        let head = body.string(&self.keyspace).string(&self.table);
        self.columns
            .iter()
            .fold(head, |body, (name, kind)| kind.put(body.string(name)))
    }

    /// A whole RESULT body.
    pub(super) fn body(&self, with_metadata: bool) -> Body {
        let mut body = Body::default().int(kind::ROWS);
        if with_metadata {
            body.0.extend_from_slice(&self.metadata().0);
        } else {
            body = body.int(4).count(self.columns.len());
        }
        body = body.count(self.rows.len());
        self.rows
            .iter()
            .flatten()
            .fold(body, |body, cell| body.bytes(cell.as_deref()))
    }

    /// The named columns in their order; one that does not exist is null text.
    pub(super) fn project(&self, names: &[&str]) -> Self {
        let at = |name: &&str| self.columns.iter().position(|(column, _)| column == name);
        let places: Vec<_> = names.iter().map(at).collect();
        let kind = |place: &Option<usize>| place.map_or(Type::Text, |at| self.columns[at].1);
        let cell = |row: &Vec<Cell>, place: &Option<usize>| place.and_then(|at| row[at].clone());
        Self {
            columns: names
                .iter()
                .zip(&places)
                .map(|(n, p)| ((*n).to_owned(), kind(p)))
                .collect(),
            rows: self
                .rows
                .iter()
                .map(|r| places.iter().map(|p| cell(r, p)).collect())
                .collect(),
            ..self.clone()
        }
    }
}
