//! A snapshot of column types: what the text of a statement cannot tell.

use std::collections::HashMap;

/// What a column's type means for repeating a write to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// `counter`.
    Counter,
    /// `frozen<…>`: one value, whatever is inside.
    Frozen,
    /// A list of separate cells.
    List,
    /// A map of separate cells.
    Map,
    /// Everything else: plain values, tuples, vectors, user types.
    Other,
    /// A set of separate cells.
    Set,
}

impl Kind {
    /// From the `type` text of `system_schema.columns`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let outer = text.split('<').next().unwrap_or_default().trim();
        let generic = outer.len() < text.len();
        let named = |name| outer.eq_ignore_ascii_case(name);
        match generic {
            false if named("counter") => Self::Counter,
            true if named("frozen") => Self::Frozen,
            true if named("list") => Self::List,
            true if named("map") => Self::Map,
            true if named("set") => Self::Set,
            _ => Self::Other,
        }
    }
}

/// One row of `system_schema.columns`.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// `keyspace_name`
    pub keyspace: &'a str,
    /// `table_name`
    pub table: &'a str,
    /// `column_name`
    pub column: &'a str,
    /// `kind`: `partition_key`, `clustering`, `regular` or `static`.
    pub kind: &'a str,
    /// `position` within its kind.
    pub position: i32,
    /// `type`, as CQL.
    pub type_text: &'a str,
}

/// What is known of one table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    columns: HashMap<Box<str>, Kind>,
    partition_key: Vec<(i32, Box<str>)>,
    id: Option<[u8; 16]>,
}

impl Shape {
    /// The kind of this column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<Kind> {
        self.columns.get(name).copied()
    }

    /// The columns of the partition key, in order.
    pub fn partition_key(&self) -> impl Iterator<Item = &str> {
        self.partition_key.iter().map(|(_, name)| &**name)
    }

    /// The table's id, if it was told.
    #[must_use]
    pub const fn id(&self) -> Option<[u8; 16]> {
        self.id
    }

    /// Whether some column is of this kind.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.columns.values().any(|found| *found == kind)
    }
}

/// All tables, as they were at one moment; immutable once built.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Schema {
    keyspaces: HashMap<Box<str>, HashMap<Box<str>, Shape>>,
}

impl Schema {
    /// From the rows of `system_schema.columns`, in any order.
    #[must_use]
    pub fn new<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Self {
        let mut schema = Self::default();
        for row in rows {
            schema.put(row);
        }
        for shape in schema.keyspaces.values_mut().flat_map(HashMap::values_mut) {
            shape.partition_key.sort();
        }
        schema
    }

    /// With the ids of `system_schema.tables`, as (keyspace, table, id); unknown tables are passed
    /// over.
    #[must_use]
    pub fn with_ids<'a>(
        mut self,
        ids: impl IntoIterator<Item = (&'a str, &'a str, [u8; 16])>,
    ) -> Self {
        for (keyspace, table, id) in ids {
            let shape = self
                .keyspaces
                .get_mut(keyspace)
                .and_then(|tables| tables.get_mut(table));
            if let Some(shape) = shape {
                shape.id = Some(id);
            }
        }
        self
    }

    /// What is known of this table.
    #[must_use]
    pub fn table(&self, keyspace: &str, name: &str) -> Option<&Shape> {
        self.keyspaces.get(keyspace)?.get(name)
    }

    fn put(&mut self, row: Row<'_>) {
        let tables = self.keyspaces.entry(row.keyspace.into()).or_default();
        let shape = tables.entry(row.table.into()).or_default();
        shape
            .columns
            .insert(row.column.into(), Kind::parse(row.type_text));
        if row.kind == "partition_key" {
            shape.partition_key.push((row.position, row.column.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_the_type_text() {
        let kinds = [
            ("counter", Kind::Counter),
            ("list<text>", Kind::List),
            ("List < frozen<map<text, int>> >", Kind::List),
            ("set<int>", Kind::Set),
            ("map<text, frozen<list<int>>>", Kind::Map),
            ("frozen<list<text>>", Kind::Frozen),
            ("vector<float, 3>", Kind::Other),
            ("tuple<int, list<int>>", Kind::Other),
            ("\"list\"", Kind::Other),
            ("list", Kind::Other),
            ("", Kind::Other),
        ];
        for (text, kind) in kinds {
            assert_eq!(Kind::parse(text), kind, "{text}");
        }
    }

    #[test]
    fn a_partition_key_is_told_in_its_order() {
        let row = |column, kind, position| Row {
            keyspace: "ks",
            table: "t",
            column,
            kind,
            position,
            type_text: "int",
        };
        let schema = Schema::new([
            row("b", "partition_key", 1),
            row("v", "regular", -1),
            row("a", "partition_key", 0),
            row("c", "clustering", 0),
        ])
        .with_ids([("ks", "t", [7; 16]), ("ks", "gone", [8; 16])]);
        let shape = schema.table("ks", "t").expect("it was put");
        assert_eq!(shape.partition_key().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(shape.id(), Some([7; 16]));
        assert_eq!(schema.table("ks", "gone"), None);
        assert_eq!(shape.column("v"), Some(Kind::Other));
    }
}
