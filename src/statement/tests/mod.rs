//! What texts mean: their classes, what USING and names say, and texts that try to hide it.

mod classes;

use super::*;
use classes::{CONDITIONAL, READ, UNKNOWN, WRITE, label};

#[test]
fn what_hides_in_a_text_is_found_and_what_only_looks_like_it_is_not() {
    let texts = [
        (WRITE, "/* SELECT */ INSERT INTO t(k)VALUES(1)"),
        (WRITE, "-- SELECT\nINSERT INTO t(k)VALUES(1)"),
        (WRITE, "--\rINSERT INTO t(k)VALUES(1)"),
        (WRITE, "// SELECT * FROM t\r\nDELETE FROM t WHERE k=1"),
        (WRITE, "/**/INSERT/**/INTO/**/t/**/(k)/**/VALUES/**/(1)/**/"),
        (WRITE, "/***/ /* /* **/ DELETE FROM t WHERE k=1"),
        (
            WRITE,
            "BEGIN/**/BATCH DELETE FROM t WHERE k=1 APPLY/**/BATCH",
        ),
        (
            WRITE,
            "UPDATE t SET v='--' WHERE k='/*' AND c='*/ IF EXISTS'",
        ),
        (WRITE, "UPDATE t SET v=$$' IF $$ WHERE k=1 -- IF EXISTS"),
        (WRITE, "UPDATE \"a;b\" SET v=1 WHERE k=1 /* IF EXISTS */;"),
        (WRITE, "UPDATE t SET v=:if WHERE k=:\"in\""),
        (CONDITIONAL, "DELETE FROM t WHERE k=5IF EXISTS"),
        (CONDITIONAL, "DELETE FROM t WHERE k=0xaIF EXISTS"),
        (CONDITIONAL, "DELETE FROM t WHERE k='a'IF EXISTS"),
        (CONDITIONAL, "DELETE FROM t WHERE k=?IF EXISTS"),
        (
            CONDITIONAL,
            "DELETE FROM t WHERE k=a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11IF EXISTS",
        ),
        (
            CONDITIONAL,
            "INSERT INTO t(k)VALUES($$--$$)IF/**/NOT EXISTS",
        ),
        (CONDITIONAL, "UPDATE t SET v=1 WHERE k=1 iF v='--'"),
        (UNKNOWN, "SELECT * FROM t; DELETE FROM t WHERE k=1"),
        (UNKNOWN, "SELECT * FROM t DELETE FROM t WHERE k=1"),
        (
            UNKNOWN,
            "INSERT INTO t(k)VALUES(1); INSERT INTO t(k)VALUES(2)",
        ),
        (UNKNOWN, "DROP TABLE t; DROP TABLE u"),
        (UNKNOWN, "SELECT * FROM t WHERE k = 'open"),
        (UNKNOWN, "SELECT * FROM t WHERE k = $$open"),
        (UNKNOWN, "SELECT * FROM t /* open"),
        (UNKNOWN, "SELECT * FROM t WHERE (k = 1"),
        (UNKNOWN, "SELECT * FROM t WHERE k = 1)"),
        (UNKNOWN, "SELECT * FROM t WHERE k = 1 \u{a0}"),
        (UNKNOWN, "\u{feff}SELECT * FROM t"),
        (UNKNOWN, "\u{17f}elect * FROM t"),
        (UNKNOWN, "SELECT\u{b}* FROM t"),
        (UNKNOWN, "SELECT * FROM t\0"),
        (UNKNOWN, "\"SELECT\" * FROM t"),
        (UNKNOWN, "SELECTED * FROM t"),
        (UNKNOWN, "SELECT * INTO t"),
        (UNKNOWN, "BEGIN BATCH SELECT * FROM t APPLY BATCH"),
        (UNKNOWN, "BEGIN BATCH DELETE FROM t WHERE k=1"),
        (UNKNOWN, "EXPLAIN SELECT * FROM t"),
        (UNKNOWN, ";SELECT * FROM t"),
        (UNKNOWN, "USE a b"),
        (UNKNOWN, ""),
        (UNKNOWN, "-- nothing"),
    ];
    for (class, text) in texts {
        assert_eq!(label(&classify(text).class), class, "{text}");
    }
}

