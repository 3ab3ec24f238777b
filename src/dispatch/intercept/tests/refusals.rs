//! What a node would not answer either.

use super::*;

#[test]
fn what_cannot_be_asked_is_refused_in_the_nodes_words() {
    let refused = |text: &str| {
        let message = Ask::default().refusal(text);
        assert_eq!(refusal(prepare(text, Version::V4)), message, "{text}");
        message
    };
    let table = |rest: &str| refused(&format!("SELECT {rest}"));
    assert_eq!(
        table("x FROM system.local"),
        "Undefined column name x in table system.local"
    );
    assert_eq!(
        table("* FROM system.peers WHERE y = 1"),
        "Undefined column name y in table system.peers"
    );
    assert_eq!(
        table("* FROM system.local WHERE key = 5"),
        "Invalid INTEGER constant (5) for \"key\" of type text"
    );
    assert_eq!(
        table("* FROM system.local LIMIT 'x'"),
        "Invalid STRING constant (x) for \"[limit]\" of type int"
    );
    assert_eq!(
        table("* FROM system.local WHERE rpc_port = 99999999999"),
        "Unable to make int from '99999999999'"
    );
    assert_eq!(
        table("* FROM system.peers WHERE peer = 'x'"),
        "Unable to make inet address from 'x'"
    );
    assert_eq!(
        table("* FROM system.local WHERE tokens = '0'"),
        "Collection column 'tokens' (set<text>) cannot be restricted by a '=' relation"
    );
    let limit = Ask::default().refusal("SELECT * FROM system.peers LIMIT 0");
    assert_eq!(limit, "LIMIT must be strictly positive");
    let key = Ask::default().refusal("SELECT * FROM system.local WHERE key = ''");
    assert_eq!(key, "Key may not be empty");
}

#[test]
fn a_bad_bound_value_is_refused_though_another_condition_fails() {
    let text = "SELECT * FROM system.local WHERE key = ? AND host_id = ?";
    let first = Ask::default().bind(b"nobody");
    let message = first.clone().bind_nothing(-1).refusal(text);
    assert_eq!(
        message,
        "Invalid null value in condition for column host_id"
    );
    let unset = first.clone().bind_nothing(-2);
    assert_eq!(
        unset.refusal(text),
        "Invalid unset value for column host_id"
    );
    let v3 = Ask {
        version: Some(Version::V3),
        ..unset
    };
    assert_eq!(v3.refusal(text), message, "version 3 knows null alone");
    let short = first.clone().bind(&[0; 3]);
    assert_eq!(short.refusal(text), "UUID should be 16 or 0 bytes (3)");
    let missing = "there were 2 markers(?) in CQL but 1 bound variables";
    assert_eq!(first.refusal(text), missing);
    let unasked = Ask::default()
        .bind(b"x")
        .refusal("SELECT * FROM system.local");
    assert_eq!(
        unasked,
        "there were 0 markers(?) in CQL but 1 bound variables"
    );
    let text = "SELECT * FROM system.local WHERE key = ?";
    let letters = Ask::default().bind(&[0xFF]);
    assert_eq!(letters.refusal(text), "String didn't validate.");
}

#[test]
fn a_bad_list_or_limit_is_refused() {
    let list = "SELECT * FROM system.peers WHERE peer IN ?";
    let refused = |bytes: &[u8]| Ask::default().bind(bytes).refusal(list);
    let cut = "Not enough bytes to read a list";
    assert_eq!(refused(&[]), cut);
    assert_eq!(refused(&[0x7F, 0xFF, 0xFF, 0xFF]), cut);
    assert_eq!(refused(&[0, 0, 0, 0, 1]), cut);
    let null = [0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF];
    let message = "Invalid null value in condition for column peer";
    assert_eq!(refused(&null), message);
    let text = "SELECT * FROM system.peers LIMIT :most";
    let limit = |bytes: &[u8]| Ask::default().bind_named("most", bytes).refusal(text);
    assert_eq!(limit(&[0, 0]), "Invalid limit value");
    assert_eq!(limit(&[0; 4]), "LIMIT must be strictly positive");
    let null = Ask::default().bind_nothing(-1).refusal(text);
    assert_eq!(null, "Invalid null value of limit");
}
