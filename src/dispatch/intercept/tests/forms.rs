//! The rarer clauses, each with what Cassandra 5.0.7 answers.

use super::*;

fn refused(text: &str) -> String {
    let message = Ask::default().refusal(text);
    assert_eq!(refusal(prepare(text, Version::V4)), message, "{text}");
    message
}

fn number(bytes: Option<&[u8]>) -> i64 {
    i64::from_be_bytes(bytes.unwrap().try_into().unwrap())
}

#[test]
fn a_count_of_a_column_counts_where_it_is_set() {
    let answer =
        ask("SELECT count(KEY), count(truncated_at), count(tokens) AS t FROM system.local");
    let names = ["system.count(key)", "system.count(truncated_at)", "t"];
    assert_eq!(answer.names(), names);
    let counts = names.map(|name| number(answer.cell(name)));
    assert_eq!(counts, [1, 0, 1]);
    let peers = ask("SELECT count(peer) FROM system.peers");
    assert_eq!(number(peers.cell("system.count(peer)")), 0);
    let message = "Undefined column name nope in table system.local";
    assert_eq!(refused("SELECT count(nope) FROM system.local"), message);
}

#[test]
fn a_column_beside_a_count_is_the_first_rows_or_null() {
    let local = ask("SELECT key, count(*) FROM system.local");
    assert_eq!(
        (local.text("key"), number(local.cell("count"))),
        ("local", 1)
    );
    let peers = ask("SELECT count(*), peer FROM system.peers");
    assert_eq!((peers.cells.len(), number(peers.cell("count"))), (1, 0));
    assert_eq!(peers.cell("peer"), None);
}

#[test]
fn groups_are_the_rows_of_the_one_node() {
    let count = |text: &str| Ask::default().count(text);
    assert_eq!(count("SELECT key, rack FROM system.local GROUP BY key"), 1);
    assert_eq!(count("SELECT count(*) FROM system.local GROUP BY key"), 1);
    assert_eq!(count("SELECT count(*) FROM system.peers GROUP BY peer"), 0);
    let none = "SELECT count(*) FROM system.local WHERE key = 'x' GROUP BY key";
    assert_eq!(count(none), 0);
    let by_both = "SELECT peer FROM system.peers_v2 GROUP BY peer, peer_port";
    assert_eq!(count(by_both), 0);
    for fixed in ["peer = '::1'", "peer IN ('::1')"] {
        let text = format!("SELECT peer FROM system.peers_v2 WHERE {fixed} GROUP BY peer_port");
        assert_eq!(count(&text), 0);
    }

    let order = "Group by currently only support groups of columns following their declared order \
                 in the PRIMARY KEY";
    for by in ["peer_port", "peer_port, peer", "peer, peer"] {
        let text = format!("SELECT peer FROM system.peers_v2 GROUP BY {by}");
        assert_eq!(refused(&text), order);
    }
    assert_eq!(
        refused("SELECT key FROM system.local GROUP BY rack"),
        "Group by is currently only supported on the columns of the PRIMARY KEY, got rack"
    );
    assert_eq!(
        refused("SELECT key FROM system.local GROUP BY nope"),
        "Undefined column name nope in table system.local"
    );
}

#[test]
fn distinct_is_for_the_partition_key() {
    let count = |text: &str| Ask::default().count(text);
    assert_eq!(count("SELECT DISTINCT key, key AS k FROM system.local"), 1);
    let by_key = "SELECT DISTINCT count(*) FROM system.local WHERE key = 'x'";
    assert_eq!(count(by_key), 1);
    assert_eq!(count("SELECT DISTINCT peer FROM system.peers"), 0);

    let other = |name| {
        format!(
            "SELECT DISTINCT queries must only request partition key columns and/or static \
             columns (not {name})"
        )
    };
    let distinct = |rest: &str| refused(&format!("SELECT DISTINCT {rest}"));
    assert_eq!(distinct("key, rack FROM system.local"), other("rack"));
    assert_eq!(distinct("* FROM system.local"), other("bootstrapped"));
    assert_eq!(
        distinct("peer, peer_port FROM system.peers_v2"),
        other("peer_port")
    );
    assert_eq!(
        distinct("count(*) FROM system.local"),
        "SELECT DISTINCT queries must request all the partition key columns (missing key)"
    );
    assert_eq!(
        distinct("key FROM system.local WHERE rack = 'x'"),
        "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or \
         static columns."
    );
    assert_eq!(
        distinct("peer FROM system.peers_v2 GROUP BY peer, peer_port"),
        "Grouping on clustering columns is not allowed for SELECT DISTINCT queries"
    );
    assert_eq!(
        distinct("key FROM system.local PER PARTITION LIMIT 1"),
        "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries"
    );
}

