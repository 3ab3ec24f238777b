//! Rows: which columns, which cells, and whether the node is among them.

use super::*;

#[test]
fn what_drivers_send_is_answered() {
    let local = [
        // python
        "SELECT * FROM system.local WHERE key='local'",
        "SELECT host_id, cluster_name, data_center, rack, partitioner, release_version, \
         schema_version FROM system.local WHERE key='local'",
        "SELECT schema_version FROM system.local WHERE key='local'",
        "SELECT rpc_address FROM system.local WHERE key='local'",
        // java 4
        "SELECT * FROM system.local",
        "SELECT cluster_name FROM system.local",
        // node
        "SELECT * FROM system.local WHERE key='local'",
        // rust scylla
        "select host_id, rpc_address, data_center, rack, tokens from system.local \
         WHERE key='local'",
        // cqlsh
        "select release_version, cql_version, native_protocol_version from system.local \
         where key = 'local'",
        "select partitioner from system.local where key='local'",
    ];
    for text in local {
        assert_eq!(ask(text).cells.len(), 1, "{text}");
        prepare(text, Version::V3).unwrap();
        prepare(text, Version::V4).unwrap();
    }
    let none = [
        // python
        "SELECT * FROM system.peers_v2",
        "SELECT peer, host_id, rpc_address, schema_version FROM system.peers",
        "SELECT host_id, peer, peer_port, native_address, native_port, schema_version \
         FROM system.peers_v2",
        // gocql, node
        "SELECT * FROM system.peers",
        // java 4
        "SELECT host_id, schema_version FROM system.peers",
        "SELECT * FROM system.peers WHERE peer = '10.0.0.1'",
        // rust scylla
        "select peer, data_center, rack, tokens from system.peers",
        "select host_id, rpc_address, data_center, rack, tokens from system.peers",
    ];
    for text in none {
        let answer = ask(text);
        assert_eq!(answer.cells.len(), 0, "{text}");
        assert!(!answer.columns.is_empty());
        prepare(text, Version::V3).unwrap();
        prepare(text, Version::V4).unwrap();
    }
}

#[test]
fn the_one_node_is_the_address_that_was_dialled() {
    let answer = ask("SELECT * FROM system.local");
    for column in ["rpc_address", "broadcast_address", "listen_address"] {
        assert_eq!(answer.cell(column), Some(&[10, 1, 2, 3][..]));
    }
    assert_eq!(answer.cell("rpc_port"), Some(&[0, 0, 0x23, 0x52][..]));
    assert_eq!(answer.text("key"), "local");
    assert_eq!(answer.text("cluster_name"), "shop");
    assert_eq!(answer.text("data_center"), "dc1");
    assert_eq!(answer.text("rack"), "r1");
    assert_eq!(answer.text("release_version"), "5.0.7");
    assert_eq!(answer.text("native_protocol_version"), "4");
    assert_eq!(answer.cell("host_id"), Some(&7_u128.to_be_bytes()[..]));
    assert_eq!(
        answer.cell("schema_version"),
        Some(&9_u128.to_be_bytes()[..])
    );
    assert_eq!(answer.cell("truncated_at"), None);
    let one_token: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1, b'0'];
    assert_eq!(answer.cell("tokens"), Some(one_token));
}

#[test]
fn an_address_of_either_version_is_told_as_itself() {
    let dialled = |address: &str| {
        let select = select("SELECT rpc_address FROM system.local");
        let (address, mut out) = (address.parse().unwrap(), Vec::new());
        rows(
            &select,
            &facts(),
            address,
            None,
            false,
            Version::V4,
            &mut out,
        )
        .unwrap();
        decode(&out).cell("rpc_address").unwrap().to_vec()
    };
    assert_eq!(dialled("127.0.0.1:1"), [127, 0, 0, 1]);
    assert_eq!(dialled("[::ffff:127.0.0.1]:1"), [127, 0, 0, 1]);
    assert_eq!(dialled("[::1]:1"), 1_u128.to_be_bytes());
}

#[test]
fn all_columns_come_key_first_and_then_by_name() {
    let local = ask("SELECT * FROM system.local");
    let first_and_rest = |answer: &Answer, keys: usize| {
        let names = answer.names();
        assert!(names[keys..].is_sorted());
        names.len()
    };
    assert_eq!(first_and_rest(&local, 1), 20);
    assert_eq!(local.columns[0], ("key".into(), ColType::Varchar));
    let kind = |name: &str| {
        let found = local.columns.iter().find(|(it, _)| it == name);
        found.unwrap().1
    };
    assert_eq!(kind("tokens"), ColType::Set);
    assert_eq!(kind("truncated_at"), ColType::Map);
    assert_eq!(kind("rpc_address"), ColType::Inet);
    assert_eq!(kind("rpc_port"), ColType::Int);
    assert_eq!(kind("host_id"), ColType::Uuid);
    assert_eq!(first_and_rest(&ask("SELECT * FROM system.peers"), 1), 9);
    assert_eq!(first_and_rest(&ask("SELECT * FROM system.peers_v2"), 2), 12);
}

#[test]
fn a_release_before_4_has_no_peers_v2_and_no_ports() {
    let old = Ask::of(older());
    let message = old.refusal("SELECT * FROM system.peers_v2");
    assert_eq!(message, "unconfigured table peers_v2");
    let local = decode(&old.body("SELECT * FROM system.local").unwrap());
    assert_eq!(local.columns.len(), 17);
    assert!(local.names().iter().all(|name| !name.ends_with("_port")));
    let message = old.refusal("SELECT rpc_port FROM system.local");
    let expected = "Undefined column name rpc_port in table system.local";
    assert_eq!(message, expected);
    assert_eq!(old.count("SELECT * FROM system.peers"), 0);
}

