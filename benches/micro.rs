//! What the small steps of a request cost: `cargo bench --bench micro`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use helix_proxy::statement::{classify, prepared};

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

criterion_group!(micro, statement);
criterion_main!(micro);