#[test]
fn timestamps_and_ttls_in_the_text_are_found() {
    use Stamp::{Literal, Marker, Named, None, Various};
    let texts = [
        ("INSERT INTO t (k) VALUES (?)", None, None),
        (
            "INSERT INTO t (k, v) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?",
            Marker(2),
            Marker(3),
        ),
        ("INSERT INTO t JSON ? USING TTL 5", None, Literal(5)),
        (
            "UPDATE t USING TTL ? AND TIMESTAMP -7 SET v = ? WHERE k = ?",
            Literal(-7),
            Marker(0),
        ),
        (
            "UPDATE t USING TIMEOUT 5s AND TIMESTAMP 1 SET v = 1 WHERE k = 1",
            Literal(1),
            None,
        ),
        (
            "DELETE m[?] FROM t USING TIMESTAMP :Ts WHERE k = ?",
            Named(1, "ts".into()),
            None,
        ),
        (
            "DELETE FROM t USING TIMESTAMP :\"Ts\" WHERE k = 1",
            Named(0, "Ts".into()),
            None,
        ),
        (
            "INSERT INTO t (k, m) VALUES (:k, {'a': :b}) USING TTL :c",
            None,
            Named(2, "c".into()),
        ),
        (
            "UPDATE t USING TIMESTAMP -9223372036854775808 SET v = 1 WHERE k = 1",
            Literal(i64::MIN),
            None,
        ),
        (
            "UPDATE t USING TIMESTAMP 9223372036854775808 SET v = 1 WHERE k = 1",
            Various,
            None,
        ),
        (
            "UPDATE t USING TIMESTAMP (bigint)? SET v = 1 WHERE k = 1",
            Various,
            None,
        ),
        (
            "BEGIN BATCH USING TIMESTAMP 5 UPDATE t USING TTL 1 SET v=1 WHERE k=1 APPLY BATCH",
            Literal(5),
            Various,
        ),
        (
            "BEGIN BATCH UPDATE t USING TIMESTAMP 5 SET v=1 WHERE k=1 APPLY BATCH",
            Various,
            None,
        ),
    ];
    for (text, timestamp, ttl) in texts {
        let statement = classify(text);
        assert_eq!(statement.class, Class::Write, "{text}");
        assert_eq!(
            (statement.timestamp, statement.ttl),
            (timestamp, ttl),
            "{text}"
        );
    }
}

#[test]
fn values_that_differ_per_server_are_found() {
    let texts = [
        (true, "INSERT INTO t (k, v) VALUES (1, now())"),
        (
            true,
            "INSERT INTO t (k, v) VALUES (1, toTimestamp(now ( )))",
        ),
        (true, "INSERT INTO t (k, v) VALUES (1, system.UUID())"),
        (true, "UPDATE t SET v = \"now\"() WHERE k = 1"),
        (true, "UPDATE t SET v = 1 + current_timestamp() WHERE k = 1"),
        (true, "DELETE FROM t WHERE k = currentDate()"),
        (true, "UPDATE t SET v = shop.mine(1) WHERE k = 1"),
        (
            true,
            "BEGIN BATCH UPDATE t SET v = currentTimeUUID() WHERE k = 1 APPLY BATCH",
        ),
        (false, "INSERT INTO uuid (now) VALUES ('now()')"),
        (false, "INSERT INTO t (k) VALUES (toTimestamp(?))"),
        (
            false,
            "UPDATE now SET uuid = ? WHERE (a, b) = (1, 2) AND k IN (1)",
        ),
        (false, "SELECT now() FROM t"),
    ];
    for (expected, text) in texts {
        assert_eq!(classify(text).per_server, expected, "{text}");
    }
}

/// Its name does not tell whose a function is.
#[test]
fn a_function_may_be_somebodys_own_whatever_it_is_called() {
    let calls = [
        (Functions::Foreign, "ks.plain(1)"),
        (Functions::Foreign, "plain(1)"),
        (Functions::Foreign, "ks.x_as_blob(1)"),
        (Functions::Foreign, "blobAsSecret(1)"),
        (Functions::Foreign, "ks.abs(1)"),
        // 4.1 has none, so that it is the keyspace's.
        (Functions::Foreign, "abs(1)"),
        (Functions::Foreign, "ks.now()"),
        (Functions::Foreign, "\"SYSTEM\".now()"),
        (Functions::Foreign, "ks.max(ks.plain(1))"),
        (Functions::Foreign, "system.now() + ks.plain(1)"),
        (Functions::Foreign, "ks . /* system. */ values(1)"),
        (Functions::Foreign, "{'a': [ks.f(1)]}"),
        (Functions::Native, "system.now()"),
        (Functions::Native, "System . \"now\" ()"),
        (Functions::Native, "'ks.f(1)'"),
        (Functions::Native, "[(1, 2), (?, :f)]"),
    ];
    for (expected, call) in calls {
        for text in [
            format!("INSERT INTO ks.t (k, v) VALUES (2, {call})"),
            format!("UPDATE ks.t SET v = {call} WHERE k = 2"),
            format!("BEGIN BATCH DELETE v FROM t WHERE k = {call}; APPLY BATCH"),
        ] {
            assert_eq!(classify(&text).functions, expected, "{text}");
        }
    }
}

