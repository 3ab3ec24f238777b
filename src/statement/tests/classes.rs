//! Every class by its texts, and that no disguise changes one.

use proptest::prelude::*;

use super::*;

pub(super) const READ: &str = "read";
pub(super) const WRITE: &str = "write";
pub(super) const CONDITIONAL: &str = "conditional";
pub(super) const UNKNOWN: &str = "unknown";

pub(super) fn label(class: &Class) -> &'static str {
    match class {
        Class::Conditional => CONDITIONAL,
        Class::Describe => "describe",
        Class::Read => READ,
        Class::Schema(_) => "schema",
        Class::System => "system",
        Class::Topology(_) => "topology",
        Class::Traces => "traces",
        Class::Unknown => UNKNOWN,
        Class::Use(_) => "use",
        Class::Write => WRITE,
    }
}

/// Every row of the table of classes: each text stands for one, whatever is put around its words.
const CLASSES: [(&str, &str); 61] = [
    (READ, "SELECT * FROM ks.t"),
    (
        READ,
        "SELECT JSON DISTINCT a, b AS c FROM t WHERE k = ? AND c IN (1, 2) LIMIT 3",
    ),
    (
        READ,
        "SELECT json, values FROM t WHERE insert_time = 'update x set y = 1' ALLOW FILTERING",
    ),
    (
        READ,
        "SELECT \"update\" , \"a\"\"b\" FROM \"DELETE\" WHERE k = 'it''s; DROP TABLE t'",
    ),
    (
        READ,
        "SELECT count ( * ) FROM t WHERE k = :update GROUP BY k ;",
    ),
    (
        READ,
        "SELECT m [ 'k' ] , u . f , cast ( a AS text ) FROM t WHERE token ( k ) > - 5",
    ),
    (READ, "SELECT * FROM system_mine.t"),
    (READ, "SELECT * FROM local"),
    (READ, "SELECT * FROM t ; ;"),
    ("describe", "DESCRIBE TABLES"),
    ("describe", "DESC KEYSPACE ks ;"),
    ("describe", "LIST ROLES"),
    ("describe", "LIST ALL PERMISSIONS OF bob"),
    (
        WRITE,
        "INSERT INTO ks.t ( k , v ) VALUES ( ? , 'IF NOT EXISTS' )",
    ),
    (
        WRITE,
        "INSERT INTO t ( k , \"IF\" ) VALUES ( 1 , { 'a' : true , 'b' : null } ) USING TTL 5",
    ),
    (
        WRITE,
        "INSERT INTO t JSON '{\"k\": 1}' DEFAULT UNSET USING TIMESTAMP 7",
    ),
    (WRITE, "INSERT INTO json ( json ) VALUES ( $$it's IF$$ ) ;"),
    (
        WRITE,
        "UPDATE t USING TTL ? SET v = 1 , m [ 'k' ] = 2 , u . f = 3 WHERE k = 1 AND c = 2",
    ),
    (WRITE, "UPDATE t SET c = c + 1 WHERE k = 1"),
    (WRITE, "UPDATE t SET l = [ 'IF' ] + l WHERE k IN ( 1 , 2 )"),
    (WRITE, "DELETE FROM t WHERE k = 1"),
    (
        WRITE,
        "DELETE a , m [ 'k' ] , u . f FROM t USING TIMESTAMP 1 WHERE k = 1",
    ),
    (
        WRITE,
        "BEGIN BATCH INSERT INTO t ( k ) VALUES ( 1 ) ; DELETE FROM u WHERE k = 1 ; APPLY BATCH",
    ),
    (
        WRITE,
        "BEGIN UNLOGGED BATCH UPDATE t SET v = 1 WHERE k = 1 DELETE FROM t WHERE k = 2 APPLY BATCH ;",
    ),
    (
        WRITE,
        "BEGIN COUNTER BATCH USING TIMESTAMP 5 UPDATE t SET c += ? WHERE k = 1 ; APPLY BATCH",
    ),
    (WRITE, "BEGIN BATCH APPLY BATCH"),
    (
        CONDITIONAL,
        "INSERT INTO t ( k ) VALUES ( 1 ) IF NOT EXISTS",
    ),
    (
        CONDITIONAL,
        "INSERT INTO t ( k ) VALUES ( 1 ) IF NOT EXISTS USING TTL 5 ;",
    ),
    (
        CONDITIONAL,
        "INSERT INTO t ( k ) VALUES ( 1 ) USING TTL 5 IF NOT EXISTS",
    ),
    (CONDITIONAL, "INSERT INTO t JSON ? IF NOT EXISTS"),
    (CONDITIONAL, "UPDATE t SET v = 1 WHERE k = 1 IF v = 2"),
    (CONDITIONAL, "UPDATE t SET v = 1 WHERE k = 1 IF EXISTS"),
    (CONDITIONAL, "DELETE FROM t WHERE k = 1 IF EXISTS ;"),
    (
        CONDITIONAL,
        "DELETE v FROM t WHERE k = 1 IF \"v\" IN ( 1 , 2 )",
    ),
    (
        CONDITIONAL,
        "BEGIN BATCH INSERT INTO t ( k ) VALUES ( 1 ) ; DELETE FROM t WHERE k = 1 IF EXISTS ; APPLY BATCH",
    ),
    (
        CONDITIONAL,
        "BEGIN TRANSACTION UPDATE t SET v = 1 WHERE k = 1 ; COMMIT TRANSACTION",
    ),
    (
        "schema",
        "CREATE TABLE IF NOT EXISTS ks.t ( k int PRIMARY KEY , v list<text> ) WITH comment = 'a;b'",
    ),
    (
        "schema",
        "CREATE MATERIALIZED VIEW v AS SELECT * FROM t WHERE k IS NOT NULL PRIMARY KEY ( k )",
    ),
    (
        "schema",
        "CREATE OR REPLACE FUNCTION f ( a int ) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS $$ return a; $$",
    ),
    ("schema", "CREATE CUSTOM INDEX ON t ( v ) USING 'sai'"),
    ("schema", "ALTER ROLE bob WITH PASSWORD = 'x'"),
    ("schema", "DROP KEYSPACE IF EXISTS ks ;"),
    ("schema", "TRUNCATE ks.t"),
    ("schema", "TRUNCATE TABLE t"),
    ("schema", "GRANT SELECT ON KEYSPACE ks TO bob"),
    ("schema", "REVOKE ALL PERMISSIONS ON t FROM bob"),
    ("system", "SELECT * FROM system_schema.tables"),
    ("system", "SELECT * FROM System . \"size_estimates\""),
    ("topology", "SELECT JSON * FROM system.local"),
    ("system", "SELECT * FROM system_virtual_schema.keyspaces"),
    ("topology", "SELECT * FROM system.local WHERE key = 'local'"),
    ("topology", "SELECT peer , rack FROM SYSTEM.PEERS"),
    ("topology", "SELECT Min ( rack ) FROM system.local"),
    ("topology", "SELECT key FROM system.local BY Mistake"),
    ("system", "SELECT toDate ( now ( ) ) FROM system.local"),
    (
        "topology",
        "SELECT count ( * ) FROM \"system\" . \"peers_v2\" ;",
    ),
    (
        "traces",
        "SELECT * FROM system_traces.events WHERE session_id = ?",
    ),
    ("use", "USE ks"),
    ("use", "USE \"Ks\" ;"),
    (UNKNOWN, "PRUNE MATERIALIZED VIEW v"),
    (UNKNOWN, "INSERT INTO t"),
];

