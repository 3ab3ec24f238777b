//! What can be repeated, and what is a point read, against the columns of a small shop.

use Repeatable::{No, Shifted, Yes};

use super::*;
use crate::statement::classify;
use crate::statement::schema::Row;

const TEXTS: [(Repeatable, &str); 44] = [
    (Yes, "INSERT INTO t (k, v, f, s, m) VALUES (?, ?, ?, ?, ?)"),
    (Yes, "INSERT INTO t (k, l) VALUES (?, null)"),
    (Yes, "INSERT INTO t (k, \"l\") VALUES (1, 5)"),
    (Shifted, "INSERT INTO t (k, l) VALUES (?, ?)"),
    (Shifted, "INSERT INTO t (k, \"L\") VALUES (?, [1, 2])"),
    (Shifted, "INSERT INTO t (k, L) VALUES (1, (list<int>)[1])"),
    (Shifted, "INSERT INTO t JSON ?"),
    (Yes, "INSERT INTO plain JSON ?"),
    (Shifted, "UPDATE t SET l = ? WHERE k = ?"),
    (Yes, "UPDATE t SET f = [1] WHERE k = ?"),
    (
        Yes,
        "UPDATE t SET v = ?, s = s + ?, m = m - ?, m[?] = ? WHERE k = ?",
    ),
    (Yes, "UPDATE t SET s += {1}, m['a'] = ? WHERE k = ?"),
    (No(Why::List), "UPDATE t SET l = l + ? WHERE k = ?"),
    (No(Why::List), "UPDATE t SET l = ? + l WHERE k = ?"),
    (No(Why::List), "UPDATE t SET l = [1] + \"l\" WHERE k = ?"),
    (No(Why::List), "UPDATE t SET l -= ? WHERE k = ?"),
    (No(Why::List), "UPDATE t SET v = 'x', l[0] = ? WHERE k = ?"),
    (No(Why::List), "UPDATE t SET l[?] = 1 WHERE k = ?"),
    (No(Why::List), "DELETE l[?] FROM t WHERE k = ?"),
    (Yes, "DELETE m[?], l, v FROM t WHERE k = ?"),
    (Yes, "DELETE FROM t WHERE k = ?"),
    (No(Why::Unknown), "UPDATE plain SET v = v + ? WHERE k = ?"),
    (No(Why::Counter), "UPDATE hits SET c = c + ? WHERE k = ?"),
    (No(Why::Counter), "UPDATE hits SET c += ? WHERE k = ?"),
    (No(Why::Counter), "UPDATE hits SET c = c -1 WHERE k = ?"),
    (No(Why::Counter), "UPDATE unseen SET c = c - 1 WHERE k = ?"),
    (No(Why::Counter), "DELETE FROM hits WHERE k = ?"),
    (
        No(Why::Counter),
        "BEGIN COUNTER BATCH UPDATE hits SET c += ? WHERE k = ? APPLY BATCH",
    ),
    (No(Why::Unknown), "UPDATE unseen SET x = x + ? WHERE k = ?"),
    (No(Why::Unknown), "UPDATE unseen SET x[?] = ? WHERE k = ?"),
    (No(Why::List), "UPDATE unseen SET x = x + [?] WHERE k = ?"),
    (Yes, "UPDATE unseen SET x = x + {?}, y['a'] = 1 WHERE k = ?"),
    (Shifted, "UPDATE unseen SET x = ? WHERE k = 1"),
    (
        Yes,
        "UPDATE unseen SET x = 'a', y = -1, z = {1} WHERE k = ?",
    ),
    (Shifted, "INSERT INTO t (k, gone) VALUES (?, ?)"),
    (
        No(Why::List),
        "UPDATE t USING TIMESTAMP 5 SET l = ? WHERE k = ?",
    ),
    (
        No(Why::Unknown),
        "UPDATE unseen USING TIMESTAMP ? SET l = ? WHERE k = ?",
    ),
    (Yes, "UPDATE t USING TIMESTAMP ? SET v = ? WHERE k = ?"),
    (
        Shifted,
        "BEGIN BATCH UPDATE plain SET v=? WHERE k=1; UPDATE t SET l=? WHERE k=1; APPLY BATCH",
    ),
    (
        No(Why::List),
        "BEGIN BATCH UPDATE t SET l=l+? WHERE k=1; UPDATE plain SET v=? WHERE k=1; APPLY BATCH",
    ),
    (
        No(Why::Conditional),
        "UPDATE t SET v = 'x' WHERE k = 1 IF EXISTS",
    ),
    (No(Why::Schema), "TRUNCATE t"),
    (No(Why::Unknown), "FROB t"),
    (Yes, "SELECT * FROM t"),
];

#[test]
fn what_can_be_repeated_is_told_by_text_and_schema() {
    let schema = shop();
    for (expected, text) in TEXTS {
        let statement = classify(text);
        assert_eq!(
            statement.repeatable(&schema, Some("shop")),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_point_read_names_the_whole_partition_key() {
    let texts = [
        (true, "SELECT * FROM wide WHERE k = ? AND k2 = 5"),
        (
            true,
            "SELECT c, ttl(c), cast(c AS text) FROM wide WHERE c > 1 AND k2 = 1 AND \"k\" = 2",
        ),
        (true, "SELECT * FROM t WHERE k = ? LIMIT 5"),
        (false, "SELECT * FROM wide WHERE k = ?"),
        (false, "SELECT * FROM wide WHERE k = ? AND k2 IN (1)"),
        (false, "SELECT * FROM wide WHERE k = ? AND k2 > 5"),
        (false, "SELECT * FROM wide WHERE k = ? AND \"K2\" = 5"),
        (false, "SELECT count(*) FROM t WHERE k = 1"),
        (false, "SELECT mine(v) FROM t WHERE k = 1"),
        (false, "SELECT max(v) FROM t WHERE k = 1"),
        (false, "SELECT v FROM t WHERE k = 1 GROUP BY k"),
        (false, "SELECT * FROM t"),
        (false, "SELECT * FROM unseen WHERE k = 1"),
        (false, "DELETE FROM t WHERE k = 1"),
    ];
    let schema = shop();
    for (expected, text) in texts {
        let statement = classify(text);
        assert_eq!(
            statement.point_read(&schema, Some("shop")),
            expected,
            "{text}"
        );
        assert!(!statement.point_read(&schema, None), "{text}");
    }
    assert!(classify("SELECT * FROM Shop.T WHERE K = 1").point_read(&schema, None));
}

fn shop() -> Schema {
    let row = |(table, column, type_text): (&'static str, &'static str, &'static str)| Row {
        keyspace: "shop",
        table,
        column,
        kind: if matches!(column, "k" | "k2") {
            "partition_key"
        } else {
            "regular"
        },
        position: i32::from(column == "k2"),
        type_text,
    };
    let columns = [
        ("t", "k", "int"),
        ("t", "v", "text"),
        ("t", "l", "list<int>"),
        ("t", "f", "frozen<list<int>>"),
        ("t", "s", "set<int>"),
        ("t", "m", "map<text, int>"),
        ("t", "L", "list<int>"),
        ("plain", "k", "int"),
        ("plain", "v", "int"),
        ("hits", "k", "int"),
        ("hits", "c", "counter"),
        ("wide", "k", "int"),
        ("wide", "k2", "int"),
        ("wide", "c", "int"),
    ];
    Schema::new(columns.into_iter().map(row))
}
