//! What the writer does when the file fails.

use std::io;
use std::time::{Duration, Instant};

use rusqlite::{Error, ErrorCode, Result};

use crate::replay::{Change, Refused};

use super::reserve::is_short;
use super::store::{Mark, PAGES_MAX, Store};
use super::writer::{Trouble, Writer};

/// The first and the longest wait between attempts to write again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Bytes that must fit before records are accepted again.
const PROBE_BYTES: i64 = 64 << 10;

impl Writer {
    /// Reads the file. An earlier process may have left it on a full disk, and its reserve with it.
    pub(super) fn start(&mut self) -> std::result::Result<Mark, std::result::Result<i64, Error>> {
        let mark = match self.read() {
            Err(Err(_full)) => {
                // It holds SQLite's lock of the file.
                self.store = None;
                self.place.reserve.free();
                self.read()
            }
            read => read,
        }?;
        if let Err(error) = self.take_reserve().and_then(|()| self.probe()) {
            self.fail_open(&error);
        }
        Ok(mark)
    }

    fn take_reserve(&mut self) -> Result<()> {
        let taken = self.place.reserve.take();
        self.bound(taken.map(|()| true))
    }

    /// Without a reserve the file must not grow, since what the log holds could not be moved into it; records
    /// still take the place of those that left.
    fn bound(&mut self, taken: io::Result<bool>) -> Result<()> {
        if let (Err(error), None) = (&taken, self.look_again) {
            let text = if is_short(error) {
                "no room for the replay queue's reserve: its file does not grow until there is"
            } else {
                "the replay queue has no reserve: replay may stop on a full disk"
            };
            tracing::warn!(path = %self.place.path.display(), %error, "{text}");
        }
        let pause = match &taken {
            Ok(true) => None,
            Ok(false) => Some(Duration::ZERO),
            Err(_) => Some(RETRY.1),
        };
        self.look_again = pause.map(|pause| Instant::now() + pause);
        let grows = taken.unwrap_or_else(|error| !is_short(&error));
        let Some(store) = &self.store else {
            return Ok(());
        };
        store.bound(if grows {
            self.place.pages_max.unwrap_or(PAGES_MAX)
        } else {
            1
        })
    }

    /// A queue that found no room for its reserve looks again now and then, and takes it piece by piece.
    fn look_for_room(&mut self) {
        if self.look_again.is_some_and(|at| at <= Instant::now()) {
            let taken = self.place.reserve.take_piece();
            if let Err(error) = self.bound(taken) {
                self.fail(&error, Vec::new());
            }
        }
    }

    /// Fails unless a record of some size could be stored.
    fn probe(&self) -> Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        store.probe(PROBE_BYTES).inspect_err(|_| store.roll_back())
    }

    fn read(&mut self) -> std::result::Result<Mark, std::result::Result<i64, Error>> {
        let store = Store::open(&self.place.path, self.place.pages_max)?;
        self.recover(store).map_err(Err)
    }

    /// A transaction failed and was taken back. The connection is not trusted any more, nor is a
    /// file whose sync failed: it is opened anew, later.
    pub(super) fn fail(&mut self, error: &Error, changes: Vec<Change>) {
        let why = error.to_string();
        tracing::error!(path = %self.place.path.display(), error = %why, "the replay queue cannot store records");
        let new = changes
            .iter()
            .filter(|change| matches!(change, Change::Keep { .. }));
        let refused: Vec<_> = new.map(Change::seq).collect();
        self.hold(changes, &Refused::Store(why.clone()));
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            why: String::new(),
            pause: RETRY.0,
            until: Instant::now(),
            refused: Vec::new(),
        });
        trouble.why = why;
        trouble.refused.extend(refused);
        trouble.until = Instant::now() + trouble.pause;
        trouble.pause = RETRY.1.min(trouble.pause * 2);
        self.store = None;
        self.board.set_accepts(false);
    }

    /// Tries to write again when it is time.
    pub(super) fn mend(&mut self) {
        let Some(trouble) = &self.trouble else {
            return self.look_for_room();
        };
        if Instant::now() < trouble.until {
            return;
        }
        match self.reopen() {
            Ok(()) => {
                tracing::info!(path = %self.place.path.display(), "the replay queue stores records again");
                self.trouble = None;
                self.show();
            }
            Err(error) => {
                self.place.reserve.free();
                self.fail_open(&error);
            }
        }
    }

    /// A full disk still lets records leave, and that may make room.
    fn fail_open(&mut self, error: &Error) {
        let store = self.store.take().filter(|_| is_full(error));
        self.fail(error, Vec::new());
        self.store = store;
    }

    fn reopen(&mut self) -> Result<()> {
        if self.store.is_none() {
            let opened = Store::open(&self.place.path, self.place.pages_max);
            let store = opened.map_err(|fault| fault.err().unwrap_or(Error::InvalidQuery))?;
            store.settle()?;
            self.store = Some(store);
        }
        let refused = self
            .trouble
            .as_mut()
            .map(|trouble| std::mem::take(&mut trouble.refused));
        let refused = refused.unwrap_or_default();
        let doomed = self.transaction(|_, store, page| {
            page.sweep = true;
            refused
                .iter()
                .try_for_each(|seq| store.delete(&(seq.0..=seq.0)))
        });
        if let (Err(_), Some(trouble)) = (&doomed, &mut self.trouble) {
            trouble.refused.extend(refused);
        }
        doomed?;
        self.take_reserve()?;
        self.probe()
    }

    /// Takes the letters out, which need room: they must not keep back those that make some. Those that cannot be
    /// tried now are held.
    pub(super) fn set_letters_apart(&mut self, changes: &mut Vec<Change>) -> Vec<Change> {
        let letter = |change: &mut Change| matches!(change, Change::Park { .. });
        let letters = changes.extract_if(.., letter).collect();
        let early = self.letters_at.is_some_and(|at| Instant::now() < at);
        if self.trouble.is_none() && !early {
            return letters;
        }
        self.hold(letters, &self.refusal());
        self.outbox.deliver();
        Vec::new()
    }

    /// Letters alone: for want of room they wait, and nothing else does.
    pub(super) fn write_letters(&mut self, letters: Vec<Change>) {
        if self.trouble.is_some() {
            self.hold(letters, &self.refusal());
        } else if let Err(error) = self.write_all(&letters, true) {
            self.outbox.clear();
            if is_full(&error) {
                self.letters_at = Some(Instant::now() + RETRY.1);
                self.hold(letters, &Refused::Store(error.to_string()));
            } else {
                self.fail(&error, letters);
            }
        }
        self.show();
        self.outbox.deliver();
    }

    /// Changes that could not be written: tells the receipts, keeps what must not be forgotten.
    pub(super) fn hold(&mut self, changes: Vec<Change>, why: &Refused) {
        for change in changes {
            self.outbox.put(change.receipt(), Err(why.clone()));
            let known = !self.ledger.state(change.seq()).is_gone();
            let needed = !matches!(change, Change::Keep { .. } | Change::Sent { .. });
            if known && needed {
                self.held.push(change.without_receipt());
            }
        }
    }

    pub(super) fn refuse_new(&mut self, changes: &mut Vec<Change>, why: &Refused) {
        changes.retain(|change| {
            let new = matches!(change, Change::Keep { .. });
            if new {
                self.outbox.put(change.receipt(), Err(why.clone()));
            }
            !new
        });
    }

    pub(super) fn refusal(&self) -> Refused {
        Refused::Store(
            self.trouble
                .as_ref()
                .map_or_else(String::new, |trouble| trouble.why.clone()),
        )
    }
}

fn is_full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
