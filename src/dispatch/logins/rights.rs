//! What a role is known to be allowed, by what clusters took from it.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::dispatch::known::Known;
use crate::dispatch::registry::Itself;
use crate::dispatch::request::What;

/// How long a write that a cluster took says that the next to its table is allowed.
const BELIEVED_FOR: Duration = Duration::from_secs(600);
/// Tables that are remembered for one role; at the limit it starts over.
const TABLES_MAX: usize = 4_096;

/// The tables that a role may write to, and since when that is known.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Rights(HashMap<u64, Instant, BuildHasherDefault<Itself>>);

impl Rights {
    /// A cluster took a write.
    pub(in crate::dispatch) fn took(&mut self, what: &What, keyspace: Option<&str>, now: Instant) {
        if TABLES_MAX <= self.0.len() {
            self.0.clear();
        }
        each(what, keyspace, |tables| {
            for table in tables {
                self.0.insert(*table, now);
            }
        });
    }

    /// A cluster refused one: what was known of its tables is not known any more.
    pub(in crate::dispatch) fn refused(&mut self, what: &What, keyspace: Option<&str>) {
        each(what, keyspace, |tables| {
            for table in tables {
                self.0.remove(table);
            }
        });
    }

    /// Whether a write is known to be allowed: all its tables are known.
    pub(in crate::dispatch) fn cover(
        &self,
        what: &What,
        keyspace: Option<&str>,
        now: Instant,
    ) -> bool {
        let is_fresh = |table: &u64| {
            let since = self.0.get(table);
            since.is_some_and(|since| now.saturating_duration_since(*since) < BELIEVED_FOR)
        };
        let (mut all, mut any) = (true, false);
        each(what, keyspace, |tables| {
            all &= !tables.is_empty() && tables.iter().all(is_fresh);
            any = true;
        });
        all && any
    }
}

/// The tables of each statement, as hashes; none where the table alone does not tell what is needed.
fn each(what: &What, keyspace: Option<&str>, mut tell: impl FnMut(&[u64])) {
    match what {
        What::Execute(entry) => tell(entry.known.tables(entry.template.keyspace.as_deref())),
        What::Query(known) | What::Prepare(known) => tell(known.tables(keyspace)),
        What::Batch(batch) => {
            for (entry, text) in batch.entries.iter().zip(&batch.texts) {
                let text: Option<&Rc<Known>> = text.as_ref();
                if let Some(entry) = entry {
                    tell(entry.known.tables(entry.template.keyspace.as_deref()));
                } else if let Some(known) = text {
                    tell(known.tables(keyspace));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::registry::{Prepared, Registry, Template};
    use crate::dispatch::request::Batched;
    use crate::replay::record::Repeat;
    use crate::statement::{Schema, classify_in, prepared};

    fn known(text: &str, keyspace: Option<&str>) -> Rc<Known> {
        let statement = classify_in(text, keyspace);
        let schema = Schema::default();
        Rc::new(Known::new(text.into(), statement, keyspace, &schema))
    }

    /// Prepared in this keyspace.
    fn execute(text: &str, keyspace: &str) -> What {
        let (registry, schema) = (Registry::new(false), Schema::default());
        let id = prepared::id(Some(keyspace), text).0;
        let what = (text.into(), classify_in(text, Some(keyspace)));
        registry.show(Template::new(id, Some(keyspace), what), 0);
        What::Execute(Prepared::default().get(&id, &registry, &schema).unwrap())
    }

    fn query(text: &str) -> What {
        What::Query(known(text, Some("ks")))
    }

    fn batch(texts: &[&str]) -> What {
        let texts: Vec<_> = texts.iter().map(|it| Some(known(it, Some("ks")))).collect();
        What::Batch(Rc::new(Batched {
            entries: texts.iter().map(|_| None).collect(),
            texts,
            needs_keyspace: true,
            repeat: Repeat::Yes,
            conditional: false,
            per_server: false,
            hash: 0,
        }))
    }

    const KS: Option<&str> = Some("ks");

    #[test]
    fn what_was_taken_covers_its_table_in_its_keyspace_for_a_while() {
        let (mut rights, now) = (Rights::default(), Instant::now());
        let insert = query("INSERT INTO t (k) VALUES (1)");
        assert!(!rights.cover(&insert, KS, now));
        rights.took(&insert, KS, now);
        assert!(rights.cover(&insert, KS, now));
        assert!(rights.cover(&query("DELETE FROM ks.t WHERE k = 2"), KS, now));
        let elsewhere = What::Query(known("INSERT INTO t (k) VALUES (1)", Some("other")));
        assert!(!rights.cover(&elsewhere, Some("other"), now));
        assert!(!rights.cover(&query("INSERT INTO u (k) VALUES (1)"), KS, now));
        assert!(!rights.cover(&insert, KS, now + BELIEVED_FOR));
        rights.refused(&query("UPDATE t SET v = 1 WHERE k = 1"), KS);
        assert!(!rights.cover(&insert, KS, now));
    }

    #[test]
    fn a_prepared_statement_writes_to_the_table_of_its_own_keyspace() {
        let (mut rights, now) = (Rights::default(), Instant::now());
        let text = "INSERT INTO t (k) VALUES (?)";
        rights.took(&execute(text, "ks"), Some("other"), now);
        assert!(rights.cover(&query("INSERT INTO t (k) VALUES (1)"), KS, now));
        assert!(rights.cover(&execute(text, "ks"), None, now));
        assert!(!rights.cover(&execute(text, "other"), KS, now));
    }

    #[test]
    fn a_batch_is_covered_if_all_its_tables_are() {
        let (mut rights, now) = (Rights::default(), Instant::now());
        let (t, u) = (
            "INSERT INTO t (k) VALUES (1)",
            "INSERT INTO u (k) VALUES (1)",
        );
        rights.took(&query(t), KS, now);
        assert!(rights.cover(&batch(&[t, t]), KS, now));
        assert!(!rights.cover(&batch(&[t, u]), KS, now));
        assert!(!rights.cover(&batch(&[]), KS, now));
        let text = format!("BEGIN BATCH {t}; {u}; APPLY BATCH");
        assert!(!rights.cover(&query(&text), KS, now));
        rights.took(&batch(&[t, u]), KS, now);
        assert!(rights.cover(&query(&text), KS, now));
    }

    #[test]
    fn a_function_of_the_users_own_needs_more_than_its_table() {
        let (mut rights, now) = (Rights::default(), Instant::now());
        rights.took(&query("INSERT INTO t (k) VALUES (1)"), KS, now);
        for call in ["ks.f(1)", "ks.abs(1)", "ks.x_as_blob(1)", "sum(1), ks.f(1)"] {
            let calls = query(&format!("INSERT INTO t (k, v) VALUES ({call}, 1)"));
            assert!(!rights.cover(&calls, KS, now));
            rights.took(&calls, KS, now);
            assert!(!rights.cover(&calls, KS, now));
        }
    }
}
