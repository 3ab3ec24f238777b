//! The bytes of a record, from what the client sent.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::dispatch::Client;
use crate::dispatch::known::Known;
use crate::dispatch::registry::Entry;
use crate::dispatch::request::{Batched, Request};
use crate::pair::Side;
use crate::replay::record::{self, Draft, Repeat};
use crate::statement::Statement;
use crate::wire::Cursor;
use crate::wire::cursor::Value;
use crate::wire::request::{Batch, Execute, Query, Values, batch};

pub(super) fn execute<C: Client>(
    draft: Draft<'_>,
    request: &Request<C>,
    entry: &Entry,
    out: &mut Vec<u8>,
) {
    let Ok(execute) = Execute::parse(Cursor::new(request.content()), request.version) else {
        return;
    };
    let values = execute.parameters.values.unwrap_or_default();
    let node = Side::ALL.into_iter().find_map(|side| entry.node(side));
    let key = node.as_ref().map_or(&[][..], |node| &node.key);
    let (known, keyspace) = (&entry.known, entry.template.keyspace.as_deref());
    let statements = [prepared(entry, values)];
    Draft {
        statements: &statements,
        serial: execute.parameters.serial.map(|serial| serial.0),
        partition: partition(&known.statement, key, values, &draft.id, known.repeat),
        repeat: known.repeat,
        table: table(&known.statement, keyspace),
        ..draft
    }
    .encode(out);
}

pub(super) fn query<C: Client>(
    draft: Draft<'_>,
    request: &Request<C>,
    known: &Known,
    out: &mut Vec<u8>,
) {
    let Ok(query) = Query::parse(Cursor::new(request.content()), request.version) else {
        return;
    };
    let values = query.parameters.values.unwrap_or_default();
    let statements = [text(query.text, request.keyspace(), values)];
    Draft {
        statements: &statements,
        serial: query.parameters.serial.map(|serial| serial.0),
        partition: partition(&known.statement, &[], values, &draft.id, known.repeat),
        repeat: known.repeat,
        table: table(&known.statement, request.keyspace()),
        ..draft
    }
    .encode(out);
}

pub(super) fn batch<C: Client>(
    draft: Draft<'_>,
    request: &Request<C>,
    batched: &Batched,
    out: &mut Vec<u8>,
) {
    let Ok(batch) = Batch::parse(Cursor::new(request.content()), request.version) else {
        return;
    };
    let statements: Vec<_> = batch
        .children()
        .zip(batched.entries.iter().zip(&batched.texts))
        .filter_map(|(child, known)| match known {
            (Some(entry), _) => Some(prepared(entry, child.values)),
            (None, Some(known)) => {
                let keyspace = request.keyspace.as_deref();
                let keyspace = keyspace.filter(|_| known.statement.needs_keyspace);
                Some(text(&known.text, keyspace, child.values))
            }
            (None, None) => None,
        })
        .collect();
    let kind = match batch.kind {
        batch::Kind::Logged => record::Batch::Logged,
        batch::Kind::Unlogged => record::Batch::Unlogged,
        batch::Kind::Counter => record::Batch::Counter,
    };
    Draft {
        statements: &statements,
        serial: batch.serial.map(|serial| serial.0),
        partition: u64::from_be_bytes(draft.id.last_chunk().copied().unwrap_or_default()),
        repeat: batched.repeat,
        batch: kind,
        ..draft
    }
    .encode(out);
}

fn text<'a>(text: &'a str, keyspace: Option<&'a str>, values: Values<'a>) -> record::Child<'a> {
    record::Child {
        text,
        keyspace,
        bind_types: 0,
        values: values.bytes,
        count: values.count,
        named: values.named,
    }
}

fn prepared<'a>(entry: &'a Entry, values: Values<'a>) -> record::Child<'a> {
    let node = Side::ALL.into_iter().find_map(|side| entry.node(side));
    let keyspace = entry.template.keyspace.as_deref();
    record::Child {
        bind_types: node.map_or(0, |node| node.variables),
        ..text(&entry.template.text, keyspace, values)
    }
}

fn table<'a>(statement: &'a Statement, keyspace: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let table = statement.table.as_ref()?;
    Some((table.keyspace_in(keyspace)?, &table.name))
}

/// Equal for equal partition keys. Where the key is not known, a write that may come in any order
/// (its timestamp decides) stands for itself, and any other for its whole table.
fn partition(
    statement: &Statement,
    key: &[u16],
    values: Values<'_>,
    id: &[u8; 16],
    repeat: Repeat,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    statement.table.hash(&mut hasher);
    for place in key {
        match values.at(usize::from(*place)) {
            Some(Value::Set(bytes)) => bytes.hash(&mut hasher),
            Some(Value::Null | Value::Unset) | None => {}
        }
    }
    if key.is_empty() && repeat == Repeat::Yes {
        id.hash(&mut hasher);
    }
    hasher.finish()
}
