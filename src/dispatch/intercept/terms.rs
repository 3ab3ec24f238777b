//! The WHERE and the limits of a SELECT: literals as bytes, markers with what is bound to them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use super::invalid;
use super::tables::{Column, Kind, Node, Table, inet};
use crate::dispatch::Error;
use crate::statement::topology::{Filter, Operand, Select, Test};
use crate::wire::cursor::Value;
use crate::wire::request::Values;
use crate::wire::{Cursor, Malformed, Version};

const LIMIT: &str = "[limit]";
const PER_PARTITION: &str = "[per_partition_limit]";

/// A bind marker as PREPARE describes it.
#[derive(Debug)]
pub(super) struct Marker<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) kind: Variable,
}

/// What may be bound to a marker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Variable {
    ListOf(Kind),
    One(Kind),
}

impl Variable {
    /// Its `[option]`.
    pub(super) fn option(self) -> Vec<u8> {
        match self {
            Self::ListOf(kind) => [&[0x00, 0x20], kind.option()].concat(),
            Self::One(kind) => kind.option().to_vec(),
        }
    }
}

/// All conditions of a SELECT.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    /// In the order of the text.
    pub(super) markers: Vec<Marker<'a>>,
    conditions: Vec<Condition>,
    /// Of a partition, and of all.
    limits: Vec<Term>,
}

/// What a column must be.
#[derive(Debug)]
struct Condition {
    column: &'static Column,
    is_key: bool,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    AnyOf(Vec<Term>),
    AnyOfList(usize),
    Equal(Term),
}

/// A value in the text, as bytes, or the marker at this place.
#[derive(Debug)]
enum Term {
    Bytes(Vec<u8>),
    Marker(usize),
}

impl<'a> Terms<'a> {
    /// Reads them for this table.
    pub(super) fn find(table: Table, select: &'a Select) -> Result<Self, Error> {
        let mut terms = Self {
            markers: Vec::new(),
            conditions: Vec::new(),
            limits: Vec::new(),
        };
        for filter in &select.filters {
            let condition = terms.condition(table, filter)?;
            terms.conditions.push(condition);
        }
        let limits = [
            (PER_PARTITION, &select.per_partition),
            (LIMIT, &select.limit),
        ];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                let term = terms.term(name, Kind::Int, limit)?;
                terms.limits.push(term);
            }
        }
        Ok(terms)
    }

    /// The place of the marker that the partition key must equal, if there is one.
    pub(super) fn key(&self) -> Option<u16> {
        self.conditions
            .iter()
            .filter(|condition| condition.is_key)
            .find_map(|condition| match condition.wanted {
                Wanted::Equal(Term::Marker(place)) => u16::try_from(place).ok(),
                Wanted::AnyOf(_) | Wanted::AnyOfList(_) | Wanted::Equal(Term::Bytes(_)) => None,
            })
    }

    /// Whether the node is among the rows that are asked for. All values are looked at, also when
    /// one condition is known not to hold: a bad one is refused.
    pub(super) fn hold(&self, node: &Node<'_>, bound: &Bound<'_>) -> Result<bool, Error> {
        let mut all = true;
        for condition in &self.conditions {
            all &= condition.holds(node, bound)?;
        }
        // A node looks at the whole's first.
        for limit in self.limits.iter().rev() {
            check_limit(limit, bound)?;
        }
        Ok(all)
    }

    fn condition(&mut self, table: Table, filter: &'a Filter) -> Result<Condition, Error> {
        let column = table.column(&filter.column)?;
        if column.kind.is_collection() {
            return Err(restricted(column, &filter.test));
        }
        let wanted = match &filter.test {
            Test::Equals(operand) => Wanted::Equal(self.term(column.name, column.kind, operand)?),
            Test::In(operands) => operands
                .iter()
                .map(|operand| self.term(column.name, column.kind, operand))
                .collect::<Result<_, _>>()
                .map(Wanted::AnyOf)?,
            Test::InBound(operand) => {
                let name = Cow::Owned(format!("in({})", column.name));
                let place = self
                    .marker(name, Variable::ListOf(column.kind), operand)
                    .ok_or_else(|| invalid("IN takes a list or a bind marker"))?;
                Wanted::AnyOfList(place)
            }
        };
        Ok(Condition {
            column,
            is_key: table.is_key(column),
            wanted,
        })
    }

    fn term(&mut self, of: &'static str, kind: Kind, operand: &'a Operand) -> Result<Term, Error> {
        match self.marker(Cow::Borrowed(of), Variable::One(kind), operand) {
            Some(place) => Ok(Term::Marker(place)),
            None => literal(of, kind, operand).map(Term::Bytes),
        }
    }

    /// Notes a marker and gives its place; none if the operand is a literal.
    fn marker(&mut self, of: Cow<'a, str>, kind: Variable, operand: &'a Operand) -> Option<usize> {
        let name = match operand {
            Operand::Marker(_) => of,
            Operand::Named(_, name) => Cow::Borrowed(&**name),
            Operand::Bool(_) | Operand::Int(_) | Operand::Text(_) | Operand::Uuid(_) => {
                return None;
            }
        };
        let place = self.markers.len();
        self.markers.push(Marker { name, kind });
        Some(place)
    }
}