#[test]
fn metadata_is_skipped_only_where_prepare_told_the_same() {
    let skipping = |facts| Ask {
        skip_metadata: true,
        ..Ask::of(facts)
    };
    let star = "SELECT * FROM system.local";
    let new = decode(&skipping(facts()).body(star).unwrap());
    assert_eq!((new.columns.len(), new.cells[0].len()), (0, 20));
    let old = decode(&skipping(older()).body(star).unwrap());
    assert_eq!((old.columns.len(), old.cells[0].len()), (17, 17));
    let one = decode(
        &skipping(older())
            .body("SELECT key FROM system.local")
            .unwrap(),
    );
    assert_eq!((one.columns.len(), one.cells[0].len()), (0, 1));
    let count = skipping(older()).body("SELECT count(*) FROM system.local");
    assert_eq!(
        hex(&count.unwrap()),
        "00000002000000040000000100000001000000080000000000000001"
    );
}

#[test]
fn columns_take_aliases_and_come_as_often_as_they_are_asked_for() {
    let answer = ask("SELECT rack AS r, rack, data_center AS \"Dc\" FROM system.local");
    assert_eq!(answer.names(), ["r", "rack", "Dc"]);
    assert_eq!((answer.text("r"), answer.text("rack")), ("r1", "r1"));
    assert_eq!(answer.text("Dc"), "dc1");
}

#[test]
fn a_count_is_always_one_row() {
    let counted = |text: &str, name: &str| {
        let answer = ask(text);
        assert_eq!(answer.columns, [(name.to_owned(), ColType::Bigint)]);
        assert_eq!(answer.cells.len(), 1);
        i64::from_be_bytes(answer.cells[0][0].as_deref().unwrap().try_into().unwrap())
    };
    assert_eq!(counted("SELECT count(*) FROM system.local", "count"), 1);
    assert_eq!(counted("SELECT count(1) AS n FROM system.peers", "n"), 0);
    let other = "SELECT COUNT(*) FROM system.local WHERE key = 'x' LIMIT 1";
    assert_eq!(counted(other, "count"), 0);
}

#[test]
fn every_condition_must_hold() {
    let count = |filter: &str| {
        let text = format!("SELECT key FROM system.local WHERE {filter} ALLOW FILTERING");
        Ask::default().count(&text)
    };
    assert_eq!(count("key = 'local'"), 1);
    assert_eq!(count("key = 'Local'"), 0);
    assert_eq!(count("key IN ('x', 'local')"), 1);
    assert_eq!(count("key IN ()"), 0);
    assert_eq!(count("key = 'local' AND rack = 'r1'"), 1);
    assert_eq!(count("key = 'local' AND rack = 'r2'"), 0);
    assert_eq!(count("rpc_address = '10.1.2.3'"), 1);
    assert_eq!(count("rpc_address = '::ffff:10.1.2.3'"), 1);
    assert_eq!(count("rpc_address = '::1'"), 0);
    assert_eq!(count("rpc_port = 9042"), 1);
    assert_eq!(count("host_id = 00000000-0000-0000-0000-000000000007"), 1);
    assert_eq!(count("gossip_generation = 1"), 0);
    assert_eq!(count("rack = ''"), 0);
}

#[test]
fn bound_values_count_like_literals() {
    let by_key = "SELECT key FROM system.local WHERE key = ?";
    assert_eq!(Ask::default().bind(b"local").count(by_key), 1);
    assert_eq!(Ask::default().bind(b"other").count(by_key), 0);
    let two = "SELECT key FROM system.local WHERE key = ? AND rpc_port = ? LIMIT ?";
    let bound = Ask::default().bind(b"local").bind(&9_042_i32.to_be_bytes());
    assert_eq!(bound.clone().bind(&1_i32.to_be_bytes()).count(two), 1);
    assert_eq!(bound.bind_nothing(-2).count(two), 1, "unset is no limit");
    let list = "SELECT key FROM system.local WHERE key IN ?";
    let pair = [&[0, 0, 0, 2, 0, 0, 0, 1][..], b"x", &[0, 0, 0, 5], b"local"].concat();
    assert_eq!(Ask::default().bind(&pair).count(list), 1);
    assert_eq!(Ask::default().bind(&[0; 4]).count(list), 0);
    let either = "SELECT key FROM system.local WHERE key IN (?, 'x', ?)";
    let bound = Ask::default().bind(b"y").bind(b"local");
    assert_eq!(bound.count(either), 1);
}

#[test]
fn named_values_find_their_markers_in_any_order() {
    let text = "SELECT key FROM system.local WHERE key = :k AND rack = :r";
    let bound = Ask::default()
        .bind_named("r", b"r1")
        .bind_named("unheard", b"")
        .bind_named("k", b"local")
        .bind_named("k", b"only the first counts");
    assert_eq!(bound.count(text), 1);
    let by_column = "SELECT key FROM system.local WHERE key = ?";
    assert_eq!(
        Ask::default().bind_named("key", b"local").count(by_column),
        1
    );
    let java = "SELECT * FROM system.peers_v2 WHERE peer = :address and peer_port = :port";
    let bound = Ask::default()
        .bind_named("address", &[10, 0, 0, 1])
        .bind_named("port", &7_000_i32.to_be_bytes());
    assert_eq!(bound.count(java), 0);
    let message = Ask::default().bind_named("k", b"local").refusal(text);
    assert_eq!(
        message,
        "there were 2 markers(?) in CQL but 1 bound variables"
    );
}
