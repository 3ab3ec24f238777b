//! Which form of SELECT is read, which is refused, and which is none of ours.

use super::parse::{OTHER_LIST, OTHER_TEST, OTHER_VALUE};
use super::*;
use crate::statement::{Class, classify};

fn plain(table: Topology, columns: Columns) -> Select {
    Select {
        table,
        json: false,
        distinct: false,
        columns,
        filters: vec![],
        group_by: vec![],
        order_by: vec![],
        per_partition: None,
        limit: None,
    }
}

fn named(names: &[&str]) -> Columns {
    let selector = |name: &&str| Selector {
        shows: Shows::Column((*name).into()),
        alias: None,
    };
    Columns::Named(names.iter().map(selector).collect())
}

fn filter(column: &str, test: Test) -> Filter {
    Filter {
        column: column.into(),
        test,
    }
}

#[test]
fn topology_selects_are_read_whole() {
    let text = |text: &str| Operand::Text(text.into());
    let count = Selector {
        shows: Shows::Rows,
        alias: Some("n".into()),
    };
    let either = Test::In(vec![text("::1"), Operand::Marker(0)]);
    let texts = [
        (
            "SELECT * FROM system.local WHERE key='local'",
            Select {
                filters: vec![filter("key", Test::Equals(text("local")))],
                ..plain(Topology::Local, Columns::All)
            },
        ),
        (
            "select host_id, Tokens from system.peers where peer = :p limit ? allow filtering;",
            Select {
                filters: vec![filter("peer", Test::Equals(Operand::Named(0, "p".into())))],
                limit: Some(Operand::Marker(1)),
                ..plain(Topology::Peers, named(&["host_id", "tokens"]))
            },
        ),
        (
            "SELECT COUNT(1) AS n FROM system.peers_v2 WHERE peer IN ('::1', ?) AND native_port=-1",
            Select {
                filters: vec![
                    filter("peer", either),
                    filter("native_port", Test::Equals(Operand::Int(-1))),
                ],
                ..plain(Topology::PeersV2, Columns::Named(vec![count]))
            },
        ),
        (
            "SELECT rack FROM system.peers WHERE peer IN ? AND bootstrapped = $$it's$$",
            Select {
                filters: vec![
                    filter("peer", Test::InBound(Operand::Marker(0))),
                    filter("bootstrapped", Test::Equals(text("it's"))),
                ],
                ..plain(Topology::Peers, named(&["rack"]))
            },
        ),
    ];
    for (text, expected) in texts {
        assert_eq!(
            classify(text).class,
            Class::Topology(Ok(expected)),
            "{text}"
        );
    }
}

