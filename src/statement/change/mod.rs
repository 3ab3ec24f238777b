//! Statements that change the schema or the roles: what they change.

#[cfg(test)]
mod tests;

use super::lexer::{Cursor, Ident, Lexeme, Name, Token};

/// A change of the schema or the roles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// What is done.
    pub verb: Verb,
    /// To what kind of thing.
    pub object: Object,
    /// Its keyspace, if the text names one; for a keyspace, that one.
    pub keyspace: Option<Box<str>>,
    /// Its name, if it has one and it is no keyspace.
    pub name: Option<Box<str>>,
    /// Whether it says IF EXISTS or IF NOT EXISTS, so that it may run twice.
    pub if_exists: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the words of CQL")]
pub enum Verb {
    Alter,
    Create,
    Drop,
    Grant,
    Revoke,
    Truncate,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Object {
    /// A user-defined aggregate.
    Aggregate,
    /// A user-defined function.
    Function,
    /// An index of any kind.
    Index,
    /// A keyspace.
    Keyspace,
    /// Something that we have no name for, which some server may know.
    Other,
    /// What a role may do; also membership in another role.
    Permission,
    /// A role or a user: its text may hold a password.
    Role,
    /// A table.
    Table,
    /// A trigger.
    Trigger,
    /// A user-defined type.
    Type,
    /// A materialized view.
    View,
}

impl Change {
    /// Whether the keyspace of the session changes what it means.
    #[must_use]
    pub const fn needs_keyspace(&self) -> bool {
        !matches!(self.object, Object::Keyspace | Object::Role) && self.keyspace.is_none()
    }

    /// Whether the text may hold a password, and so must never be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.object, Object::Other | Object::Role)
    }
}

/// The change that starts with this word, and the table that it is about. Reads to the end of the
/// statement.
pub(super) fn change<'a>(
    cursor: &mut Cursor<'a>,
    first: Lexeme<'a>,
) -> Option<(Change, Option<Name<'a>>)> {
    let verb = verb(first)?;
    let mut target = match verb {
        Verb::Truncate => {
            let _table = cursor.word("table") || cursor.word("columnfamily");
            Target {
                object: Object::Table,
                name: Some(cursor.name()?),
                table: None,
                soft: false,
            }
        }
        Verb::Grant | Verb::Revoke => Target::of(Object::Permission),
        Verb::Alter | Verb::Create | Verb::Drop => named(cursor),
    };
    if target.object == Object::Table {
        target.table = target.name;
    }
    while !matches!(cursor.kind(), Token::End | Token::Broken | Token::Semicolon) {
        let taken = cursor.take();
        target.soft |= verb == Verb::Alter && taken.kind == Token::If;
    }
    Some((target.change(verb), target.table))
}

fn verb(first: Lexeme<'_>) -> Option<Verb> {
    let verbs = [
        ("alter", Verb::Alter),
        ("create", Verb::Create),
        ("drop", Verb::Drop),
        ("grant", Verb::Grant),
        ("revoke", Verb::Revoke),
        ("truncate", Verb::Truncate),
    ];
    verbs
        .iter()
        .find(|(word, _)| first.is(word))
        .map(|(_, verb)| *verb)
}

/// What is changed, as read.
struct Target<'a> {
    object: Object,
    name: Option<Name<'a>>,
    /// The table that it belongs to.
    table: Option<Name<'a>>,
    soft: bool,
}

impl Target<'_> {
    const fn of(object: Object) -> Self {
        Self {
            object,
            name: None,
            table: None,
            soft: false,
        }
    }

    fn change(&self, verb: Verb) -> Change {
        let (mut keyspace, mut name) = (None, None);
        if let Some(named) = self.name {
            keyspace = named.keyspace.map(Ident::fold);
            name = Some(named.name.fold());
        }
        if self.object == Object::Keyspace {
            (keyspace, name) = (name, None);
        } else if keyspace.is_none() {
            keyspace = self.table.and_then(|table| table.keyspace).map(Ident::fold);
        }
        Change {
            verb,
            object: self.object,
            keyspace,
            name,
            if_exists: self.soft,
        }
    }
}

fn named<'a>(cursor: &mut Cursor<'a>) -> Target<'a> {
    let _replaces = cursor.word("or") && cursor.word("replace");
    let mut target = Target::of(object(cursor));
    if cursor.take_if(Token::If).is_some() {
        let _negated = cursor.word("not");
        target.soft = cursor.word("exists");
    }
    match target.object {
        Object::Aggregate | Object::Function | Object::Table | Object::Type | Object::View => {
            target.name = cursor.name();
        }
        Object::Keyspace | Object::Role => {
            target.name = cursor.ident().map(|name| Name {
                keyspace: None,
                name,
            });
        }
        Object::Index | Object::Trigger => {
            if !cursor.peek().is("on") {
                target.name = cursor.name();
            }
            if cursor.word("on") {
                target.table = cursor.name();
            }
        }
        Object::Other | Object::Permission => {}
    }
    target
}

fn object(cursor: &mut Cursor<'_>) -> Object {
    let objects: [(&str, Object); 14] = [
        ("table", Object::Table),
        ("columnfamily", Object::Table),
        ("keyspace", Object::Keyspace),
        ("schema", Object::Keyspace),
        ("type", Object::Type),
        ("index", Object::Index),
        ("custom", Object::Index),
        ("materialized", Object::View),
        ("function", Object::Function),
        ("aggregate", Object::Aggregate),
        ("trigger", Object::Trigger),
        ("role", Object::Role),
        ("user", Object::Role),
        ("identity", Object::Other),
    ];
    let word = cursor.take();
    let object = objects
        .iter()
        .find(|(name, _)| word.is(name))
        .map_or(Object::Other, |it| it.1);
    let _second =
        word.is("custom") && cursor.word("index") || word.is("materialized") && cursor.word("view");
    object
}
