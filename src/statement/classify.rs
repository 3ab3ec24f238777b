//! The first look at a text: what kind of statement it is, and what all kinds have in common.

use super::lexer::{Cursor, Ident, Name, Token};
use super::repeatable::{Doubt, Effect};
use super::{Change, Class, Functions, Lookup, Repeatable, Stamp, Statement, Table, Why};
use super::{change, mutation, topology};

/// How many earlier tables or doubts a new one is compared with: keeps a batch's time linear.
const COMPARED_MAX: usize = 32;

/// The keyspaces of the servers' own, but for `system` and `system_traces`.
const SYSTEM: [&str; 10] = [
    "system_auth",
    "system_cluster_metadata",
    "system_distributed",
    "system_distributed_everywhere",
    "system_guardrails",
    "system_metrics",
    "system_replicated_keys",
    "system_schema",
    "system_views",
    "system_virtual_schema",
];

/// What the first pass collects; it borrows from the text, names are made only once at the end.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    tables: Vec<Name<'a>>,
    /// The table of the child that is being read.
    current: usize,
    doubts: Vec<(usize, Option<Ident<'a>>, Effect)>,
    equalities: Vec<Ident<'a>>,
    pub(super) settled: Repeatable,
    pub(super) timestamp: Stamp,
    pub(super) ttl: Stamp,
    pub(super) conditional: bool,
    pub(super) many: bool,
    place: Place,
}

/// What the words that are being read belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Batch,
    Mutation,
    Select,
}

/// The kinds of statement that the first words tell apart.
enum Form {
    Batch,
    Describe,
    Mutation,
    Schema(Change),
    Select,
    Transaction,
    Use(Box<str>),
}

/// What this text means in a session that uses this keyspace.
pub(super) fn classify(text: &str, keyspace: Option<&str>) -> Statement {
    let mut cursor = Cursor::new(text);
    let mut draft = Draft::new();
    let form = statement(&mut cursor, &mut draft).filter(|_| ends(&mut cursor));
    let Some(form) = form else {
        return unknown(cursor.markers());
    };
    draft.finish(form, &cursor, text, keyspace)
}

fn statement<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<Form> {
    match cursor.kind() {
        Token::Select => select(cursor, draft).map(|()| Form::Select),
        Token::Insert | Token::Update | Token::Delete => {
            mutation::mutation(cursor, draft).map(|()| Form::Mutation)
        }
        Token::Begin => batch(cursor, draft),
        Token::Use => {
            cursor.take();
            cursor.ident().map(|name| Form::Use(name.fold()))
        }
        _ => other(cursor, draft),
    }
}

fn other<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<Form> {
    let first = cursor.take();
    if ["describe", "desc", "list"]
        .iter()
        .any(|word| first.is(word))
    {
        cursor.skip_statement();
        return Some(Form::Describe);
    }
    let (change, table) = change::change(cursor, first)?;
    draft.tables.extend(table);
    Some(Form::Schema(change))
}

/// Whether nothing follows but semicolons.
fn ends(cursor: &mut Cursor<'_>) -> bool {
    while cursor.take_if(Token::Semicolon).is_some() {}
    cursor.kind() == Token::End && cursor.depth() == 0
}

fn select<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<()> {
    cursor.take();
    draft.place = Place::Select;
    while cursor.kind() != Token::From {
        if stops(cursor.kind()) {
            return None;
        }
        cursor.take();
    }
    cursor.take();
    let name = cursor.name()?;
    draft.table(name);
    conditions(cursor, draft);
    Some(())
}

/// Reads to the end of the statement; the columns that a WHERE compares with `=` are kept.
pub(super) fn conditions<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) {
    while !stops(cursor.kind()) {
        let taken = cursor.take();
        match taken.kind {
            Token::If => draft.conditional = true,
            Token::In => draft.many = true,
            Token::And | Token::Where if cursor.depth() == 0 => compared(cursor, draft),
            Token::Word if taken.is("group") && cursor.peek().is("by") => draft.many = true,
            _ => {}
        }
    }
}

fn compared<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) {
    let Some(column) = cursor.ident() else { return };
    if cursor.kind() == Token::Equals && draft.place == Place::Select {
        draft.equalities.push(column);
    }
}

fn batch<'a>(cursor: &mut Cursor<'a>, draft: &mut Draft<'a>) -> Option<Form> {
    cursor.take();
    draft.place = Place::Batch;
    if cursor.word("transaction") {
        // Whatever it does, one cluster decides it.
        while !matches!(cursor.kind(), Token::End | Token::Broken) {
            cursor.take();
        }
        return Some(Form::Transaction);
    }
    if cursor.word("counter") {
        draft.settle(Why::Counter);
    } else {
        let _logged = cursor.word("unlogged") || cursor.word("logged");
    }
    if !cursor.word("batch") {
        return None;
    }
    mutation::using(cursor, draft);
    let whole = (
        std::mem::take(&mut draft.timestamp),
        std::mem::take(&mut draft.ttl),
    );
    while cursor.take_if(Token::Apply).is_none() {
        mutation::mutation(cursor, draft)?;
        cursor.take_if(Token::Semicolon);
    }
    (draft.timestamp, draft.ttl) = (over(whole.0, &draft.timestamp), over(whole.1, &draft.ttl));
    cursor.word("batch").then_some(Form::Batch)
}

