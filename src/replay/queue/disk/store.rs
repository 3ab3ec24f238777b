//! The SQL of the disk queue: one connection, prepared statements, no decisions.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::pair::Side;
use crate::replay::queue::ledger::State;
use crate::replay::{DeadLetter, Parked, Seq, record};

/// The layout of the tables; other layouts are refused.
pub(super) const LAYOUT: i64 = 1;

/// "hlxq" in the file's header: tells a queue from any other database.
const APPLICATION: i64 = 0x686C_7871;

/// Of the file and of its log: larger ones cost less a record, and more a lone commit.
pub(super) const PAGE_BYTES: u32 = 8_192;

/// As many as SQLite takes.
pub(super) const PAGES_MAX: u32 = u32::MAX - 1;

const TABLES: &str = "
    CREATE TABLE record (seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, body BLOB NOT NULL);
    CREATE TABLE dead (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        seq INTEGER NOT NULL, side INTEGER NOT NULL, reason TEXT NOT NULL, error TEXT NOT NULL,
        parked_at INTEGER NOT NULL, body BLOB NOT NULL,
        UNIQUE (seq, side));
    CREATE TABLE mark (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        settled INTEGER NOT NULL, high INTEGER NOT NULL, clock INTEGER NOT NULL);
    INSERT INTO mark VALUES (1, 0, 0, 0);
    CREATE TABLE fact (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;";

/// What holds for the whole file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// No record up to here has a live side any more, whatever its row says.
    pub(super) settled: i64,
    /// The highest number ever stored.
    pub(super) high: i64,
    /// The clock's reserved ceiling (S25).
    pub(super) clock: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    log_pages: Arc<AtomicI32>,
}

impl Store {
    /// Opens the file, creating the tables in an empty one. `Err(Ok(layout))` if it is not ours.
    pub(super) fn open(
        path: &Path,
        pages_max: Option<u32>,
    ) -> std::result::Result<Self, std::result::Result<i64, rusqlite::Error>> {
        let mut store = Self::connect(path, pages_max).map_err(Err)?;
        let layout = store.layout().map_err(Err)?;
        if layout != LAYOUT {
            return Err(Ok(layout));
        }
        store.watch_log().map_err(Err)?;
        Ok(store)
    }

    fn connect(path: &Path, pages_max: Option<u32>) -> Result<Self> {
        let db = Connection::open(path)?;
        // The writer checkpoints itself; a connection that failed must not write on its way out.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // One process has the file (S28), so the log's index stays in its own memory.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db.pragma_update(None, "page_size", PAGE_BYTES)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "cache_size", -16_384)?;
        db.set_prepared_statement_cache_capacity(32);
        let store = Self {
            db,
            log_pages: Arc::default(),
        };
        store.bound(pages_max.unwrap_or(PAGES_MAX))?;
        Ok(store)
    }

    /// Fails as on a full disk beyond so many pages; the file does not grow if it has as many already.
    pub(super) fn bound(&self, pages: u32) -> Result<()> {
        self.run(&format!("PRAGMA max_page_count = {pages}"))
    }

    fn layout(&self) -> Result<i64> {
        let number = |name: &str| self.db.pragma_query_value(None, name, |row| row.get(0));
        let (application, layout): (i64, i64) =
            (number("application_id")?, number("user_version")?);
        let tables: i64 = self
            .db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables != 0 {
            return Ok(if application == APPLICATION {
                layout
            } else {
                -1
            });
        }
        self.db.execute_batch(&format!(
            "BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {LAYOUT}; \
             {TABLES} COMMIT;"
        ))?;
        Ok(LAYOUT)
    }

