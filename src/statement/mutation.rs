//! INSERT, UPDATE and DELETE: what each does to its columns, as far as the text tells.

use super::classify::{Draft, conditions, stops};
use super::lexer::{Cursor, Ident, Token};
use super::repeatable::Effect;
use super::{Stamp, Why};

/// Reads one INSERT, UPDATE or DELETE, up to what [`stops`] it.
pub(super) fn mutation<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<()> {
    match cursor.take().kind {
        Token::Insert => insert(cursor, draft),
        Token::Update => update(cursor, draft),
        Token::Delete => delete(cursor, draft),
        _ => None,
    }
}

fn insert<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<()> {
    cursor.take_if(Token::Into)?;
    let name = cursor.name()?;
    draft.table(name);
    if cursor.word("json") {
        draft.doubt(None, Effect::Whole);
    } else {
        let columns = columns(cursor)?;
        if !cursor.word("values") {
            return None;
        }
        values(cursor, draft, &columns)?;
    }
    while !stops(cursor.kind()) {
        if cursor.kind() == Token::Using {
            using(cursor, draft);
        } else if cursor.take().kind == Token::If {
            draft.conditional = true;
        }
    }
    Some(())
}

fn columns<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<Ident<'a>>> {
    cursor.open()?;
    let mut columns = Vec::with_capacity(8);
    loop {
        columns.push(cursor.ident()?);
        if cursor.take_if(Token::Comma).is_none() {
            break;
        }
    }
    cursor.take_if(Token::Close)?;
    Some(columns)
}

fn values<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>, columns: &[Ident<'a>]) -> Option<()> {
    cursor.open()?;
    let mut columns = columns.iter();
    loop {
        let column = columns.next().copied();
        if term(cursor).whole {
            draft.doubt(Some(column?), Effect::Whole);
        }
        if cursor.take_if(Token::Comma).is_none() {
            break;
        }
    }
    cursor.take_if(Token::Close)?;
    Some(())
}

fn update<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<()> {
    let name = cursor.name()?;
    draft.table(name);
    using(cursor, draft);
    cursor.take_if(Token::Set)?;
    loop {
        assignment(cursor, draft)?;
        if cursor.take_if(Token::Comma).is_none() {
            break;
        }
    }
    conditions(cursor, draft);
    Some(())
}

fn assignment<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<()> {
    let column = cursor.ident()?;
    let part = part(cursor, draft, column)?;
    let adds = cursor.take_if(Token::Add).is_some();
    if !adds {
        cursor.take_if(Token::Equals)?;
    }
    let value = term(cursor);
    if adds || value.refers {
        added(draft, column, &value);
    } else if !part && value.whole {
        draft.doubt(Some(column), Effect::Whole);
    }
    Some(())
}

/// What is added tells the column's kind, where it is a literal.
fn added<'a>(draft: &mut Draft<'a>, column: Ident<'a>, value: &Term) {
    match value.literal {
        Some(Literal::List) => draft.settle(Why::List),
        Some(Literal::Number) => draft.settle(Why::Counter),
        Some(Literal::Braces) => {}
        None => draft.doubt(Some(column), Effect::Add),
    }
}

/// Reads `[…]` or `.field` after a column, if there is one.
fn part<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>, column: Ident<'a>) -> Option<bool> {
    if cursor.take_if(Token::Dot).is_some() {
        cursor.ident()?;
        return Some(true);
    }
    if cursor.kind() != Token::OpenList {
        return Some(false);
    }
    let outside = cursor.depth();
    cursor.take();
    let key = cursor.take();
    let alone = cursor.kind() == Token::CloseList;
    while outside < cursor.depth() {
        if stops(cursor.kind()) {
            return None;
        }
        cursor.take();
    }
    // Lists have numbers for index; another literal can only be the key of a map.
    if !(alone && matches!(key.kind, Token::Text | Token::Uuid)) {
        draft.doubt(Some(column), Effect::Element);
    }
    Some(true)
}

fn delete<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<()> {
    // The table, and with it what the columns are, comes only after them.
    let mut targets = cursor.clone();
    while cursor.kind() != Token::From {
        if stops(cursor.kind()) {
            return None;
        }
        cursor.take();
    }
    cursor.take();
    let name = cursor.name()?;
    draft.table(name);
    while targets.kind() != Token::From {
        let column = targets.ident()?;
        part(&mut targets, draft, column)?;
        if targets.take_if(Token::Comma).is_none() && targets.kind() != Token::From {
            return None;
        }
    }
    using(cursor, draft);
    conditions(cursor, draft);
    Some(())
}

/// Reads `USING TIMESTAMP … AND TTL …`, if it is there.
pub(super) fn using<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) {
    if cursor.take_if(Token::Using).is_none() {
        return;
    }
    loop {
        if cursor.word("timestamp") {
            draft.timestamp = stamp(cursor);
        } else if cursor.word("ttl") {
            draft.ttl = stamp(cursor);
        }
        let next = [Token::And, Token::If, Token::Set, Token::Where];
        while !stops(cursor.kind()) && !next.contains(&cursor.kind()) {
            cursor.take();
        }
        if cursor.take_if(Token::And).is_none() {
            return;
        }
    }
}

fn stamp(cursor: &mut Cursor<'_>) -> Stamp {
    let index = cursor.markers();
    let minus = cursor.take_if(Token::Minus).is_some();
    let value = cursor.peek();
    match value.kind {
        Token::Marker if !minus => Stamp::Marker(index),
        Token::Named if !minus => Stamp::Named(index, value.marker_name()),
        Token::Number => value.integer(minus).map_or(Stamp::Various, Stamp::Literal),
        _ => Stamp::Various,
    }
}

/// What a value looks like.
struct Term {
    /// It may be a list.
    whole: bool,
    /// It mentions a column: `x + 1`.
    refers: bool,
    /// The literal in it, if it has one outside all brackets.
    literal: Option<Literal>,
}

#[derive(Clone, Copy)]
enum Literal {
    Braces,
    List,
    Number,
}

/// Reads one value, up to a comma, a closing bracket, or the next clause.
fn term(cursor: &mut Cursor<'_>) -> Term {
    let outside = cursor.depth();
    cursor.take_if(Token::Minus);
    let first = cursor.peek();
    let whole = !first.is_constant() && first.kind != Token::OpenBrace;
    let mut term = Term {
        whole,
        refers: false,
        literal: None,
    };
    while !stops(cursor.kind()) {
        if cursor.depth() == outside {
            match cursor.kind() {
                Token::Comma | Token::Close | Token::CloseList | Token::CloseBrace => break,
                Token::If | Token::Using | Token::Where => break,
                Token::OpenList => term.literal = Some(Literal::List),
                Token::OpenBrace => term.literal = term.literal.or(Some(Literal::Braces)),
                Token::Number => term.literal = term.literal.or(Some(Literal::Number)),
                _ => {}
            }
        }
        let taken = cursor.take();
        let called = matches!(cursor.kind(), Token::Dot | Token::Open);
        let bare = cursor.depth() == outside && taken.ident().is_some() && !taken.is_constant();
        term.refers |= bare && !called;
    }
    term
}