fn read(text: &str) -> Select {
    match classify(text).class {
        Class::Topology(Ok(select)) => select,
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn every_clause_is_read() {
    let select = read(
        "SELECT JSON DISTINCT count(Peer) AS n, \"count\" FROM system.peers_v2 WHERE peer = ? \
         GROUP BY peer, peer_port ORDER BY peer_port DESC, peer ASC PER PARTITION LIMIT :p LIMIT 2 \
         ALLOW FILTERING BYPASS CACHE USING TIMEOUT 2s ;",
    );
    let count = Selector {
        shows: Shows::Count("peer".into()),
        alias: Some("n".into()),
    };
    let column = Selector {
        shows: Shows::Column("count".into()),
        alias: None,
    };
    assert_eq!(select.columns, Columns::Named(vec![count, column]));
    assert!(select.json && select.distinct);
    let names = |names: [&str; 2]| names.map(Box::<str>::from).to_vec();
    assert_eq!(select.group_by, names(["peer", "peer_port"]));
    assert_eq!(select.order_by, names(["peer_port", "peer"]));
    assert_eq!(select.per_partition, Some(Operand::Named(1, "p".into())));
    assert_eq!(select.limit, Some(Operand::Int(2)));
}

#[test]
fn json_and_distinct_may_be_columns() {
    for name in ["json", "distinct"] {
        for rest in ["", " AS x", ", key"] {
            let select = read(&format!("SELECT {name}{rest} FROM system.local"));
            assert!(!select.json && !select.distinct);
            let Columns::Named(named) = select.columns else {
                panic!("not all");
            };
            let column = Shows::Column(name.into());
            assert_eq!(named.first().map(|it| &it.shows), Some(&column));
        }
    }
}

#[test]
fn what_is_not_supported_is_named_and_never_sent_to_a_node() {
    let texts = [
        ("token(key) FROM system.local", "the function token()"),
        (
            "key, WriteTime(rack) FROM system.local",
            "the function writetime()",
        ),
        ("cast(key AS text) FROM system.local", "the function cast()"),
        ("\"f\"(now(), rack) FROM system.local", "the function f()"),
        ("(text)'x' FROM system.local", OTHER_LIST),
        ("*, key FROM system.local", OTHER_LIST),
        ("key AS FROM system.local", OTHER_LIST),
        ("tokens[0] FROM system.local", OTHER_LIST),
        ("? FROM system.local", OTHER_LIST),
        (
            "now(), rack FROM system.local",
            "the function now() beside columns",
        ),
        (
            "now() FROM system.peers",
            "the function now() beside columns",
        ),
        (
            "now() FROM system.local WHERE rack = 'r' ALLOW FILTERING",
            "the function now() beside columns",
        ),
        (
            "* FROM system.local WHERE token(key) > 5",
            "the function token()",
        ),
        ("* FROM system.local WHERE key > 'a'", OTHER_TEST),
        ("* FROM system.local WHERE tokens CONTAINS '0'", OTHER_TEST),
        (
            "* FROM system.peers_v2 WHERE (peer, peer_port) = (?, ?)",
            OTHER_TEST,
        ),
        ("* FROM system.local WHERE key = null", OTHER_VALUE),
        ("* FROM system.local WHERE key = f('x')", OTHER_VALUE),
        ("* FROM system.local WHERE key IN ('x' 'y')", OTHER_VALUE),
        ("* FROM system.local WHERE key", OTHER_TEST),
        ("* FROM system.local WHERE", OTHER_TEST),
        ("* FROM system.local GROUP key", "this form of GROUP BY"),
        ("* FROM system.local ORDER BY 5", "this form of ORDER BY"),
        (
            "* FROM system.local ORDER BY tokens ANN OF [1]",
            "ANN at this place",
        ),
        (
            "* FROM system.local LIMIT 1 PER PARTITION LIMIT 1",
            "PER at this place",
        ),
        (
            "* FROM system.local PER PARTITION",
            "this form of PER PARTITION LIMIT",
        ),
        ("* FROM system.local ALLOW", "this form of SELECT"),
        ("* FROM system.local 5", "this form of SELECT"),
    ];
    for (text, expected) in texts {
        let text = format!("SELECT {text}");
        let Class::Topology(Err(Unsupported { what, .. })) = classify(&text).class else {
            panic!("{text} is {:?}", classify(&text).class);
        };
        assert_eq!(&*what, expected, "{text}");
    }
    let long = format!("SELECT {}(key) FROM system.local", "f".repeat(49));
    let Class::Topology(Err(unsupported)) = classify(&long).class else {
        panic!("a function of a column");
    };
    assert_eq!(&*unsupported.what, "this function");
}

#[test]
fn calls_that_say_nothing_of_the_node_are_left_to_one() {
    let calls = [
        "now()",
        "system.now() AS t, uuid()",
        "toDate(now())",
        "cast(toTimestamp(now()) AS text), blobAsInt(0x00000001)",
        "count(now())",
        "JSON now()",
    ];
    for call in calls {
        for rest in ["", " WHERE key = 'local'", " WHERE key = ? LIMIT 1"] {
            let text = format!("SELECT {call} FROM system.local{rest}");
            assert_eq!(classify(&text).class, Class::System, "{text}");
        }
    }
}

#[test]
fn calls_in_calls_are_read_in_a_loop() {
    let depth = 200_000;
    let deep = format!(
        "SELECT {}{} FROM system.local",
        "f(".repeat(depth),
        ")".repeat(depth)
    );
    assert_eq!(classify(&deep).class, Class::System);
}
