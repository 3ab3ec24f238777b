//! Random requests: texts, values, flags, in each version.

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;

use helix_proxy::pair::Side;

use super::message::{Last, Parameters, Value, Values};

/// Keyspaces that requests name or sessions use.
pub(crate) const KEYSPACES: [&str; 2] = ["ks", "Other_ks"];

/// What the proxy makes of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    Conditional,
    Read,
    Write,
}

/// A text, what it means, and whether its table has a keyspace.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) class: Class,
    pub(crate) qualified: bool,
    pub(crate) text: String,
}

/// What is asked, before ids are known.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Batch {
        kind: u8,
        children: Vec<(Text, bool, Values)>,
        consistency: u16,
        last: Last,
    },
    Execute {
        text: Text,
        parameters: Parameters,
        columns: Columns,
        times: usize,
    },
    Prepare {
        text: Text,
        keyspace: Option<&'static str>,
    },
    Query {
        text: Text,
        parameters: Parameters,
    },
}

/// What a client of version 5 says that it knows of the columns.
#[derive(Clone, Debug)]
pub(crate) enum Columns {
    AsPrepared,
    Other(Vec<u8>),
}

/// One request of one client.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) version: u8,
    /// Where reads go first.
    pub(crate) preferred: Side,
    /// The keyspace that the client uses.
    pub(crate) session: Option<&'static str>,
    pub(crate) stream: u16,
    /// Of the header, without the one that says that there is a payload.
    pub(crate) flags: u8,
    pub(crate) payload: Option<Vec<(String, Value)>>,
    pub(crate) what: What,
}

impl Ask {
    /// A prepared read that prefers B.
    pub(crate) fn read(version: u8, consistency: u16) -> Self {
        let (class, qualified) = (Class::Read, true);
        let text = "SELECT v FROM ks.t WHERE k = 1".to_owned();
        Self {
            version,
            preferred: Side::B,
            session: None,
            stream: 1,
            flags: 0,
            payload: None,
            what: What::Execute {
                text: Text {
                    class,
                    qualified,
                    text,
                },
                parameters: Parameters {
                    consistency,
                    skip_metadata: false,
                    values: None,
                    page_size: None,
                    paging_state: None,
                    last: Last {
                        serial: None,
                        timestamp: None,
                        keyspace: None,
                        now: None,
                    },
                },
                columns: Columns::AsPrepared,
                times: 1,
            },
        }
    }
}

pub(crate) fn asks() -> impl Strategy<Value = Ask> {
    (3_u8..=5).prop_flat_map(|version| {
        // Beta and warnings say nothing on a request; nor does compression in version 5.
        let flags: &[u8] = match version {
            5 => &[0, 0, 0, 2, 2, 8, 0x10, 0x1B],
            _ => &[0, 0, 0, 2, 2, 8, 0x10, 0x1A],
        };
        let payload = vec((name(), value(version)), 0..3);
        let payload = from(4, version, payload);
        let session = weighted(0.3, prop::sample::select(&KEYSPACES[..]));
        let side = prop::sample::select(&Side::ALL[..]);
        let stream = 0_u16..0x8000;
        let flags = prop::sample::select(flags);
        let asked = (side, session, stream, flags, payload, what(version));
        asked.prop_map(
            move |(preferred, session, stream, flags, payload, what)| Ask {
                version,
                preferred,
                session,
                stream,
                flags,
                payload,
                what,
            },
        )
    })
}

fn what(version: u8) -> BoxedStrategy<What> {
    let any_text = || {
        prop_oneof![
            4 => text(Class::Write),
            3 => text(Class::Read),
            1 => text(Class::Conditional),
        ]
    };
    let columns = prop_oneof![
        3 => Just(Columns::AsPrepared),
        1 => vec(any::<u8>(), 0..20).prop_map(Columns::Other),
    ];
    let keyspace = from(5, version, keyspace());
    let child = (text(Class::Write), any::<bool>(), values(version, false));
    prop_oneof![
        3 => (any_text(), parameters(version))
            .prop_map(|(text, parameters)| What::Query { text, parameters }),
        1 => (any_text(), keyspace).prop_map(|(text, keyspace)| What::Prepare { text, keyspace }),
        4 => (any_text(), parameters(version), columns, 1_usize..3).prop_map(
            |(text, parameters, columns, times)| What::Execute { text, parameters, columns, times }
        ),
        2 => (0_u8..3, vec(child, 0..5), consistency(), last(version)).prop_map(
            |(kind, children, consistency, last)| What::Batch { kind, children, consistency, last }
        ),
    ]
    .boxed()
}

/// Comment, literal, USING, end, whether the table has its keyspace, and the place of the form.
type Parts = (String, String, &'static str, &'static str, bool, usize);

