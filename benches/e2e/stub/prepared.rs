//! Prepared statements: the id itself says what an EXECUTE answers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::rows::Type;
use crate::wire::{Body, kind};

/// What executing a text answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Large,
    Row,
    System,
    Void,
}

impl Kind {
    /// Of a text in lower case.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim_start();
        if !text.starts_with("select") {
            Self::Void
        } else if text.contains("from system") {
            Self::System
        } else if text.contains("from bench.large") {
            Self::Large
        } else {
            Self::Row
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Row => 1,
            Self::System => 2,
            Self::Void => 3,
            Self::Large => 4,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::Row, Self::System, Self::Void, Self::Large]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// The texts behind the ids that need one; the hot ones need none, so a stub that comes back
/// after a kill still knows them.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    system: HashMap<Vec<u8>, String>,
}

impl Prepared {
    pub(super) fn text(&self, id: &[u8]) -> Option<&str> {
        self.system.get(id).map(String::as_str)
    }

    /// The body of PREPARED for a text whose answers have `columns`.
    pub(super) fn answer(&mut self, text: &str, version: u8, columns: &Body) -> Body {
        let lower = text.to_lowercase();
        let id = id(Kind::of(&lower), text);
        let (variables, keys) = variables(&lower);
        if Kind::of(&lower) == Kind::System {
            self.system.insert(id.clone(), lower);
        }
        let mut body = Body::default().int(kind::PREPARED).short_bytes(&id);
        if version == 5 {
            // Of the columns: they depend on the text alone.
            body = body.short_bytes(&id);
        }
        body = body.int(1).count(variables.len());
        if 4 <= version {
            body = body.count(keys.len());
            for key in keys {
                body = body.short(key);
            }
        }
        body = body.string("bench").string("t");
        for (name, kind) in variables {
            body = kind.put(body.string(&name));
        }
        body.0.extend_from_slice(&columns.0);
        body
    }
}

/// 16 bytes: the kind, then a hash of the text.
fn id(kind: Kind, text: &str) -> Vec<u8> {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, text).hash(&mut hasher);
        hasher.finish().to_be_bytes()
    };
    let mut id = [half(0), half(1)].concat();
    id[0] = kind.code();
    id
}

/// The bind variables of a text, and which of them are the partition key.
fn variables(text: &str) -> (Vec<(String, Type)>, Vec<usize>) {
    let k = || ("k".to_owned(), Type::Text);
    let v = || ("v".to_owned(), Type::Blob);
    let plain: String = text.split_whitespace().collect();
    let plain = plain.replace("bench.large", "bench.t");
    if plain.starts_with("insertintobench.t(k,v)values(?,?)") {
        (vec![k(), v()], vec![0])
    } else if plain.starts_with("selectvfrombench.twherek=?") {
        (vec![k()], vec![0])
    } else {
        // A quoted question mark is no marker.
        let markers = text
            .split('\'')
            .step_by(2)
            .map(|part| part.matches('?').count())
            .sum();
        let kind = if text.contains("system") {
            Type::Text
        } else {
            Type::Blob
        };
        (
            (0..markers).map(|at| (format!("p{at}"), kind)).collect(),
            Vec::new(),
        )
    }
}