    fn watch_log(&mut self) -> Result<()> {
        let pages = Arc::clone(&self.log_pages);
        self.db
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now: i32| {
                pages.store(now, Ordering::Relaxed);
                Ok(())
            }))
    }

    /// Pages in the log that the file itself lacks.
    pub(super) fn log_pages(&self) -> i32 {
        self.log_pages.load(Ordering::Relaxed)
    }

    /// Moves the log into the file; the log is then written from its start again.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.run("PRAGMA wal_checkpoint(PASSIVE)")?;
        self.log_pages.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Moves the log into the file and cuts it: nothing is left that may be only in memory.
    pub(super) fn settle(&self) -> Result<()> {
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")?;
        self.log_pages.store(0, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn begin(&self) -> Result<()> {
        self.run("BEGIN IMMEDIATE")
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.run("COMMIT")
    }

    /// Takes the transaction back, if there still is one. Where that fails too, the connection is
    /// of no use and its owner drops it.
    pub(super) fn roll_back(&self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::debug!(%error, "a transaction could not be taken back");
        }
    }

    /// Bytes that hold something: free pages do not count, since they are used first.
    pub(super) fn bytes(&self) -> Result<u64> {
        let number = |sql: &str| -> Result<u64> {
            let value: i64 = self
                .db
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))?;
            Ok(u64::try_from(value).unwrap_or(0))
        };
        let used = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        Ok(used * u64::from(PAGE_BYTES))
    }

    /// Fails unless so many bytes can be stored durably. They are committed before they leave, since the log must
    /// have room for them too; what an earlier probe could not delete is replaced.
    pub(super) fn probe(&self, bytes: i64) -> Result<()> {
        self.begin()?;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO fact VALUES ('probe', zeroblob(?))")?
            .execute([bytes])?;
        self.commit()?;
        self.run("DELETE FROM fact WHERE key = 'probe'")
    }

    pub(super) fn mark(&self) -> Result<Mark> {
        self.db
            .query_row("SELECT settled, high, clock FROM mark", [], |row| {
                Ok(Mark {
                    settled: row.get(0)?,
                    high: row.get(1)?,
                    clock: row.get(2)?,
                })
            })
    }

    pub(super) fn set_mark(&self, mark: Mark) -> Result<()> {
        self.db
            .prepare_cached("UPDATE mark SET settled = ?, high = ?, clock = ?")?
            .execute(params![mark.settled, mark.high, mark.clock])?;
        Ok(())
    }

    /// Every record's number and state, in order.
    pub(super) fn states(&self, mut each: impl FnMut(Seq, State)) -> Result<()> {
        let mut states = self
            .db
            .prepare("SELECT seq, state FROM record ORDER BY seq")?;
        let mut rows = states.query([])?;
        while let Some(row) = rows.next()? {
            each(Seq(row.get(0)?), State::from_code(row.get(1)?));
        }
        Ok(())
    }

    /// The statements of one transaction.
    pub(super) fn pen(&self) -> Result<Pen<'_>> {
        Ok(Pen {
            store: self,
            insert: self
                .db
                .prepare_cached("INSERT OR REPLACE INTO record VALUES (?, ?, ?)")?,
            update: self
                .db
                .prepare_cached("UPDATE record SET state = ? WHERE seq = ?")?,
        })
    }

    pub(super) fn delete(&self, run: &RangeInclusive<i64>) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM record WHERE seq BETWEEN ? AND ?")?
            .execute([run.start(), run.end()])?;
        Ok(())
    }

    /// Shows each record of the run to `each`, in order, until it says that it has enough.
    pub(super) fn bodies(
        &self,
        run: &RangeInclusive<i64>,
        mut each: impl FnMut(Seq, &[u8]) -> bool,
    ) -> Result<()> {
        let mut bodies = self.db.prepare_cached(
            "SELECT seq, body FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq",
        )?;
        let mut rows = bodies.query([run.start(), run.end()])?;
        while let Some(row) = rows.next()? {
            if !each(Seq(row.get(0)?), row.get_ref(1)?.as_blob()?) {
                break;
            }
        }
        Ok(())
    }

    /// The first bytes of a record.
    pub(super) fn head(&self, seq: Seq) -> Result<Option<Vec<u8>>> {
        self.db
            .prepare_cached("SELECT substr(body, 1, 16) FROM record WHERE seq = ?")?
            .query_row([seq.0], |row| row.get(0))
            .optional()
    }

    pub(super) fn dead(&self) -> Result<u64> {
        let count: i64 = self
            .db
            .query_row("SELECT count(*) FROM dead", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    pub(super) fn letters(&self, after: i64, max: usize) -> Result<Vec<DeadLetter>> {
        self.db
            .prepare_cached(
                "SELECT number, side, reason, error, parked_at, body FROM dead \
                 WHERE number > ? ORDER BY number LIMIT ?",
            )?
            .query_map(
                params![after, i64::try_from(max).unwrap_or(i64::MAX)],
                letter,
            )?
            .collect()
    }

    /// Whose debt a letter is.
    pub(super) fn debt(&self, number: i64) -> Result<Option<(Seq, Side)>> {
        self.db
            .prepare_cached("SELECT seq, side FROM dead WHERE number = ?")?
            .query_row([number], |row| Ok((Seq(row.get(0)?), side(row.get(1)?))))
            .optional()
    }

    /// Whoever has a letter replayed vouches for what it says.
    pub(super) fn vouch(&self, number: i64, seq: Seq) -> Result<()> {
        let body: Option<Vec<u8>> = self
            .db
            .prepare_cached("SELECT body FROM dead WHERE number = ?")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        if let Some(vouched) = body.and_then(|body| record::vouch(&body)) {
            self.db
                .prepare_cached("UPDATE dead SET body = ? WHERE number = ?")?
                .execute(params![vouched, number])?;
            self.db
                .prepare_cached("UPDATE record SET body = ? WHERE seq = ?")?
                .execute(params![vouched, seq.0])?;
        }
        Ok(())
    }

    /// Makes a record of a letter's body.
    pub(super) fn revive(&self, number: i64, state: State) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO record SELECT seq, ?, body FROM dead WHERE number = ?",
            )?
            .execute(params![state.code(), number])?;
        Ok(())
    }

    /// Deletes a letter; says whether there was one.
    pub(super) fn bury(&self, number: i64) -> Result<bool> {
        let gone = self
            .db
            .prepare_cached("DELETE FROM dead WHERE number = ?")?
            .execute([number])?;
        Ok(gone != 0)
    }

    pub(super) fn fact(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.db
            .prepare_cached("SELECT value FROM fact WHERE key = ?")?
            .query_row([key], |row| row.get(0))
            .optional()
    }

    pub(super) fn set_fact(&self, key: &str, value: &[u8]) -> Result<()> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO fact VALUES (?, ?)")?
            .execute(params![key, value])?;
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<()> {
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}

