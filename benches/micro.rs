//! What the small steps of a request cost: `cargo bench --bench micro`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use helix_proxy::statement::{classify, prepared};
use helix_proxy::wire::header::Direction;
use helix_proxy::wire::request::{Execute, Parameters, Values};
use helix_proxy::wire::{Consistency, Cursor, Frame, Opcode, Version, put};

/// Texts as drivers send them; the first is the measure: 150 bytes with the values inlined.
const TEXTS: [(&str, &str); 6] = [
    (
        "insert_150",
        "INSERT INTO shop.orders (id, customer, item, amount, note, placed) VALUES \
         (7134921, 'c-000481', 'espresso beans', 2, 'it''s a gift, wrap it', 1717171717);",
    ),
    (
        "insert_prepared",
        "INSERT INTO shop.orders (id, customer, item, amount, note, placed) VALUES \
         (?, ?, ?, ?, ?, ?)",
    ),
    (
        "select_point",
        "SELECT id, amount FROM shop.orders WHERE customer = ? AND id = ?",
    ),
    (
        "update_conditional",
        "UPDATE shop.orders USING TTL 60 SET amount = 3 WHERE id = 1 IF amount = 2",
    ),
    (
        "batch_of_three",
        "BEGIN UNLOGGED BATCH UPDATE shop.a SET v = 'x' WHERE k = 1; UPDATE shop.b SET v = 'x' \
         WHERE k = 1; DELETE FROM shop.c WHERE k = 1; APPLY BATCH",
    ),
    (
        "system_local",
        "SELECT * FROM system.local WHERE key='local'",
    ),
];

fn statement(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    for (name, text) in TEXTS {
        group.throughput(Throughput::Bytes(text.len().try_into().unwrap_or_default()));
        group.bench_function(name, |b| b.iter(|| classify(black_box(text))));
    }
    group.finish();
    let (_, text) = TEXTS[0];
    c.bench_function("prepared_id", |b| {
        b.iter(|| prepared::id(Some("shop"), black_box(text)));
    });
}

fn wire(c: &mut Criterion) {
    let mut bytes = Vec::new();
    for stream in 0..100 {
        let begun = put::begin(
            &mut bytes,
            (Version::V4, Direction::Request),
            0,
            stream,
            Opcode::Execute,
        );
        execute(None).put(&mut bytes, Version::V4);
        put::end(&mut bytes, begun);
    }
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(100));
    group.bench_function("scan_100", |b| {
        b.iter(|| {
            let mut rest = black_box(bytes.as_slice());
            while let Ok(Some((frame, behind))) = Frame::scan(rest, Direction::Request, 1 << 20) {
                black_box(frame);
                rest = behind;
            }
        });
    });
    group.finish();

    let mut body = Vec::new();
    execute(None).put(&mut body, Version::V4);
    let mut out = Vec::with_capacity(256);
    c.bench_function("timestamp_patch", |b| {
        b.iter(|| {
            out.clear();
            let mut request =
                Execute::parse(Cursor::new(black_box(&body)), Version::V4).expect("our own");
            request.parameters.timestamp = Some(black_box(1_717_171_717_000_000));
            request.put(&mut out, Version::V4);
            out.len()
        });
    });
}

/// An EXECUTE of six values, about 100 bytes.
fn execute(timestamp: Option<i64>) -> Execute<'static> {
    let bytes = b"\0\0\0\x04\0\0\0\x07\0\0\0\x08c-000481\0\0\0\x0despresso bea\0\0\0\x04\0\0\0\x02\0\0\0\x08a gift..\0\0\0\x08\0\0\x01\x8f\xd0\0\0\0";
    let values = Some(Values {
        count: 6,
        named: false,
        bytes,
    });
    let plain = Parameters::plain(Consistency(6));
    Execute {
        id: b"0123456789abcdef",
        columns: &[],
        parameters: Parameters {
            values,
            timestamp,
            ..plain
        },
    }
}

criterion_group!(micro, statement, wire);
criterion_main!(micro);
