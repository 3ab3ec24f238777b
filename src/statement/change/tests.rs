//! What statements change.

use crate::statement::{Class, Table, classify};

/// Each text with verb, object, keyspace and name, and `soft` where it may run twice.
const TEXTS: [(&str, &str); 15] = [
    ("CREATE TABLE Ks.T (k int PRIMARY KEY)", "Create Table ks t"),
    (
        "CREATE COLUMNFAMILY IF NOT EXISTS t (k int)",
        "Create Table - t soft",
    ),
    (
        "ALTER TABLE t ADD IF NOT EXISTS v int",
        "Alter Table - t soft",
    ),
    ("DROP TABLE IF EXISTS \"T\"", "Drop Table - T soft"),
    ("TRUNCATE COLUMNFAMILY a.t", "Truncate Table a t"),
    ("DROP SCHEMA \"Ks\"", "Drop Keyspace Ks -"),
    (
        "CREATE INDEX IF NOT EXISTS ON a.t (v)",
        "Create Index a - soft",
    ),
    ("CREATE CUSTOM INDEX i ON t (v)", "Create Index - i"),
    ("DROP INDEX a.i", "Drop Index a i"),
    ("CREATE MATERIALIZED VIEW a.v AS SELECT", "Create View a v"),
    ("CREATE TYPE a.b (c int)", "Create Type a b"),
    ("CREATE OR REPLACE FUNCTION f(i int)", "Create Function - f"),
    ("DROP TRIGGER IF EXISTS g ON a.t", "Drop Trigger a g soft"),
    ("CREATE USER IF NOT EXISTS bob", "Create Role - bob soft"),
    ("GRANT SELECT ON t TO bob", "Grant Permission - -"),
];

#[test]
fn changes_say_what_they_change() {
    for (text, expected) in TEXTS {
        let class = classify(text).class;
        let Class::Schema(change) = class else {
            panic!("{text}: {class:?}")
        };
        let name = |name: Option<Box<str>>| name.unwrap_or_else(|| "-".into());
        let (verb, object, soft) = (change.verb, change.object, change.if_exists);
        let (keyspace, name) = (name(change.keyspace), name(change.name));
        let soft = if soft { " soft" } else { "" };
        assert_eq!(
            format!("{verb:?} {object:?} {keyspace} {name}{soft}"),
            expected,
            "{text}"
        );
    }
}

#[test]
fn changes_of_a_table_name_it() {
    let table = |keyspace: &str, name: &str| {
        Some(Table {
            keyspace: Some(keyspace.into()),
            name: name.into(),
        })
    };
    assert_eq!(classify("DROP TABLE a.t").table, table("a", "t"));
    assert_eq!(classify("CREATE INDEX i ON a.t (v)").table, table("a", "t"));
    assert!(classify("DROP TABLE t").needs_keyspace);
    assert!(!classify("DROP TABLE a.t").needs_keyspace);
    assert!(!classify("CREATE KEYSPACE a WITH replication = {'class': 'x'}").needs_keyspace);
}
