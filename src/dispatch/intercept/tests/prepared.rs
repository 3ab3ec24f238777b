//! PREPARE, and bodies to the byte.

use super::*;

#[test]
fn prepare_tells_variables_with_their_names_and_types() {
    let text = "SELECT rack FROM system.local WHERE key = ? AND rpc_port IN ? AND rack = :r \
                AND host_id IN (?) LIMIT ?";
    for version in Version::ALL {
        let prepared = prepare(text, version).unwrap();
        let table = prepared.metadata.global_table_spec.unwrap();
        assert_eq!((&*table.ks_name, &*table.table_name), ("system", "local"));
        let variables = names(prepared.metadata.col_specs);
        let expected = [
            ("key", ColType::Varchar),
            ("in(rpc_port)", ColType::List),
            ("r", ColType::Varchar),
            ("host_id", ColType::Uuid),
            ("[limit]", ColType::Int),
        ];
        let expected = expected.map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(variables, expected);
        let result = names(prepared.result_metadata.col_specs);
        assert_eq!(result, [("rack".to_owned(), ColType::Varchar)]);
    }
}

#[test]
fn prepare_tells_the_place_of_the_routing_key() {
    let key = |text: &str| prepare(text, Version::V4).unwrap().metadata.pk_indexes;
    assert_eq!(
        key("SELECT * FROM system.local WHERE rack = ? AND key = ?"),
        [1]
    );
    assert_eq!(key("SELECT * FROM system.peers WHERE peer = :peer"), [0]);
    assert!(key("SELECT * FROM system.peers_v2 WHERE peer_port = ?").is_empty());
    assert!(key("SELECT * FROM system.local WHERE key = 'local'").is_empty());
    assert!(key("SELECT * FROM system.local WHERE key IN ?").is_empty());
}

#[test]
fn bodies_are_these_bytes() {
    let body = Ask::default().body("SELECT key FROM system.local WHERE key = 'local'");
    let table = format!("0006{}0005{}", hex(b"system"), hex(b"local"));
    let column = format!("0003{}000d", hex(b"key"));
    let columns = format!("0000000100000001{table}{column}");
    assert_eq!(
        hex(&body.unwrap()),
        format!("00000002{columns}0000000100000005{}", hex(b"local"))
    );
    let select = select("SELECT key FROM system.local WHERE key = ?");
    let written = |version| {
        let mut out = Vec::new();
        prepared(&select, &[0xAB, 0xCD], version, &mut out).unwrap();
        hex(&out)
    };
    let head = "000000040002abcd0000000100000001";
    assert_eq!(
        written(Version::V4),
        format!("{head}000000010000{table}{column}{columns}")
    );
    assert_eq!(
        written(Version::V3),
        format!("{head}{table}{column}{columns}")
    );
}