#[test]
fn only_one_partition_without_condition_is_single() {
    let texts = [
        (true, "INSERT INTO t (k) VALUES (1)"),
        (true, "UPDATE t SET v = 1 WHERE k = 1"),
        (true, "UPDATE t SET v = 'IN' WHERE k = :in AND c > 1"),
        (true, "DELETE FROM t WHERE k = 1"),
        (false, "DELETE FROM t WHERE k IN (1, 2)"),
        (false, "UPDATE t SET v = 1 WHERE k=1 AND (a, b) IN ?"),
        (false, "UPDATE t SET v = 1 WHERE k = 1 IF v = 1"),
        (
            false,
            "BEGIN BATCH UPDATE t SET v = 1 WHERE k = 1 APPLY BATCH",
        ),
        (false, "TRUNCATE t"),
        (false, "FROB"),
    ];
    for (expected, text) in texts {
        assert_eq!(classify(text).single_partition, expected, "{text}");
    }
}

fn table(keyspace: Option<&str>, name: &str) -> Table {
    Table {
        keyspace: keyspace.map(Into::into),
        name: name.into(),
    }
}

#[test]
fn names_are_told_as_the_server_stores_them() {
    let named = classify("INSERT INTO Shop.\"Big\"\"T\" (k) VALUES (?)");
    assert_eq!(named.table, Some(table(Some("shop"), "Big\"T")));
    assert!(!named.needs_keyspace && named.markers == 1 && named.tables.is_empty());
    let batch = "BEGIN BATCH DELETE FROM a.t WHERE k=1 DELETE FROM U WHERE k=? DELETE FROM A.t \
                 WHERE k=1 DELETE FROM u WHERE k=:x; DELETE FROM U WHERE k=1 APPLY BATCH";
    let batch = classify(batch);
    assert_eq!(*batch.tables, [table(Some("a"), "t"), table(None, "u")]);
    assert_eq!(
        (batch.table, batch.needs_keyspace),
        (Some(table(Some("a"), "t")), true)
    );
    assert_eq!(batch.markers, 2);
    assert_eq!(classify("USE \"Ks\"").class, Class::Use("Ks".into()));
    assert_eq!(classify("use Ks;").class, Class::Use("ks".into()));
}

#[test]
fn the_session_keyspace_decides_for_unqualified_names() {
    let local = "SELECT * FROM local";
    assert_eq!(label(&classify_in(local, Some("system")).class), "topology");
    assert_eq!(label(&classify_in(local, Some("System")).class), READ);
    assert_eq!(
        label(&classify_in("SELECT * FROM tables", Some("system_schema")).class),
        "system"
    );
    assert_eq!(
        label(&classify_in("SELECT * FROM a.tables", Some("system_schema")).class),
        READ
    );
    assert_eq!(
        label(&classify_in("SELECT * FROM events", Some("system_traces")).class),
        "traces"
    );
    assert!(classify_in(local, Some("system")).needs_keyspace);
    for (class, text) in [
        ("topology", "SELECT writetime(rack) FROM local"),
        ("topology", "SELECT * FROM local WHERE token(key) > 1"),
        ("system", "SELECT now() FROM local"),
        ("system", "SELECT * FROM paxos"),
    ] {
        assert_eq!(label(&classify_in(text, Some("system")).class), class);
    }
}

#[test]
fn a_hostile_text_takes_linear_time_and_no_stack() {
    let long = 200_000;
    let texts = [
        format!("SELECT * FROM t WHERE k = {}", "(".repeat(long)),
        format!(
            "UPDATE t SET v = {}1{} WHERE k = 1",
            "[".repeat(long),
            "]".repeat(long)
        ),
        format!("SELECT * FROM t WHERE k = '{}", "''".repeat(long)),
        format!("SELECT * FROM t {}", "/*".repeat(long)),
        format!("SELECT * FROM t {}", "/* ".repeat(long)),
        format!("SELECT * FROM t {}", "$".repeat(long | 1)),
        format!(
            "SELECT * FROM t WHERE k = {}",
            "12345678-1234-1234-1234-".repeat(long / 8)
        ),
        format!("INSERT INTO t ({}) VALUES (1)", "a, ".repeat(long)),
        format!("UPDATE t SET {} WHERE k = 1", "a = a + ?, ".repeat(long)),
        "BEGIN ".repeat(long),
        ";".repeat(long),
    ];
    for text in texts {
        let _class = classify(&text);
    }
    let child = |at: usize| format!("UPDATE t{at} SET a{at} = ? WHERE k = 1;");
    let batch: String = (0..20_000).map(child).collect();
    let batch = classify(&format!("BEGIN BATCH {batch} APPLY BATCH"));
    assert_eq!((batch.tables.len(), batch.markers), (20_000, 20_000));
}