#[test]
fn every_class_is_told_by_its_text() {
    for (class, text) in CLASSES {
        assert_eq!(label(&classify(text).class), class, "{text}");
    }
}

/// Joins the words of a text by other whitespace and comments, in other case.
fn disguised(text: &str, between: &[usize], upper: &[bool]) -> String {
    const BETWEEN: [&str; 8] = [
        " ",
        "\t\n",
        "/**/",
        "/* IF '\" */",
        " -- SELECT\n",
        " // ; \r",
        "\r\n ",
        " /*;*/ ",
    ];
    let mut quote = None;
    let mut spaces = between.iter().cycle();
    let mut cases = upper.iter().cycle();
    let mut out = String::new();
    for c in text.chars() {
        match (quote, c) {
            (None, '\'' | '"' | '$') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        match (quote, c) {
            (None, ' ') => out.push_str(BETWEEN[spaces.next().copied().unwrap_or(0) % 8]),
            (None, _) if cases.next() == Some(&true) => out.push(c.to_ascii_uppercase()),
            (None, _) => out.push(c.to_ascii_lowercase()),
            (Some(_), _) => out.push(c),
        }
    }
    out
}

proptest! {
    #[test]
    fn any_text_has_a_class(text in any::<String>()) {
        let _statement = classify(&text);
    }

    #[test]
    fn any_words_have_a_class(
        words in prop::collection::vec(prop::sample::select(vec![
            "SELECT", "INSERT", "INTO", "UPDATE", "DELETE", "BEGIN", "BATCH", "APPLY", "FROM",
            "WHERE", "SET", "VALUES", "IF", "EXISTS", "USING", "TTL", "IN", "AND", "JSON", "USE",
            "CREATE", "TABLE", "LIMIT", "t", "\"q\"", "'s'", "$$", "?", ":", ":n", "(", ")", "[",
            "]", "{", "}", ",", ".", ";", "=", "+", "-", "+=", "*", "1", "--", "/*", "*/", "\n",
        ]), 0..40),
        system in any::<bool>(),
    ) {
        let text = words.join(" ");
        let statement = classify_in(&text, system.then_some("system"));
        let reads = matches!(
            statement.class,
            Class::Read | Class::System | Class::Topology(_) | Class::Traces
        );
        prop_assert!(!reads || statement.repeatable(&Schema::default(), None) == Repeatable::Yes);
        prop_assert!(statement.class != Class::Write || statement.table.is_some() || text.contains("APPLY"));
    }

    #[test]
    fn a_disguise_changes_nothing(
        at in 0..CLASSES.len(),
        between in prop::collection::vec(0..8_usize, 1..9),
        upper in prop::collection::vec(any::<bool>(), 1..9),
    ) {
        let (class, text) = CLASSES[at];
        let disguised = disguised(text, &between, &upper);
        let (plain, found) = (classify(text), classify(&disguised));
        prop_assert_eq!(label(&found.class), class, "{}", disguised);
        prop_assert_eq!(found, plain, "{}", disguised);
    }
}
