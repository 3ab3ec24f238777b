//! The text of such a SELECT, clause by clause.

use uuid::Uuid;

use super::{Columns, Filter, Operand, Select, Selector, Shows, Test, Topology, Unsupported};
use crate::statement::lexer::{Cursor, Lexeme, Token};

/// A name that is longer is not repeated to the client.
const NAME_LEN_MAX: usize = 48;

pub(super) const OTHER_LIST: &str = "this list of columns";
pub(super) const OTHER_TEST: &str = "a condition other than = and IN";
pub(super) const OTHER_VALUE: &str = "a value of this form";

/// What was read, or what is not supported.
type Read<T> = Result<T, Box<str>>;

/// The SELECT from the table of this name in `system`, in a text that is known to be one statement.
/// None if the proxy does not answer that table, or if it is only asked to call functions: their
/// values say nothing of the node.
pub(in crate::statement) fn parse(text: &str, table: &str) -> Option<Result<Select, Unsupported>> {
    let table = Topology::ALL.into_iter().find(|it| it.name() == table)?;
    match select(&mut Cursor::new(text), table) {
        Ok((select, None)) => Some(Ok(select)),
        Ok((select, Some(_))) if shows_no_node(&select) => None,
        Ok((_, Some(call))) => {
            let what = format!("{call} beside columns").into();
            Some(Err(Unsupported { table, what }))
        }
        Err(what) => Some(Err(Unsupported { table, what })),
    }
}

/// Whether nothing but calls is left of it, over the one row that every node has: `SELECT now() FROM
/// system.local` is how many ask whether somebody is there.
fn shows_no_node(select: &Select) -> bool {
    let no_column = matches!(&select.columns, Columns::Named(named) if named.is_empty());
    let by_key = select.filters.iter().all(|filter| &*filter.column == "key");
    select.table == Topology::Local && no_column && by_key
}

/// The SELECT without the calls in its list, and the first of those.
fn select(cursor: &mut Cursor<'_>, table: Topology) -> Read<(Select, Option<Box<str>>)> {
    cursor.take();
    let json = modifier(cursor, "json");
    let distinct = modifier(cursor, "distinct");
    let (columns, call) = columns(cursor)?;
    if cursor.take_if(Token::From).is_none() || cursor.name().is_none() {
        return Err(OTHER_LIST.into());
    }
    let select = Select {
        table,
        json,
        distinct,
        columns,
        filters: filters(cursor)?,
        group_by: by(cursor, "group")?,
        order_by: by(cursor, "order")?,
        per_partition: per_partition(cursor)?,
        limit: limit(cursor)?,
    };
    end(cursor).map(|()| (select, call))
}

/// Takes `JSON` or `DISTINCT`, unless it is the name of a column.
fn modifier(cursor: &mut Cursor<'_>, word: &str) -> bool {
    let mut ahead = cursor.clone();
    let next = |it: Lexeme<'_>| it.kind == Token::Star || it.ident().is_some() && !it.is("as");
    let found = ahead.word(word) && next(ahead.peek());
    if found {
        cursor.take();
    }
    found
}

fn columns(cursor: &mut Cursor<'_>) -> Read<(Columns, Option<Box<str>>)> {
    if cursor.take_if(Token::Star).is_some() {
        return Ok((Columns::All, None));
    }
    let (mut named, mut first_call) = (Vec::new(), None);
    loop {
        let item = item(cursor)?;
        let alias = alias(cursor)?;
        match item {
            Item::Shows(shows) => named.push(Selector { shows, alias }),
            Item::Call(call) => {
                first_call.get_or_insert(call);
            }
        }
        if cursor.take_if(Token::Comma).is_none() {
            return Ok((Columns::Named(named), first_call));
        }
    }
}

/// One of the list.
enum Item {
    /// A call that names no column.
    Call(Box<str>),
    Shows(Shows),
}

fn item(cursor: &mut Cursor<'_>) -> Read<Item> {
    if let Some(shows) = count(cursor) {
        return Ok(Item::Shows(shows));
    }
    let mut name = cursor.ident().ok_or(OTHER_LIST)?;
    if name.is("system") && cursor.take_if(Token::Dot).is_some() {
        name = cursor.ident().ok_or(OTHER_LIST)?;
    }
    if cursor.take_if(Token::Open).is_none() {
        return Ok(Item::Shows(Shows::Column(name.fold())));
    }
    let call = call(&name.fold());
    if names_no_column(cursor) {
        Ok(Item::Call(call))
    } else {
        Err(call)
    }
}

fn call(name: &str) -> Box<str> {
    if NAME_LEN_MAX < name.len() {
        return "this function".into();
    }
    format!("the function {name}()").into()
}

