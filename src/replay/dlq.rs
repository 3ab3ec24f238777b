//! Dead letters as operators see them: everything but the values, and no password.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DeadLetter;
use super::record::{Record, Repeat, Statement, Value};

/// One dead letter for a list or for `dlq show`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Summary {
    /// Its number among the dead letters.
    pub number: i64,
    /// Who owes it.
    pub side: String,
    /// Why it is here, as the metric's label.
    pub reason: String,
    /// The last error in words.
    pub error: String,
    /// Bytes of its record.
    pub size: usize,
    /// What it holds; absent if its bytes are no record.
    pub content: Option<Content>,
}

/// What a record holds, without its values.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Content {
    /// The record's id.
    pub id: String,
    /// Which proxy made it.
    pub origin: String,
    /// Its table as `keyspace.name`, where it is one.
    pub table: Option<String>,
    /// `statement`, or the kind of batch.
    pub kind: String,
    /// Its statements in order.
    pub statements: Vec<Line>,
    /// The consistency as on the wire.
    pub consistency: u16,
    /// Microseconds; absent when the text says USING TIMESTAMP.
    pub timestamp: Option<i64>,
    /// Why the record was made.
    pub reason: String,
    /// When it was made, microseconds since 1970.
    pub enqueued_at: i64,
    /// Whether it may be applied more than once: `yes`, `shifted` or `no`.
    pub repeat: String,
}

/// One statement.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Line {
    /// CQL; a literal behind the word PASSWORD is masked.
    pub text: String,
    /// The keyspace that unqualified names mean.
    pub keyspace: Option<String>,
    /// What is bound: `null`, `unset`, or how many bytes.
    pub values: Vec<String>,
}

impl Summary {
    /// What may be shown of this letter.
    #[must_use]
    pub fn of(letter: &DeadLetter) -> Self {
        Self {
            number: letter.number,
            side: letter.side.label().to_owned(),
            reason: letter.reason.label().to_owned(),
            error: masked(&letter.error),
            size: letter.body.len(),
            content: Record::decode(&letter.body).ok().map(Content::of),
        }
    }
}

impl Content {
    fn of(record: Record) -> Self {
        Self {
            id: Uuid::from_bytes(record.id).to_string(),
            origin: record.origin,
            table: record
                .table
                .map(|(keyspace, name)| format!("{keyspace}.{name}")),
            kind: record.batch.label().to_owned(),
            statements: record.statements.iter().map(Line::of).collect(),
            consistency: record.consistency,
            timestamp: record.timestamp,
            reason: record.reason.label().to_owned(),
            enqueued_at: record.enqueued_at,
            repeat: match record.repeat {
                Repeat::No => "no",
                Repeat::Shifted => "shifted",
                Repeat::Yes => "yes",
            }
            .to_owned(),
        }
    }
}

impl Line {
    fn of(statement: &Statement) -> Self {
        let value = |(name, value): (Option<&str>, Value<'_>)| {
            let size = match value {
                Value::Bytes([_]) => "1 byte".to_owned(),
                Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
                Value::Null => "null".to_owned(),
                Value::Unset => "unset".to_owned(),
            };
            name.map_or_else(|| size.clone(), |name| format!("{name}: {size}"))
        };
        Self {
            text: masked(&statement.text),
            keyspace: statement.keyspace.clone(),
            values: statement.values().map(value).collect(),
        }
    }
}

/// The text with every literal that follows the word PASSWORD masked (S22). What stands between
/// them does not matter, so that no comment or odd spacing shows one.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(word) = find_word(rest) {
        let (before, behind) = rest.split_at(word);
        let Some(open) = behind.find(['\'', '$']) else {
            break;
        };
        let (between, literal) = behind.split_at(open);
        out.push_str(before);
        out.push_str(between);
        out.push_str("'***'");
        rest = literal.split_at(literal_len(literal)).1;
    }
    out.push_str(rest);
    out
}

fn find_word(text: &str) -> Option<usize> {
    let word = b"password";
    text.as_bytes()
        .windows(word.len())
        .position(|window| window.eq_ignore_ascii_case(word))
}

