//! What is remembered, for how long, and what clients may be spared.

use std::rc::Rc;

use super::*;
use crate::statement::Schema;
use crate::statement::classify_in;
use crate::wire::Version;

fn template(number: u64, length: usize) -> Template {
    let mut id = Id::default();
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    let text = format!("SELECT v FROM ks.t WHERE k = {number}");
    let statement = classify_in(&text, None);
    let text = text.clone() + &" ".repeat(length.saturating_sub(text.len()));
    Template::new(id, None, (Arc::from(text), statement))
}

#[test]
fn long_texts_are_bounded_by_their_bytes() {
    let (registry, prepared) = (Registry::new(false), Prepared::default());
    let schema = Schema::default();
    let length = 1024 * 1024;
    for number in 0..500 {
        let template = template(number, length);
        let id = template.id;
        registry.show(template, 0);
        assert!(prepared.get(&id, &registry, &schema).is_some());
    }
    let held = BYTES_MAX / length;
    assert!(registry.len() <= held && held / 2 < registry.len());
    assert!(prepared.entries.borrow().len() <= held);
}

#[test]
fn a_hundred_thousand_usual_statements_are_all_remembered() {
    let registry = Registry::new(false);
    for number in 0..100_000 {
        registry.show(template(number, 80), 0);
    }
    assert_eq!(registry.len(), 100_000);
}

#[test]
fn what_a_thread_uses_is_not_forgotten_for_what_others_add() {
    let registry = Registry::bounded(false, 256 * (OVERHEAD + USUAL));
    let schema = Schema::default();
    let (busy, other) = (Prepared::default(), Prepared::default());
    let show = |number| registry.show(template(number, USUAL), 0).id;
    let (hot, cold): (Vec<_>, Id) = ((0..100).map(show).collect(), show(100));
    for number in 101..4_000 {
        let id = show(number);
        assert!(other.get(&id, &registry, &schema).is_some(), "just added");
        for id in &hot {
            assert!(busy.get(id, &registry, &schema).is_some(), "{number}");
        }
    }
    assert!(registry.len() <= 256);
    assert!(registry.get(&cold).is_none(), "nobody used it");
    // As after a schema change, or on another thread.
    busy.clear();
    let forgotten = hot
        .iter()
        .filter(|id| busy.get(&**id, &registry, &schema).is_none());
    assert_eq!(forgotten.count(), 0);
}

#[test]
fn the_registry_is_told_in_small_parts_of_what_is_used() {
    let registry = Registry::bounded(false, 512 * (OVERHEAD + USUAL));
    let schema = Schema::default();
    let prepared = Prepared::default();
    let all: Vec<_> = (0..300)
        .map(|number| registry.show(template(number, USUAL), 0).id)
        .collect();
    let use_all = || {
        for id in &all {
            assert!(prepared.get(id, &registry, &schema).is_some());
        }
    };
    use_all();
    use_all();
    assert_eq!(prepared.used.borrow().len(), 300);
    for number in 300..400 {
        registry.show(template(number, USUAL), 0);
    }
    prepared.get(&all[0], &registry, &schema);
    let left = prepared.used.borrow().len();
    assert!((200..300).contains(&left), "{left}");
    use_all();
    assert!(prepared.used.borrow().len() <= 300, "each once");
}

fn node(columns_id: &[u8], columns: u64) -> Arc<Node> {
    Arc::new(Node {
        id: Box::from(&b"id"[..]),
        columns_id: Box::from(columns_id),
        columns,
        variables: 0,
        key: Box::default(),
    })
}

/// A statement that one client was shown these columns of, on one thread.
fn shown(columns: u64, alone: bool) -> (Registry, Rc<Entry>) {
    let registry = Registry::new(alone);
    registry.show(template(1, 0), columns);
    let template = registry.get(&template(1, 0).id).unwrap();
    let entry = Entry::new(template, &Schema::default(), alone);
    (registry, Rc::new(entry))
}