/// The statements that a transaction runs for each record, looked up once.
pub(super) struct Pen<'a> {
    store: &'a Store,
    insert: rusqlite::CachedStatement<'a>,
    update: rusqlite::CachedStatement<'a>,
}

impl Pen<'_> {
    pub(super) fn insert(&mut self, seq: Seq, state: State, body: &[u8]) -> Result<()> {
        self.insert.execute(params![seq.0, state.code(), body])?;
        Ok(())
    }

    pub(super) fn update(&mut self, seq: Seq, state: State) -> Result<()> {
        self.update.execute(params![state.code(), seq.0])?;
        Ok(())
    }

    /// Copies a record's body into a dead letter.
    pub(super) fn park(&self, seq: Seq, side: Side, why: (Parked, &str), now: i64) -> Result<()> {
        let number = i64::try_from(side.index()).unwrap_or(0);
        self.store
            .db
            .prepare_cached(
                "INSERT OR REPLACE INTO dead (seq, side, reason, error, parked_at, body) \
                 SELECT seq, ?, ?, ?, ?, body FROM record WHERE seq = ?",
            )?
            .execute(params![number, why.0.label(), why.1, now, seq.0])?;
        Ok(())
    }
}

fn letter(row: &Row<'_>) -> Result<DeadLetter> {
    let label: String = row.get(2)?;
    let reason = Parked::ALL
        .into_iter()
        .find(|parked| parked.label() == label);
    let body: Vec<u8> = row.get(5)?;
    Ok(DeadLetter {
        number: row.get(0)?,
        side: side(row.get(1)?),
        reason: reason.unwrap_or(Parked::Refused),
        error: row.get(3)?,
        parked_at: row.get(4)?,
        body: body.into(),
    })
}

fn side(number: i64) -> Side {
    if number == 0 { Side::A } else { Side::B }
}