/// How long the literal is that the text starts with; all of it if it does not end.
fn literal_len(text: &str) -> usize {
    if let Some(inner) = text.strip_prefix("$$") {
        return inner.find("$$").map_or(text.len(), |end| end + 4);
    }
    let mut at = 1;
    while let Some(rest) = text.get(at..) {
        let Some(quote) = rest.find('\'') else { break };
        at += quote + 1;
        // Two quotes are one quote within the literal.
        if !text.get(at..).is_some_and(|rest| rest.starts_with('\'')) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use crate::pair::Side;
    use crate::replay::Parked;
    use crate::replay::record::{Batch, Child, Draft, Priority, Reason};

    use super::*;

    fn letter(body: Vec<u8>) -> DeadLetter {
        DeadLetter {
            number: 3,
            side: Side::B,
            reason: Parked::Refused,
            error: "unconfigured table".into(),
            parked_at: 9,
            body: body.into(),
        }
    }

    #[test]
    fn a_summary_shows_sizes_and_never_a_value() {
        let child = Child {
            text: "INSERT INTO t (a, b, c) VALUES (?, ?, ?)",
            keyspace: None,
            bind_types: 0,
            values: b"\x00\x00\x00\x06secret\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE",
            count: 3,
            named: false,
        };
        let mut body = Vec::new();
        Draft {
            id: [1; 16],
            origin: "proxy-1",
            statements: &[
                child,
                Child {
                    keyspace: Some("shop"),
                    values: b"\0\0\0\x01x",
                    count: 1,
                    ..child
                },
            ],
            batch: Batch::Logged,
            consistency: 6,
            serial: None,
            timestamp: Some(5),
            ttl_base: 0,
            priority: Priority::High,
            partition: 1,
            enqueued_at: 4,
            reason: Reason::Timeout,
            repeat: Repeat::Shifted,
            single_partition: false,
            table: Some(("shop", "t")),
            table_id: None,
        }
        .encode(&mut body);
        let summary = Summary::of(&letter(body));
        let content = summary.content.clone().unwrap();
        assert_eq!(content.statements[0].values, ["6 bytes", "null", "unset"]);
        assert_eq!(content.statements[1].values, ["1 byte"]);
        assert_eq!(content.statements[1].keyspace.as_deref(), Some("shop"));
        assert_eq!(
            (content.kind.as_str(), content.repeat.as_str()),
            ("logged batch", "shifted")
        );
        assert_eq!(content.table.as_deref(), Some("shop.t"));
        let shown = serde_json::to_string(&summary).unwrap();
        assert!(
            !shown.contains("secret") && shown.contains("\"reason\":\"refused\""),
            "{shown}"
        );
    }

    #[test]
    fn bytes_that_are_no_record_have_a_summary_too() {
        let summary = Summary::of(&letter(b"garbage".to_vec()));
        assert_eq!((summary.size, summary.content), (7, None));
    }

    #[test]
    fn passwords_are_masked_however_they_are_written() {
        for (text, shown) in [
            (
                "CREATE ROLE r WITH PASSWORD = 'a''b' AND LOGIN",
                "CREATE ROLE r WITH PASSWORD = '***' AND LOGIN",
            ),
            (
                "alter user u with password/*x*/'p'",
                "alter user u with password/*x*/'***'",
            ),
            (
                "WITH HASHED PASSWORD = $$p'q$$ AND PASSWORD='r'",
                "WITH HASHED PASSWORD = '***' AND PASSWORD='***'",
            ),
            ("PASSWORD = 'never ends", "PASSWORD = '***'"),
            ("PASSWORD = $$never ends", "PASSWORD = '***'"),
            ("PASSWORD = '''", "PASSWORD = '***'"),
            ("PASSWORD = '€''€'", "PASSWORD = '***'"),
            ("SELECT 'x' FROM password", "SELECT 'x' FROM password"),
            ("INSERT 'x'", "INSERT 'x'"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