/// A statement of this class, with literals, comments and ends that say nothing.
fn text(class: Class) -> BoxedStrategy<Text> {
    // Half of the texts are alike, so that clients of all versions meet in them.
    let comment = prop_oneof![
        6 => Just(String::new()),
        1 => "[a-z ;'\"é?:-]{0,12}".prop_map(|it| format!("/*{it}*/ ")),
        1 => "[a-z ;'\"é?:]{0,12}".prop_map(|it| format!("--{it}\n")),
    ];
    let literal = prop_oneof![
        4 => Just("?".to_owned()),
        1 => any::<i32>().prop_map(|it| it.to_string()),
        2 => "[ -~é\u{1F980}]{0,20}".prop_map(|it| format!("'{}'", it.replace('\'', "''"))),
    ];
    let using = prop::sample::select(&USING[..]);
    let end = prop::sample::select(&["", "", "", ";", " ; ", "\n"][..]);
    let parts = (
        comment,
        literal,
        using,
        end,
        any::<bool>(),
        0..FORMS[0].len(),
    );
    let text = move |(comment, literal, using, end, qualified, form): Parts| {
        let table = if qualified { "ks.t" } else { "t" };
        let form = match class {
            Class::Conditional => FORMS[0][form],
            Class::Read => FORMS[1][form],
            Class::Write => FORMS[2][form],
        };
        let core = form
            .replace("{t}", table)
            .replace("{using}", using)
            .replace("{v}", &literal);
        Text {
            class,
            qualified,
            text: format!("{comment}{core}{end}"),
        }
    };
    parts.prop_map(text).boxed()
}

const USING: [&str; 4] = [
    "",
    " USING TIMESTAMP 17",
    " USING TTL 5",
    " USING TTL 5 AND TIMESTAMP ?",
];

/// Conditional, reads, writes.
const FORMS: [[&str; 3]; 3] = [
    [
        "INSERT INTO {t} (k, v) VALUES (1, {v}) IF NOT EXISTS",
        "UPDATE {t} SET v = {v} WHERE k = ? IF v = 1",
        "delete from {t} where k = {v} if exists",
    ],
    [
        "SELECT v FROM {t} WHERE k = {v}",
        "SELECT * FROM {t}",
        "SELECT JSON v FROM {t} WHERE k IN (1, {v}) LIMIT 3",
    ],
    [
        "INSERT INTO {t} (k, v) VALUES (?, {v}){using}",
        "UPDATE {t}{using} SET v = {v} WHERE k = :key",
        "Delete From {t} WHERE k = {v}",
    ],
];

fn parameters(version: u8) -> impl Strategy<Value = Parameters> {
    let values = any::<bool>().prop_flat_map(move |named| of(values(version, named)));
    let parts = (
        consistency(),
        any::<bool>(),
        values,
        of(any::<i32>()),
        last(version),
    );
    parts.prop_map(
        |(consistency, skip_metadata, values, page_size, last)| Parameters {
            consistency,
            skip_metadata,
            values,
            page_size,
            paging_state: None,
            last,
        },
    )
}

fn last(version: u8) -> impl Strategy<Value = Last> {
    let serial = of(8_u16..=9);
    let timestamp = of(i64::MIN + 1..=i64::MAX);
    let now = from(5, version, any::<i32>());
    let keyspace = from(5, version, keyspace());
    (serial, timestamp, keyspace, now).prop_map(|(serial, timestamp, keyspace, now)| Last {
        serial,
        timestamp,
        keyspace,
        now,
    })
}

fn values(version: u8, named: bool) -> impl Strategy<Value = Values> {
    vec((name(), value(version)), 0..6).prop_map(move |each| Values { named, each })
}

/// Few are long enough for a frame over several reads, and in version 5 over several segments.
fn value(version: u8) -> BoxedStrategy<Value> {
    let unset = if version == 3 {
        Value::Null
    } else {
        Value::Unset
    };
    prop_oneof![
        2 => Just(Value::Null),
        2 => Just(unset),
        2 => Just(Value::Set(vec![])),
        12 => vec(any::<u8>(), 1..40).prop_map(Value::Set),
        1 => (any::<u8>(), 1_usize..70_000).prop_map(|(byte, length)| Value::Set(vec![byte; length])),
    ]
    .boxed()
}

/// What there is from a version on, and often not even then.
fn from<T: Clone + std::fmt::Debug + 'static>(
    first: u8,
    version: u8,
    it: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    if version < first {
        return Just(None).boxed();
    }
    weighted(0.3, it).boxed()
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_é]{0,6}"
}

fn keyspace() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KEYSPACES[..])
}

/// All that there are; two of them make a read one of a single cluster.
fn consistency() -> impl Strategy<Value = u16> {
    0_u16..=10
}