impl Condition {
    fn holds(&self, node: &Node<'_>, bound: &Bound<'_>) -> Result<bool, Error> {
        let cell = self.column.cell(node);
        let is_cell = |bytes: &[u8]| -> Result<bool, Error> {
            if self.is_key && bytes.is_empty() {
                return Err(invalid("Key may not be empty"));
            }
            Ok(cell.as_deref() == Some(bytes))
        };
        let mut any = false;
        match &self.wanted {
            Wanted::Equal(term) => any = is_cell(self.bytes(term, bound)?)?,
            Wanted::AnyOf(terms) => {
                for term in terms {
                    any |= is_cell(self.bytes(term, bound)?)?;
                }
            }
            Wanted::AnyOfList(place) => {
                let mut list = Cursor::new(self.set(bound.at(*place))?);
                for _ in 0..list.i32().map_err(bad_list)? {
                    let element = match list.bytes().map_err(bad_list)? {
                        Some(bytes) => Value::Set(bytes),
                        None => Value::Null,
                    };
                    any |= is_cell(self.checked(element)?)?;
                }
                list.end().map_err(bad_list)?;
            }
        }
        Ok(any)
    }

    fn bytes<'b>(&self, term: &'b Term, bound: &Bound<'b>) -> Result<&'b [u8], Error> {
        match term {
            Term::Bytes(bytes) => Ok(bytes),
            Term::Marker(place) => self.checked(bound.at(*place)),
        }
    }

    fn checked<'b>(&self, value: Value<'b>) -> Result<&'b [u8], Error> {
        let bytes = self.set(value)?;
        check(self.column.kind, bytes).map(|()| bytes)
    }

    fn set<'b>(&self, value: Value<'b>) -> Result<&'b [u8], Error> {
        let column = self.column.name;
        match value {
            Value::Set(bytes) => Ok(bytes),
            Value::Null => Err(invalid(format!(
                "Invalid null value in condition for column {column}"
            ))),
            Value::Unset => Err(invalid(format!("Invalid unset value for column {column}"))),
        }
    }
}

/// One node is never above a limit, which must only be a number above zero.
fn check_limit(limit: &Term, bound: &Bound<'_>) -> Result<(), Error> {
    let value = match limit {
        Term::Bytes(bytes) => Value::Set(bytes),
        Term::Marker(place) => bound.at(*place),
    };
    match value {
        Value::Null => Err(invalid("Invalid null value of limit")),
        Value::Unset => Ok(()),
        Value::Set(bytes) => match bytes.try_into().map(i32::from_be_bytes) {
            Ok(1..) => Ok(()),
            Ok(_) => Err(invalid("LIMIT must be strictly positive")),
            Err(_) => Err(invalid("Invalid limit value")),
        },
    }
}

/// What is bound to the markers, in their order.
#[derive(Debug)]
pub(super) struct Bound<'a>(Vec<Value<'a>>);

