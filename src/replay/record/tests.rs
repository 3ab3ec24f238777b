//! What is written is read back; what was damaged is refused.

use proptest::prelude::*;

use super::*;

fn sample<'a>(statements: &'a [Child<'a>]) -> Draft<'a> {
    Draft {
        id: *b"0123456789abcdef",
        origin: "proxy-1",
        statements,
        batch: Batch::None,
        consistency: 6,
        serial: None,
        timestamp: Some(1_700_000_000_000_000),
        ttl_base: 1_700_000_000,
        priority: Priority::High,
        partition: 42,
        enqueued_at: 1_700_000_000_000_001,
        reason: Reason::Timeout,
        repeat: Repeat::Yes,
        single_partition: true,
        table: Some(("shop", "orders")),
        table_id: Some([7; 16]),
    }
}

const CHILD: Child<'_> = Child {
    text: "INSERT INTO orders (id, v, w) VALUES (?, ?, ?)",
    keyspace: Some("shop"),
    bind_types: 0xFEED,
    values: b"\x00\x00\x00\x02k1\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE",
    count: 3,
    named: false,
};

fn encoded() -> Vec<u8> {
    let mut out = Vec::new();
    sample(&[CHILD]).encode(&mut out);
    out
}

/// Gives bytes a right checksum, so that what lies behind it is looked at.
fn seal(bytes: &mut [u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..1]);
    crc.update(&bytes[5..]);
    let crc = crc.finalize().to_be_bytes();
    bytes[1..5].copy_from_slice(&crc);
}

