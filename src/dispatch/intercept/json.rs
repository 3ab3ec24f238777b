//! A row of SELECT JSON, written as a node writes it.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use uuid::Uuid;

use super::tables::{Cell, Kind};
use crate::wire::Cursor;

/// The row as one object, its columns in this order.
pub(super) fn row<'a>(cells: impl Iterator<Item = (&'a str, Kind, Cell)>) -> String {
    let member = |(name, kind, cell): (&str, Kind, Cell)| {
        let value = cell.map_or(Value::Null, |bytes| value(kind, &bytes));
        format!("{}: {value}", key(name))
    };
    let members: Vec<_> = cells.map(member).collect();
    format!("{{{}}}", members.join(", "))
}

/// A name with capitals stands in quotes of its own: it could not be read back otherwise.
fn key(name: &str) -> Value {
    if name.to_lowercase() == name {
        return name.into();
    }
    format!("\"{name}\"").into()
}

/// The value as a node shows it; null if it cannot be of this type.
fn value(kind: Kind, bytes: &[u8]) -> Value {
    let value = match kind {
        Kind::BigInt => bytes
            .try_into()
            .ok()
            .map(i64::from_be_bytes)
            .map(Value::from),
        Kind::Inet => address(bytes).map(Value::from),
        Kind::Int => bytes
            .try_into()
            .ok()
            .map(i32::from_be_bytes)
            .map(Value::from),
        Kind::Text => text(bytes),
        Kind::TextSet => set(Cursor::new(bytes)),
        Kind::Uuid => Uuid::from_slice(bytes).ok().map(|it| it.to_string().into()),
        // The node has none of these.
        Kind::BlobByUuid => None,
    };
    value.unwrap_or_default()
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

/// One of version 6 is not shortened: Java writes all its eight groups.
fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    let groups = Ipv6Addr::from(sixteen).segments();
    Some(groups.map(|group| format!("{group:x}")).join(":"))
}

fn set(mut cursor: Cursor<'_>) -> Option<Value> {
    let count = cursor.i32().ok()?;
    let members = (0..count).map(|_| text(cursor.bytes().ok()??));
    members.collect::<Option<Vec<_>>>().map(Value::from)
}