impl<'a> Bound<'a> {
    /// One value for each marker. Version 3 knows null alone, not unset.
    pub(super) fn new(
        values: Option<Values<'a>>,
        version: Version,
        markers: &[Marker<'_>],
    ) -> Result<Self, Error> {
        let values = values.unwrap_or_default();
        let mut cursor = Cursor::new(values.bytes);
        let mut given = Vec::with_capacity(usize::from(values.count));
        for _ in 0..values.count {
            let name = if values.named {
                cursor.short_bytes()?
            } else {
                &[]
            };
            given.push((name, in_version(version, cursor.value()?)));
        }
        let bound = if values.named {
            by_name(given, markers)
        } else {
            given.into_iter().map(|(_, value)| value).collect()
        };
        if bound.len() != markers.len() {
            return Err(invalid(format!(
                "there were {} markers(?) in CQL but {} bound variables",
                markers.len(),
                bound.len()
            )));
        }
        Ok(Self(bound))
    }

    fn at(&self, place: usize) -> Value<'a> {
        self.0.get(place).copied().unwrap_or(Value::Null)
    }
}

const fn in_version(version: Version, value: Value<'_>) -> Value<'_> {
    match (version, value) {
        (Version::V3, Value::Unset) => Value::Null,
        (Version::V3 | Version::V4 | Version::V5, value) => value,
    }
}

/// The values of these markers. Where a name is given twice the first counts, as in the server; one
/// that no marker has is passed over.
fn by_name<'a>(given: Vec<(&'a [u8], Value<'a>)>, markers: &[Marker<'_>]) -> Vec<Value<'a>> {
    let mut values = HashMap::with_capacity(given.len());
    for (name, value) in given {
        values.entry(name).or_insert(value);
    }
    markers
        .iter()
        .filter_map(|marker| values.get(marker.name.as_bytes()).copied())
        .collect()
}

/// A literal as the bytes of this type.
fn literal(of: &str, kind: Kind, operand: &Operand) -> Result<Vec<u8>, Error> {
    let wrong = |constant, shown: String| {
        let kind = kind.name();
        invalid(format!(
            "Invalid {constant} constant ({shown}) for \"{of}\" of type {kind}"
        ))
    };
    match (operand, kind) {
        (Operand::Text(text), Kind::Text) => Ok(text.as_bytes().to_vec()),
        (Operand::Text(text), Kind::Inet) => text
            .parse::<IpAddr>()
            .map(inet)
            .map_err(|_fault| invalid(format!("Unable to make inet address from '{text}'"))),
        (Operand::Int(number), Kind::Int) => i32::try_from(*number)
            .map(|number| number.to_be_bytes().to_vec())
            .map_err(|_fault| invalid(format!("Unable to make int from '{number}'"))),
        (Operand::Uuid(uuid), Kind::Uuid) => Ok(uuid.as_bytes().to_vec()),
        (Operand::Text(text), _) => Err(wrong("STRING", text.to_string())),
        (Operand::Int(number), _) => Err(wrong("INTEGER", number.to_string())),
        (Operand::Uuid(uuid), _) => Err(wrong("UUID", uuid.to_string())),
        (Operand::Bool(it), _) => Err(wrong("BOOLEAN", it.to_string())),
        (Operand::Marker(_) | Operand::Named(..), _) => Err(invalid("not a literal")),
    }
}

/// Whether these bytes can be of this type; no bytes at all can be of any.
fn check(kind: Kind, bytes: &[u8]) -> Result<(), Error> {
    let length = bytes.len();
    match (kind, length) {
        (Kind::Text, _) => match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(_) => Err(invalid("String didn't validate.")),
        },
        (Kind::Inet, 0 | 4 | 16) | (Kind::Int, 0 | 4) | (Kind::Uuid, 0 | 16) => Ok(()),
        (Kind::Inet, _) => Err(invalid("Expected 4 or 16 byte inetaddress")),
        (Kind::Int, _) => Err(invalid(format!("Expected 4 or 0 byte int ({length})"))),
        (Kind::Uuid, _) => Err(invalid(format!("UUID should be 16 or 0 bytes ({length})"))),
        // No marker has these.
        (Kind::BigInt | Kind::BlobByUuid | Kind::TextSet, _) => Ok(()),
    }
}

fn restricted(column: &Column, test: &Test) -> Error {
    let (name, kind) = (column.name, column.kind.name());
    let relation = match test {
        Test::Equals(_) => "=",
        Test::In(_) | Test::InBound(_) => "IN",
    };
    invalid(format!(
        "Collection column '{name}' ({kind}) cannot be restricted by a '{relation}' relation"
    ))
}

fn bad_list(_fault: Malformed) -> Error {
    invalid("Not enough bytes to read a list")
}