#[test]
fn what_a_client_knows_of_the_columns_is_told_in_each_clusters_own_words() {
    let (registry, entry) = shown(7, false);
    let learn = |side, node| {
        registry.learn(&entry.template, side, node);
        entry.renew(side);
    };
    let told = |side, known: &[u8]| {
        let own = entry.called(side).unwrap();
        entry.columns_id(side, &own, known).to_vec()
    };
    learn(Side::A, node(b"of A", 7));
    learn(Side::B, node(b"of B", 7));
    assert_eq!(told(Side::B, b"of A"), b"of B");
    assert_eq!(told(Side::A, b"of B"), b"of A");
    assert_eq!(told(Side::A, b"of A"), b"of A");
    // What nobody called so is passed on: the node will say that the columns changed.
    assert_eq!(told(Side::A, b"old"), b"old");
    // A client of version 4 had it prepared again: what version 5 was told stays.
    learn(Side::B, node(b"", 7));
    assert_eq!(told(Side::B, b"of A"), b"of B");
    // Other columns on the other side.
    learn(Side::B, node(b"of B", 8));
    assert_eq!(told(Side::B, b"of A"), b"of A");
    // A side that was never asked in version 5.
    learn(Side::B, node(b"", 7));
    assert_eq!(told(Side::B, b"of A"), b"of A");
    assert_eq!(told(Side::A, b""), b"");
}

/// A client of version 5 prepares what others use in version 4, maybe on another thread.
#[test]
fn what_a_cluster_calls_the_columns_is_heard_by_those_who_hold_the_statement_already() {
    let (registry, entry) = shown(7, false);
    let learn = |side, id: &[u8]| registry.learn(&entry.template, side, node(id, 7));
    let told = |side, known: &[u8]| {
        entry.hear_columns_ids();
        let own = entry.called(side).unwrap();
        entry.columns_id(side, &own, known).to_vec()
    };
    learn(Side::A, b"");
    learn(Side::B, b"of B");
    assert_eq!(told(Side::B, b"of A"), b"of A");
    learn(Side::A, b"of A");
    assert_eq!(told(Side::B, b"of A"), b"of B");
    assert_eq!(told(Side::A, b"of B"), b"of A");
}

#[test]
fn rows_go_without_columns_only_to_clients_that_surely_know_them() {
    let (registry, entry) = shown(7, false);
    let learn = |side, columns| registry.learn(&entry.template, side, node(b"", columns));
    let skips = || [Version::V4, Version::V5].map(|version| entry.may_skip(version));
    learn(Side::A, 7);
    assert!(!entry.asks());
    assert_eq!(skips(), [false, false], "B may have others");
    assert!(entry.asks());
    entry.asked();
    assert_eq!((skips(), entry.asks()), ([false, false], false));
    learn(Side::B, 8);
    assert_eq!(skips(), [false, false], "B has others");
    // Both were altered, the client knows the old ones: one of version 5 says so.
    learn(Side::A, 8);
    assert_eq!(skips(), [false, true]);
    // As before.
    learn(Side::A, 7);
    learn(Side::B, 7);
    assert_eq!(skips(), [true, true]);
}

/// The same statement as another thread finds it.
fn looked_up(prepared: &Prepared, registry: &Registry, entry: &Entry) -> Rc<Entry> {
    let found = prepared.get(&entry.template.id, registry, &Schema::default());
    found.unwrap()
}

#[test]
fn clients_that_were_shown_different_columns_are_always_told_them() {
    let (registry, entry) = shown(7, false);
    for side in Side::ALL {
        registry.learn(&entry.template, side, node(b"", 7));
    }
    let prepared = Prepared::default();
    let get = || looked_up(&prepared, &registry, &entry);
    assert!(get().may_skip(Version::V4));
    // Another thread prepares it and is told others; then the old ones again.
    registry.show(template(1, 0), 8);
    registry.show(template(1, 0), 7);
    assert!(!get().may_skip(Version::V4));
    assert!(get().may_skip(Version::V5));
}

#[test]
fn columns_that_changed_are_known_to_all_threads_at_once() {
    let (registry, entry) = shown(7, true);
    registry.learn(&entry.template, Side::A, node(b"", 7));
    let prepared = Prepared::default();
    let get = || looked_up(&prepared, &registry, &entry);
    assert!(get().may_skip(Version::V4), "there is no other cluster");
    registry.learn(&entry.template, Side::A, node(b"", 9));
    assert!(!get().may_skip(Version::V4));
    assert_eq!(get().called(Side::A).unwrap().columns, 9);
}