#[test]
fn version_1_is_these_bytes() {
    let hex: String = encoded().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

const GOLDEN: &str = "01e1d94b1700060a24181e400130313233343536373839616263646566002e020100000600000000\
    0000002a000000006553f10000060a24181e40000707070707070707070707070707070700077072\
    6f78792d31000473686f7000066f726465727300010000002e494e5345525420494e544f206f7264\
    657273202869642c20762c2077292056414c55455320283f2c203f2c203f2902000473686f700000\
    00000000feed00030000000e000000026b31fffffffffffffffe";

#[test]
fn null_unset_and_empty_are_kept_apart() {
    let child = Child {
        values: b"\x00\x01a\x00\x00\x00\x00\x00\x01b\xFF\xFF\xFF\xFF\x00\x01c\xFF\xFF\xFF\xFE",
        named: true,
        ..CHILD
    };
    let mut out = Vec::new();
    sample(&[child]).encode(&mut out);
    let record = Record::decode(&out).unwrap();
    let values: Vec<_> = record.statements[0].values().collect();
    assert_eq!(
        values,
        [
            (Some("a"), Value::Bytes(b"")),
            (Some("b"), Value::Null),
            (Some("c"), Value::Unset)
        ]
    );
}

#[test]
fn the_time_of_enqueueing_can_be_read_alone() {
    assert_eq!(enqueued_at(&encoded()), Some(1_700_000_000_000_001));
    assert_eq!(enqueued_at(b"\x01\0\0"), None);
    assert_eq!(enqueued_at(&[9; 64]), None);
}

#[test]
fn a_record_cut_at_any_byte_is_refused() {
    let whole = encoded();
    for end in 0..whole.len() {
        assert!(Record::decode(&whole[..end]).is_err(), "cut at {end}");
        let mut cut = whole[..end].to_vec();
        if 5 <= end {
            seal(&mut cut);
            assert!(
                Record::decode(&cut).is_err(),
                "cut at {end} with a right checksum"
            );
        }
    }
}

#[test]
fn any_flipped_bit_is_found() {
    let whole = encoded();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn other_versions_are_refused_by_name() {
    for version in [0, 2, 255] {
        let mut bytes = encoded();
        bytes[0] = version;
        seal(&mut bytes);
        assert_eq!(Record::decode(&bytes), Err(Malformed::Version(version)));
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = encoded();
    bytes.push(0);
    assert_eq!(Record::decode(&bytes), Err(Malformed::Checksum));
    seal(&mut bytes);
    assert_eq!(Record::decode(&bytes), Err(Malformed::Trailing));
}

#[test]
fn values_that_are_not_as_many_as_said_are_refused() {
    for count in [0, 2, 4] {
        let mut out = Vec::new();
        sample(&[Child { count, ..CHILD }]).encode(&mut out);
        assert_eq!(
            Record::decode(&out),
            Err(Malformed::Value),
            "{count} values"
        );
    }
}

#[test]
fn a_record_without_a_statement_is_refused() {
    let mut out = Vec::new();
    sample(&[]).encode(&mut out);
    assert_eq!(
        Record::decode(&out),
        Err(Malformed::Field("number of statements"))
    );
}

type Bound = (String, Option<Option<Vec<u8>>>);
/// Where its names are looked up, and the fingerprint of its types.
type Meant = (Option<String>, u64);

fn bound() -> impl Strategy<Value = (String, Vec<Bound>, bool, Meant)> {
    let value = proptest::option::of(proptest::option::of(any::<Vec<u8>>()));
    let values = proptest::collection::vec(("[a-z]{1,6}", value), 0..5);
    (".{0,60}", values, any::<bool>(), any::<Meant>())
}

fn on_the_wire(values: &[Bound], named: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in values {
        if named {
            out.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            out.extend(name.as_bytes());
        }
        match value {
            None => out.extend((-2_i32).to_be_bytes()),
            Some(None) => out.extend((-1_i32).to_be_bytes()),
            Some(Some(bytes)) => {
                out.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                out.extend(bytes);
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        children in proptest::collection::vec(bound(), 1..4),
        serial in any::<Option<u16>>(),
        timestamp in any::<Option<i64>>(),
        table_id in any::<Option<[u8; 16]>>(),
        table in any::<Option<(String, String)>>(),
        numbers in any::<(u64, i64, i64, u16)>(),
        bits in any::<(bool, bool)>(),
        kinds in (1_u8..=9, 1_u8..=3, 0_u8..=3),
    ) {
        let wire: Vec<_> =
            children.iter().map(|(_, values, named, _)| on_the_wire(values, *named)).collect();
        let statements: Vec<_> = children
            .iter()
            .zip(&wire)
            .map(|((text, values, named, meant), bytes)| Child {
                text,
                keyspace: meant.0.as_deref(),
                bind_types: meant.1,
                values: bytes,
                count: u16::try_from(values.len()).unwrap(),
                named: *named,
            })
            .collect();
        let draft = Draft {
            statements: &statements,
            batch: Batch::from_code(kinds.2).unwrap(),
            consistency: numbers.3,
            serial,
            timestamp,
            ttl_base: numbers.1,
            priority: if bits.0 { Priority::Low } else { Priority::High },
            partition: numbers.0,
            enqueued_at: numbers.2,
            reason: Reason::from_code(kinds.0).unwrap(),
            repeat: Repeat::from_code(kinds.1).unwrap(),
            single_partition: bits.1,
            table: table.as_ref().map(|(keyspace, name)| (keyspace.as_str(), name.as_str())),
            table_id,
            ..sample(&[])
        };
        let mut out = b"before".to_vec();
        draft.encode(&mut out);
        let record = Record::decode(&out[6..]).unwrap();

        prop_assert_eq!(record.id, draft.id);
        prop_assert_eq!(record.origin.as_str(), draft.origin);
        prop_assert_eq!((record.batch, record.consistency), (draft.batch, draft.consistency));
        prop_assert_eq!((record.serial, record.timestamp), (draft.serial, draft.timestamp));
        prop_assert_eq!((record.ttl_base, record.priority), (draft.ttl_base, draft.priority));
        prop_assert_eq!((record.partition, record.enqueued_at), (draft.partition, draft.enqueued_at));
        prop_assert_eq!((record.reason, record.repeat), (draft.reason, draft.repeat));
        prop_assert_eq!(record.single_partition, draft.single_partition);
        prop_assert_eq!(&record.table, &table);
        prop_assert_eq!(record.table_id, draft.table_id);
        for (read, (text, values, named, meant)) in record.statements.iter().zip(&children) {
            prop_assert_eq!(&read.text, text);
            prop_assert_eq!((&read.keyspace, read.bind_types), (&meant.0, meant.1));
            prop_assert_eq!(read.named, *named);
            prop_assert_eq!(read.values().count(), values.len());
            prop_assert_eq!(&read.values, &on_the_wire(values, *named));
        }
        prop_assert_eq!(record.statements.len(), children.len());
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(Record::decode(&bytes));
        if 5 <= bytes.len() {
            bytes[0] = VERSION;
            seal(&mut bytes);
            drop(Record::decode(&bytes));
        }
    }

    #[test]
    fn damage_behind_a_right_checksum_never_panics(at in 5_usize..200, byte in any::<u8>()) {
        let mut bytes = encoded();
        let at = at % bytes.len();
        bytes[at.max(5)] = byte;
        bytes[0] = VERSION;
        seal(&mut bytes);
        drop(Record::decode(&bytes));
    }
}