/// Takes `count(*)`, `count(1)` or `count(column)`.
fn count(cursor: &mut Cursor<'_>) -> Option<Shows> {
    let mut ahead = cursor.clone();
    ahead.ident().filter(|name| name.is("count"))?;
    ahead.take_if(Token::Open)?;
    let counted = ahead.take();
    ahead.take_if(Token::Close)?;
    let shows = match counted.kind {
        Token::Star => Shows::Rows,
        Token::Number if counted.integer(false).is_some() => Shows::Rows,
        _ => Shows::Count(counted.ident()?.fold()),
    };
    *cursor = ahead;
    Some(shows)
}

/// Takes the arguments of a call up to its closing bracket, as long as there are only values, calls
/// and, in a cast, types.
fn names_no_column(cursor: &mut Cursor<'_>) -> bool {
    let inside = cursor.depth();
    while inside <= cursor.depth() {
        let taken = cursor.take();
        let fine = match taken.kind {
            Token::Close | Token::Comma | Token::Minus | Token::Open => true,
            Token::Word if taken.is("as") => cursor.ident().is_some(),
            _ => taken.is_constant() || taken.ident().is_some() && cursor.kind() == Token::Open,
        };
        if !fine {
            return false;
        }
    }
    true
}

/// `AS name`, if it is there.
fn alias(cursor: &mut Cursor<'_>) -> Read<Option<Box<str>>> {
    if !cursor.word("as") {
        return Ok(None);
    }
    let name = cursor.ident().ok_or(OTHER_LIST)?;
    Ok(Some(name.fold()))
}

fn filters(cursor: &mut Cursor<'_>) -> Read<Vec<Filter>> {
    let mut filters = Vec::new();
    if cursor.take_if(Token::Where).is_none() {
        return Ok(filters);
    }
    loop {
        let column = cursor.ident().ok_or(OTHER_TEST)?.fold();
        let test = match cursor.take().kind {
            Token::Equals => Test::Equals(value(cursor)?),
            Token::In if cursor.take_if(Token::Open).is_some() => Test::In(values(cursor)?),
            Token::In => Test::InBound(value(cursor)?),
            Token::Open => return Err(call(&column)),
            _ => return Err(OTHER_TEST.into()),
        };
        filters.push(Filter { column, test });
        if cursor.take_if(Token::And).is_none() {
            return Ok(filters);
        }
    }
}

fn values(cursor: &mut Cursor<'_>) -> Read<Vec<Operand>> {
    let mut values = Vec::new();
    if cursor.take_if(Token::Close).is_some() {
        return Ok(values);
    }
    loop {
        values.push(value(cursor)?);
        if cursor.take_if(Token::Comma).is_none() {
            cursor.take_if(Token::Close).ok_or(OTHER_VALUE)?;
            return Ok(values);
        }
    }
}

fn value(cursor: &mut Cursor<'_>) -> Read<Operand> {
    operand(cursor).ok_or_else(|| OTHER_VALUE.into())
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

/// The columns of `GROUP BY` or `ORDER BY`, if it is there.
fn by(cursor: &mut Cursor<'_>, word: &str) -> Read<Vec<Box<str>>> {
    let mut columns = Vec::new();
    if !cursor.word(word) {
        return Ok(columns);
    }
    let other = || format!("this form of {} BY", word.to_ascii_uppercase());
    if !cursor.word("by") {
        return Err(other().into());
    }
    loop {
        columns.push(cursor.ident().ok_or_else(other)?.fold());
        if word == "order" {
            let _either = cursor.word("asc") || cursor.word("desc");
        }
        if cursor.take_if(Token::Comma).is_none() {
            return Ok(columns);
        }
    }
}

fn per_partition(cursor: &mut Cursor<'_>) -> Read<Option<Operand>> {
    if !cursor.word("per") {
        return Ok(None);
    }
    let limit = if cursor.word("partition") {
        limit(cursor)?
    } else {
        None
    };
    let other = || "this form of PER PARTITION LIMIT".into();
    limit.map(Some).ok_or_else(other)
}

fn limit(cursor: &mut Cursor<'_>) -> Read<Option<Operand>> {
    if cursor.word("limit") {
        return value(cursor).map(Some);
    }
    Ok(None)
}

/// What may stand at the end and changes nothing here; the last two are ScyllaDB's.
fn end(cursor: &mut Cursor<'_>) -> Read<()> {
    let mut whole = !cursor.word("allow") || cursor.word("filtering");
    whole &= !cursor.word("bypass") || cursor.word("cache");
    if cursor.take_if(Token::Using).is_some() {
        whole &= cursor.word("timeout") && cursor.take_if(Token::Number).is_some();
    }
    while cursor.take_if(Token::Semicolon).is_some() {}
    if whole && cursor.kind() == Token::End {
        return Ok(());
    }
    Err(rest(cursor.peek()))
}

/// Names what follows where nothing more was expected.
fn rest(next: Lexeme<'_>) -> Box<str> {
    if next.kind == Token::Word && next.text.len() <= NAME_LEN_MAX {
        return format!("{} at this place", next.text.to_ascii_uppercase()).into();
    }
    "this form of SELECT".into()
}