/// What a batch gives as a whole stands before what its children give.
fn over(whole: Stamp, children: &Stamp) -> Stamp {
    match (&whole, children) {
        (Stamp::None, Stamp::None) => Stamp::None,
        (Stamp::None, _) => Stamp::Various,
        _ => whole,
    }
}

/// The kinds that end a statement or a child of a batch: all are reserved words of CQL.
pub(super) const fn stops(kind: Token) -> bool {
    matches!(
        kind,
        Token::End
            | Token::Broken
            | Token::Semicolon
            | Token::Apply
            | Token::Begin
            | Token::Delete
            | Token::Insert
            | Token::Select
            | Token::Update
            | Token::Use
    )
}

fn unknown(markers: usize) -> Statement {
    Statement {
        class: Class::Unknown,
        table: None,
        tables: Box::default(),
        markers,
        needs_keyspace: true,
        per_server: false,
        functions: Functions::Native,
        single_partition: false,
        timestamp: Stamp::None,
        ttl: Stamp::None,
        lookup: Lookup::default(),
        settled: Repeatable::No(Why::Unknown),
        doubts: Box::default(),
    }
}

impl<'a> Draft<'a> {
    const fn new() -> Self {
        Self {
            tables: Vec::new(),
            current: 0,
            doubts: Vec::new(),
            equalities: Vec::new(),
            settled: Repeatable::Yes,
            timestamp: Stamp::None,
            ttl: Stamp::None,
            conditional: false,
            many: false,
            place: Place::Mutation,
        }
    }

    /// What follows is about this table.
    pub(super) fn table(&mut self, name: Name<'a>) {
        let mut near = self.tables.iter().enumerate().rev().take(COMPARED_MAX);
        let seen = near.find(|(_, seen)| **seen == name).map(|(at, _)| at);
        self.current = seen.unwrap_or(self.tables.len());
        if seen.is_none() {
            self.tables.push(name);
        }
    }

    /// The effect on this column (none: any of the table) depends on its type.
    pub(super) fn doubt(&mut self, column: Option<Ident<'a>>, effect: Effect) {
        let doubt = (self.current, column, effect);
        if !self
            .doubts
            .iter()
            .rev()
            .take(COMPARED_MAX)
            .any(|seen| *seen == doubt)
        {
            self.doubts.push(doubt);
        }
    }

    /// The text alone says that it cannot be repeated.
    pub(super) fn settle(&mut self, why: Why) {
        self.settled = self.settled.and(Repeatable::No(why));
    }

    fn finish(
        self,
        form: Form,
        cursor: &Cursor<'a>,
        text: &str,
        keyspace: Option<&str>,
    ) -> Statement {
        let calls = cursor.calls();
        let mut statement = unknown(cursor.markers());
        statement.needs_keyspace = self.tables.iter().any(|name| name.keyspace.is_none());
        statement.table = self.tables.first().map(Name::fold);
        if 1 < self.tables.len() {
            statement.tables = self.tables.iter().map(Name::fold).collect();
        }
        statement.timestamp = self.timestamp;
        statement.ttl = self.ttl;
        statement.settled = self.settled;
        let doubt = |(table, column, effect): (_, Option<Ident<'_>>, _)| Doubt {
            table,
            column: column.map(Ident::fold),
            effect,
        };
        statement.doubts = self.doubts.into_iter().map(doubt).collect();
        match form {
            Form::Batch | Form::Mutation => {
                statement.class = if self.conditional {
                    Class::Conditional
                } else {
                    Class::Write
                };
                statement.per_server = calls.per_server || calls.unknown;
                statement.functions = calls.functions;
                statement.single_partition =
                    self.place != Place::Batch && !self.many && !self.conditional;
            }
            Form::Select => {
                statement.lookup = Lookup {
                    equalities: self.equalities.into_iter().map(Ident::fold).collect(),
                    aggregate: calls.aggregate || calls.unknown,
                    many: self.many,
                };
                statement.single_partition = !self.many;
                statement.class = read(text, statement.table.as_ref(), keyspace);
            }
            Form::Describe => {
                statement.class = Class::Describe;
                statement.needs_keyspace = true;
            }
            Form::Schema(change) => {
                statement.needs_keyspace = change.needs_keyspace();
                statement.class = Class::Schema(change);
            }
            Form::Transaction => {
                statement.class = Class::Conditional;
                statement.needs_keyspace = true;
            }
            Form::Use(name) => {
                statement.class = Class::Use(name);
            }
        }
        statement
    }
}

impl Name<'_> {
    fn fold(&self) -> Table {
        Table {
            keyspace: self.keyspace.map(Ident::fold),
            name: self.name.fold(),
        }
    }
}

/// Which kind of read a SELECT from this table is.
fn read(text: &str, table: Option<&Table>, session: Option<&str>) -> Class {
    let keyspace = table
        .and_then(|table| table.keyspace_in(session))
        .unwrap_or_default();
    match keyspace {
        "system" => table
            .and_then(|table| topology::parse(text, &table.name))
            .map_or(Class::System, Class::Topology),
        "system_traces" => Class::Traces,
        _ if SYSTEM.contains(&keyspace) => Class::System,
        _ => Class::Read,
    }
}
