//! Takes values out of the tree by dotted key, and notes every fault on the way.
//!
//! A getter answers the default where the key is absent, and also where it is wrong: the fault
//! is noted, reading goes on, and whoever reads throws the result away if there was any fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::{Fault, Place, did_you_mean};
use super::keys::{self, Known, State};
use super::raw::{Entry, Node, Value};
use super::redact::{plain, shown};
use super::value;

/// What a word of a closed set stands for; `None` for one that is not supported yet.
pub(super) type Choices<'a, T> = &'a [(&'a str, Option<T>)];

const NOT_YET: &str = "not supported yet";

/// The values of one file that nobody took yet.
pub(super) struct Reader {
    values: BTreeMap<String, Node>,
    /// Every key and section that is there, and where, if it has a place.
    places: BTreeMap<String, Option<Place>>,
    faults: Vec<Fault>,
    /// Every key that was asked for: a test compares them to the table.
    pub(super) asked: BTreeSet<String>,
}

impl Reader {
    /// The values of this tree. Unknown, duplicate and unsupported keys are noted at once.
    pub(super) fn new(root: Node) -> Self {
        let mut reader = Self {
            values: BTreeMap::new(),
            places: BTreeMap::from([(String::new(), root.place)]),
            faults: Vec::new(),
            asked: BTreeSet::new(),
        };
        reader.section("", root);
        reader
    }

    /// What was noted.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Notes a fault at the place of this key, or of the section that it is missing from.
    pub(super) fn fault(&mut self, key: &str, text: impl Into<String>) {
        let place = self.place(key);
        self.faults.push(Fault {
            file: String::new(),
            place,
            key: plain(key),
            text: text.into(),
        });
    }

    /// Whether the file has this section or key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Whether nothing was noted about this key or what is in it.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        !self.faults.iter().any(|fault| fault.key.starts_with(key))
    }

    /// Where this key stands, or else the section that it is missing from.
    fn place(&self, key: &str) -> Option<Place> {
        let mut path = key;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            path = path.rsplit_once('.').map_or("", |(section, _)| section);
        }
    }

    fn section(&mut self, path: &str, node: Node) {
        let entries = match node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            other => {
                return self.fault(path, format!("expected a mapping, found {}", kind(&other)));
            }
        };
        let mut seen: BTreeMap<String, Option<Place>> = BTreeMap::new();
        for entry in entries {
            let first = seen.get(&entry.key).copied();
            if let Some(first) = first {
                self.twice(path, &entry, first);
            } else {
                seen.insert(entry.key.clone(), entry.place);
                self.entry(path, entry);
            }
        }
    }

    fn twice(&mut self, path: &str, entry: &Entry, first: Option<Place>) {
        let line = first.map(|place| format!(" (first in line {})", place.line));
        let text = format!("the key stands here twice{}", line.unwrap_or_default());
        let key = plain(&join(path, &entry.key));
        self.faults.push(Fault {
            file: String::new(),
            place: entry.place,
            key,
            text,
        });
    }

    fn entry(
        &mut self,
        path: &str,
        Entry {
            key: word,
            place,
            node,
        }: Entry,
    ) {
        let key = join(path, &word);
        let known = if word.contains('.') {
            None
        } else {
            keys::known(&key)
        };
        self.places.insert(key.clone(), place);
        match known {
            Some(Known::Key(State::Built)) => {
                self.values.insert(key, node);
            }
            Some(Known::Key(State::Later)) => self.fault(&key, NOT_YET),
            Some(Known::Section) => self.section(&key, node),
            None => {
                let hint = did_you_mean(&word, keys::words(path));
                self.fault(&key, format!("unknown key{hint}"));
            }
        }
    }

    /// The value of this key through `parse`, whose error is the sentence of the fault.
    fn take<T>(&mut self, key: &str, parse: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let node = self.take_node(key)?;
        match parse(&node.value) {
            Ok(value) => Some(value),
            Err(text) => {
                self.fault(key, text);
                None
            }
        }
    }

    fn take_node(&mut self, key: &str) -> Option<Node> {
        self.asked.insert(key.to_owned());
        let node = self.values.remove(key)?;
        if matches!(node.value, Value::Null) {
            self.fault(
                key,
                "the value is missing; leave the key out for its default",
            );
            return None;
        }
        self.places.insert(key.to_owned(), node.place);
        Some(node)
    }

    /// A list as (its items' keys, their text); each item that is not text is a fault.
    pub(super) fn list(&mut self, key: &str) -> Option<Vec<(String, String)>> {
        let node = self.take_node(key)?;
        let Value::List(nodes) = node.value else {
            self.fault(key, format!("expected a list, found {}", kind(&node.value)));
            return None;
        };
        let mut items = Vec::new();
        for (at, Node { place, value }) in nodes.into_iter().enumerate() {
            let key = format!("{key}[{at}]");
            self.places.insert(key.clone(), place);
            match words(&value) {
                Ok(text) => items.push((key, text)),
                Err(text) => self.fault(&key, text),
            }
        }
        Some(items)
    }

    /// A list of which only the empty one is supported yet.
    pub(super) fn empty_list(&mut self, key: &str) {
        self.take(key, |value| match value {
            Value::List(items) if items.is_empty() => Ok(()),
            Value::List(_) => Err(NOT_YET.to_owned()),
            other => Err(format!("expected a list, found {}", kind(other))),
        });
    }

    /// Text that `parse` understands; its error is the sentence, the value is put behind it.
    pub(super) fn text<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.take(key, |value| {
            let text = words(value)?;
            parse(&text).map_err(|error| format!("{error}; found {}", shown(key, &text)))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let parse = |value: &Value| match value {
            Value::Bool(value) => Ok(*value),
            other => Err(format!(
                "expected true or false, found {}",
                found(key, other)
            )),
        };
        self.take(key, parse).unwrap_or(default)
    }

    /// A whole number within this range.
    pub(super) fn number<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + Display + TryFrom<i128> + PartialOrd,
    {
        let parse = |value: &Value| {
            let number = whole(value)
                .ok_or_else(|| format!("expected a whole number, found {}", found(key, value)))?;
            let fits = T::try_from(number)
                .ok()
                .filter(|number| range.contains(number));
            let (least, most) = (range.start(), range.end());
            fits.ok_or_else(|| format!("must be from {least} to {most}, found {number}"))
        };
        self.take(key, parse).unwrap_or(default)
    }

    /// A whole number from one up to this bound.
    pub(super) fn count(&mut self, key: &str, default: NonZeroUsize, most: usize) -> NonZeroUsize {
        NonZeroUsize::new(self.number(key, default.get(), 1..=most)).unwrap_or(default)
    }

    /// A whole number from one up to this bound.
    pub(super) fn count_u32(&mut self, key: &str, default: NonZeroU32, most: u32) -> NonZeroU32 {
        NonZeroU32::new(self.number(key, default.get(), 1..=most)).unwrap_or(default)
    }

    /// A duration within this range.
    pub(super) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let show = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let parse = |value: &Value| {
            let text = scalar(value)?;
            let duration = value::duration(&text)
                .map_err(|error| format!("{error}; found {}", shown(key, &text)))?;
            let (least, most) = (show(range.start()), show(range.end()));
            let fits = range.contains(&duration).then_some(duration);
            fits.ok_or_else(|| format!("must be from {least} to {most}, found {}", show(&duration)))
        };
        self.take(key, parse).unwrap_or(default)
    }

    /// A size in bytes within this range, shown by the unit of its bounds.
    pub(super) fn size(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let parse = |value: &Value| {
            let text = scalar(value)?;
            let size = value::size(&text)
                .map_err(|error| format!("{error}; found {}", shown(key, &text)))?;
            let (least, most) = (
                value::show_size(*range.start()),
                value::show_size(*range.end()),
            );
            let fits = range.contains(&size).then_some(size);
            fits.ok_or_else(|| format!("must be from {least} to {most}, found {}", plain(&text)))
        };
        self.take(key, parse).unwrap_or(default)
    }

    /// An address to listen on.
    pub(super) fn listen(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        self.text(key, value::listen).unwrap_or(default)
    }

    /// One word of a closed set.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, default: T, choices: Choices<'_, T>) -> T {
        let parse = |value: &Value| {
            let text = scalar(value)?;
            match choices.iter().find(|(word, _)| *word == text) {
                Some((_, Some(choice))) => Ok(*choice),
                Some((word, None)) => Err(format!("\"{word}\" is {NOT_YET}")),
                None => {
                    let built: Vec<_> = choices
                        .iter()
                        .filter(|choice| choice.1.is_some())
                        .map(|c| c.0)
                        .collect();
                    let hint = did_you_mean(&text, choices.iter().map(|choice| choice.0));
                    let (one_of, text) = (built.join(" or "), shown(key, &text));
                    Err(format!("expected {one_of}, found {text}{hint}"))
                }
            }
        };
        self.take(key, parse).unwrap_or(default)
    }
}

fn join(section: &str, word: &str) -> String {
    if section.is_empty() {
        word.to_owned()
    } else {
        format!("{section}.{word}")
    }
}

/// The value as text, only if it was written as text.
fn words(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Whole(_) | Value::Fraction => Err(format!(
            "expected text, found {}; put it in quotes",
            kind(value)
        )),
        Value::Null | Value::List(_) | Value::Map(_) => {
            Err(format!("expected text, found {}", kind(value)))
        }
    }
}

/// The value as text, whatever it looks like, if it is one value.
fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Whole(value) => Ok(value.to_string()),
        Value::Null | Value::Fraction | Value::List(_) | Value::Map(_) => {
            Err(format!("expected one word, found {}", kind(value)))
        }
    }
}

/// A whole number, also as `20_000`.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Whole(value) => Some(*value),
        Value::Text(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            text.replace('_', "").parse().ok()
        }
        Value::Null
        | Value::Bool(_)
        | Value::Fraction
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => None,
    }
}

fn found(key: &str, value: &Value) -> String {
    scalar(value).map_or_else(|_| kind(value).to_owned(), |text| shown(key, &text))
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Whole(_) => "a number",
        Value::Fraction => "a number with a fraction",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}
