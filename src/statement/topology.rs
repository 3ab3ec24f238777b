//! SELECTs of what drivers ask about the cluster, read far enough to be answered by the proxy.

use uuid::Uuid;

use super::lexer::{Cursor, Lexeme, Token};

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

/// A SELECT from one of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Select {
    /// From which.
    pub table: Topology,
    /// What it asks for.
    pub columns: Columns,
    /// All of these must hold.
    pub filters: Vec<Filter>,
    /// At most so many rows.
    pub limit: Option<Operand>,
}

/// What a SELECT asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Columns {
    /// `*`
    All,
    /// `count(*)`
    Count {
        /// `AS …`
        alias: Option<Box<str>>,
    },
    /// These columns, each with its `AS …`.
    Named(Vec<(Box<str>, Option<Box<str>>)>),
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

/// The SELECT in a text that is known to be one statement; none if it asks for something that the
/// proxy does not answer (functions, JSON, other tables).
#[must_use]
pub fn parse(text: &str, session_keyspace: Option<&str>) -> Option<Select> {
    let mut cursor = Cursor::new(text);
    cursor.take_if(Token::Select)?;
    let columns = columns(&mut cursor)?;
    cursor.take_if(Token::From)?;
    let table = table(&mut cursor, session_keyspace)?;
    let filters = filters(&mut cursor)?;
    let limit = if cursor.word("limit") {
        Some(operand(&mut cursor)?)
    } else {
        None
    };
    if cursor.word("allow") && !cursor.word("filtering") {
        return None;
    }
    while cursor.take_if(Token::Semicolon).is_some() {}
    (cursor.kind() == Token::End).then_some(Select {
        table,
        columns,
        filters,
        limit,
    })
}

fn columns(cursor: &mut Cursor<'_>) -> Option<Columns> {
    if cursor.take_if(Token::Star).is_some() {
        return Some(Columns::All);
    }
    let mut named = Vec::new();
    loop {
        let column = cursor.ident()?.fold();
        if &*column == "count" && cursor.take_if(Token::Open).is_some() {
            let every = cursor.take();
            cursor.take_if(Token::Close)?;
            let alias = alias(cursor)?;
            let counts = every.kind == Token::Star || every.text == "1";
            return (counts && named.is_empty()).then_some(Columns::Count { alias });
        }
        named.push((column, alias(cursor)?));
        if cursor.take_if(Token::Comma).is_none() {
            return Some(Columns::Named(named));
        }
    }
}

/// `AS name`, if it is there; none if it is broken.
#[expect(clippy::option_option, reason = "absent is not broken")]
fn alias(cursor: &mut Cursor<'_>) -> Option<Option<Box<str>>> {
    if cursor.word("as") {
        cursor.ident().map(|name| Some(name.fold()))
    } else {
        Some(None)
    }
}

fn table(cursor: &mut Cursor<'_>, session_keyspace: Option<&str>) -> Option<Topology> {
    let name = cursor.name()?;
    let system = match name.keyspace {
        Some(keyspace) => keyspace.is("system"),
        None => session_keyspace == Some("system"),
    };
    let tables = [
        ("local", Topology::Local),
        ("peers", Topology::Peers),
        ("peers_v2", Topology::PeersV2),
    ];
    tables
        .iter()
        .find(|(table, _)| system && name.name.is(table))
        .map(|(_, table)| *table)
}

fn filters(cursor: &mut Cursor<'_>) -> Option<Vec<Filter>> {
    let mut filters = Vec::new();
    if cursor.take_if(Token::Where).is_none() {
        return Some(filters);
    }
    loop {
        let column = cursor.ident()?.fold();
        let test = match cursor.take().kind {
            Token::Equals => Test::Equals(operand(cursor)?),
            Token::In if cursor.take_if(Token::Open).is_some() => Test::In(operands(cursor)?),
            Token::In => Test::InBound(operand(cursor)?),
            _ => return None,
        };
        filters.push(Filter { column, test });
        if cursor.take_if(Token::And).is_none() {
            return Some(filters);
        }
    }
}

fn operands(cursor: &mut Cursor<'_>) -> Option<Vec<Operand>> {
    let mut operands = Vec::new();
    if cursor.take_if(Token::Close).is_some() {
        return Some(operands);
    }
    loop {
        operands.push(operand(cursor)?);
        if cursor.take_if(Token::Comma).is_none() {
            cursor.take_if(Token::Close)?;
            return Some(operands);
        }
    }
}

fn operand(cursor: &mut Cursor<'_>) -> Option<Operand> {
    let index = cursor.markers();
    let minus = cursor.take_if(Token::Minus).is_some();
    let value = cursor.take();
    match value.kind {
        Token::Number => value.integer(minus).map(Operand::Int),
        _ if minus => None,
        Token::Marker => Some(Operand::Marker(index)),
        Token::Named => Some(Operand::Named(index, value.marker_name())),
        Token::Text => Some(Operand::Text(text(value))),
        Token::Uuid => Uuid::try_parse(value.text).ok().map(Operand::Uuid),
        _ if value.is("true") => Some(Operand::Bool(true)),
        _ if value.is("false") => Some(Operand::Bool(false)),
        _ => None,
    }
}

/// What stands between the quotes.
fn text(value: Lexeme<'_>) -> Box<str> {
    let between = |mark| {
        value
            .text
            .strip_prefix(mark)
            .and_then(|text| text.strip_suffix(mark))
    };
    match between("$$") {
        Some(inner) => inner.into(),
        None => between("'").unwrap_or_default().replace("''", "'").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Class, classify};

    #[test]
    fn topology_selects_are_read_whole() {
        let filter = |column: &str, test| Filter {
            column: column.into(),
            test,
        };
        let select = |table, columns, filters, limit| Select {
            table,
            columns,
            filters,
            limit,
        };
        let named = |names: &[&str]| {
            Columns::Named(names.iter().map(|name| ((*name).into(), None)).collect())
        };
        let texts = [
            (
                "SELECT * FROM system.local WHERE key='local'",
                select(
                    Topology::Local,
                    Columns::All,
                    vec![filter("key", Test::Equals(Operand::Text("local".into())))],
                    None,
                ),
            ),
            (
                "select host_id, Tokens from system.peers where peer = :p limit ? allow filtering;",
                select(
                    Topology::Peers,
                    named(&["host_id", "tokens"]),
                    vec![filter("peer", Test::Equals(Operand::Named(0, "p".into())))],
                    Some(Operand::Marker(1)),
                ),
            ),
            (
                "SELECT COUNT(1) AS n FROM system.peers_v2 WHERE peer IN ('::1', ?) AND native_port=-1",
                select(
                    Topology::PeersV2,
                    Columns::Count {
                        alias: Some("n".into()),
                    },
                    vec![
                        filter(
                            "peer",
                            Test::In(vec![Operand::Text("::1".into()), Operand::Marker(0)]),
                        ),
                        filter("native_port", Test::Equals(Operand::Int(-1))),
                    ],
                    None,
                ),
            ),
            (
                "SELECT rack FROM system.peers WHERE peer IN ? AND bootstrapped = $$it's$$",
                select(
                    Topology::Peers,
                    named(&["rack"]),
                    vec![
                        filter("peer", Test::InBound(Operand::Marker(0))),
                        filter("bootstrapped", Test::Equals(Operand::Text("it's".into()))),
                    ],
                    None,
                ),
            ),
        ];
        for (text, expected) in texts {
            assert_eq!(classify(text).class, Class::Topology(expected), "{text}");
        }
    }
}
