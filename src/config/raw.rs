//! YAML as a tree that keeps the line and column of every key and value.
//!
//! Nothing is judged here: duplicate keys stay in, types stay what they look like. What can be
//! used to exhaust memory (aliases, depth, sheer size) is bounded before anything is built.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Spanned};

use super::fault::{Fault, Place};

/// The most bytes of a file; a full one has about 20,000.
pub(super) const BYTES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 16;
const NODES_MAX: usize = 20_000;
const ALIASES_MAX: usize = 100;

/// One value and where it stands. Without `Debug`: a value may be a secret.
pub(super) struct Node {
    /// Where it stands.
    pub(super) place: Option<Place>,
    /// What it is.
    pub(super) value: Value,
}

/// What a value looks like.
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`; YAML 1.1's `yes` and `off` are text.
    Bool(bool),
    /// A whole number.
    Whole(i128),
    /// A number with a fraction or exponent; no key takes one.
    Fraction,
    /// Anything else, quoted or not.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) place: Option<Place>,
    /// Its value.
    pub(super) node: Node,
}

/// The tree of one file. An empty file is an empty mapping.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    if BYTES_MAX < text.len() {
        return Err(Fault::of_file(
            None,
            format!("the file is larger than {BYTES_MAX} bytes"),
        ));
    }
    serde_yaml::from_str_with_options::<Spanned<Value>>(text, options())
        .map(root)
        .map_err(|error| {
            let error = error.without_snippet();
            let place = error.location().and_then(place);
            Fault::of_file(place, format!("not valid YAML: {}", sentence(error)))
        })
}

/// A file without a value still has a beginning.
fn root(spanned: Spanned<Value>) -> Node {
    let node = Node::from(spanned);
    Node {
        place: node.place.or(Some(Place { line: 1, column: 1 })),
        ..node
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_depth: DEPTH_MAX,
            max_documents: 1,
            max_nodes: NODES_MAX,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_replay_stack_depth: 4,
            max_total_replayed_events: NODES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        leading_zero_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// The parser's own sentence in one line; its location is told separately.
fn sentence(error: &serde_yaml::Error) -> String {
    let text = error.render();
    let text = text.lines().next().unwrap_or_default();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end)
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

fn place(location: Location) -> Option<Place> {
    let place = Place {
        line: location.line(),
        column: location.column(),
    };
    (0 < place.line).then_some(place)
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            place: place(spanned.referenced),
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        {
            let value = i128::try_from(value).ok();
            value
                .map(Value::Whole)
                .ok_or_else(|| E::custom("a number out of range"))
        }
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element::<Spanned<Value>>()? {
            nodes.push(node.into());
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = items.next_key::<Spanned<Value>>()? {
            let place = place(key.referenced);
            let node = items.next_value::<Spanned<Value>>()?.into();
            entries.push(Entry {
                key: name(key.value).map_err(A::Error::custom)?,
                place,
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}

/// A key as text, however it was written.
fn name(key: Value) -> Result<String, &'static str> {
    match key {
        Value::Text(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Whole(value) => Ok(value.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Fraction | Value::List(_) | Value::Map(_) => Err("a key must be a word"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Entry> {
        match parse(text).map(|node| node.value) {
            Ok(Value::Map(entries)) => entries,
            Ok(_) => panic!("no mapping"),
            Err(fault) => panic!("{fault}"),
        }
    }

    fn at(place: Option<Place>) -> (u64, u64) {
        place
            .map(|place| (place.line, place.column))
            .unwrap_or_default()
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let found = entries("a: 1\nb:\n  - x\n  - { c: off }\na: true\n");
        let places: Vec<_> = found
            .iter()
            .map(|entry| (at(entry.place), at(entry.node.place)))
            .collect();
        assert_eq!(
            places,
            [((1, 1), (1, 4)), ((2, 1), (3, 3)), ((5, 1), (5, 4))]
        );
        let Value::List(items) = &found[1].node.value else {
            panic!("no list")
        };
        assert_eq!(at(items[0].place), (3, 5));
        let Value::Map(inner) = &items[1].value else {
            panic!("no mapping")
        };
        assert_eq!(
            (at(inner[0].place), at(inner[0].node.place)),
            ((4, 7), (4, 10))
        );
        assert!(matches!(&inner[0].node.value, Value::Text(text) if text == "off"));
    }

    #[test]
    fn syntax_errors_have_a_line() {
        for (text, line) in [
            ("a: 1\nb: [1\nc: 2\n", 3),
            ("a: 1\n  b: 2\n", 2),
            ("a: *x\n", 1),
        ] {
            let fault = parse(text).err().expect("a fault");
            assert_eq!(at(fault.place).0, line, "{fault}");
            assert!(!fault.to_string().contains('\n'), "{fault}");
        }
    }

    #[test]
    fn an_alias_stands_for_its_anchor() {
        let found = entries("a: &x 5s\nb: *x\n");
        assert!(matches!(&found[1].node.value, Value::Text(text) if text == "5s"));
        assert_eq!(at(found[1].node.place), (2, 4));
    }

    #[test]
    fn what_would_exhaust_memory_is_refused() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let last = format!("*a{}", n - 1);
            laughs += &format!("a{n}: &a{n} [{}]\n", vec![last; 10].join(", "));
        }
        assert!(parse(&laughs).is_err());
        assert!(parse(&"[".repeat(10_000)).is_err());
        assert!(parse(&"- x\n".repeat(NODES_MAX)).is_err());
        assert!(parse(&"# x\n".repeat(BYTES_MAX)).is_err());
    }
}