#[test]
fn only_a_partition_can_be_ordered() {
    let v2 = |rest: &str| format!("SELECT peer FROM system.peers_v2 {rest}");
    for rest in ["peer = '::1'", "peer IN ('::1')"] {
        let text = v2(&format!("WHERE {rest} ORDER BY peer_port DESC, peer_port"));
        assert_eq!(Ask::default().count(&text), 0);
    }
    let whole =
        "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.";
    assert_eq!(refused(&v2("ORDER BY peer_port")), whole);
    assert_eq!(refused("SELECT * FROM system.local ORDER BY key"), whole);
    assert_eq!(
        refused("SELECT * FROM system.local WHERE key = 'local' ORDER BY key"),
        "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got key"
    );
    assert_eq!(
        refused("SELECT * FROM system.local ORDER BY nope"),
        "Undefined column name nope in table system.local"
    );
}

#[test]
fn a_limit_of_a_partition_is_looked_at_like_any_limit() {
    let text = "SELECT key FROM system.local PER PARTITION LIMIT ? LIMIT ?";
    let [one, zero] = [1_i32, 0].map(i32::to_be_bytes);
    let bind = |first: &[u8], second: &[u8]| Ask::default().bind(first).bind(second);
    assert_eq!(bind(&one, &one).count(text), 1);
    let positive = "LIMIT must be strictly positive";
    assert_eq!(bind(&zero, &one).refusal(text), positive);
    assert_eq!(bind(&one, &zero).refusal(text), positive);
    let literal = Ask::default().refusal("SELECT key FROM system.local PER PARTITION LIMIT 0");
    assert_eq!(literal, positive);
    let variables = names(prepare(text, Version::V4).unwrap().metadata.col_specs);
    let expected = ["[per_partition_limit]", "[limit]"].map(|it| (it.to_owned(), ColType::Int));
    assert_eq!(variables, expected);
    assert_eq!(
        refused("SELECT count(*) FROM system.local PER PARTITION LIMIT 1"),
        "PER PARTITION LIMIT is not allowed with aggregate queries."
    );
    let grouped = "SELECT count(*) FROM system.local GROUP BY key PER PARTITION LIMIT 1";
    assert_eq!(Ask::default().count(grouped), 1);
    let first = Ask::default().bind(&zero).bind_nothing(-1).refusal(text);
    assert_eq!(first, "Invalid null value of limit");
}

#[test]
fn json_is_one_text_a_row() {
    let json = |text: &str| {
        let answer = ask(text);
        assert_eq!(answer.columns, [("[json]".to_owned(), ColType::Varchar)]);
        answer.text("[json]").to_owned()
    };
    assert_eq!(
        json(
            "SELECT JSON key AS \"Dc\", rpc_address, rpc_port, tokens, host_id, truncated_at \
              FROM system.local"
        ),
        "{\"\\\"Dc\\\"\": \"local\", \"rpc_address\": \"10.1.2.3\", \"rpc_port\": 9042, \
         \"tokens\": [\"0\"], \"host_id\": \"00000000-0000-0000-0000-000000000007\", \
         \"truncated_at\": null}"
    );
    assert!(json("SELECT JSON * FROM system.local").starts_with("{\"key\": \"local\", "));
    assert_eq!(
        json("SELECT JSON count(*), count(peer) AS n, peer FROM system.peers"),
        "{\"count\": 0, \"n\": 0, \"peer\": null}"
    );
    assert_eq!(Ask::default().count("SELECT JSON * FROM system.peers"), 0);
    let skipping = Ask {
        skip_metadata: true,
        ..Ask::of(older())
    };
    let body = skipping.body("SELECT JSON * FROM system.local").unwrap();
    assert_eq!(decode(&body).columns.len(), 0);
    let six = json::row(
        [(
            "it",
            tables::Kind::Inet,
            Some(1_u128.to_be_bytes().to_vec()),
        )]
        .into_iter(),
    );
    assert_eq!(six, "{\"it\": \"0:0:0:0:0:0:0:1\"}");
}

#[test]
fn what_is_not_supported_is_told_with_the_tables_name() {
    let Class::Topology(Err(found)) = classify("SELECT min(key) FROM system.local").class else {
        panic!("no minimum yet");
    };
    let message = refusal::<()>(Err(unsupported(&found)));
    assert_eq!(
        message,
        "On system.local, which the proxy answers itself, the function min() is not supported"
    );
}
