//! The one thread that owns the file: commits together whatever was told while it was busy.
//!
//! A commit that fails is taken back whole: who asked for a receipt is told, the file is opened
//! anew, and what must not be forgotten is written again first thing. Nothing is told to be
//! durable that is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Result;

use crate::pair::{Pair, Side, Sides};
use crate::replay::queue::board::{Board, Outbox};
use crate::replay::queue::ledger::{Ledger, State, Step};
use crate::replay::queue::seqs::runs;
use crate::replay::queue::{Clock, shortened};
use crate::replay::{Change, Refused, Seq, record};

use super::file::Lock;
use super::inbox::{Command, Inbox};
use super::reserve::Reserve;
use super::store::{Mark, Pen, Store};

/// How long landings may wait for company, and what nobody needs for its deletion: a crash repeats it,
/// which must not come after a TRUNCATE or a DROP.
const PATIENCE: Duration = Duration::from_millis(100);

/// Pages in the log until it is moved into the file. Fewer make each stop shorter, more make it
/// rarer: at this size it is in the slowest 1 % of the commits' records, not above.
const LOG_PAGES_MAX: i32 = 2_000;

/// The same while there is nothing else to do.
const LOG_PAGES_IDLE: i32 = 128;

/// Records that nobody needs, until they are deleted in one go.
const GONE_MAX: usize = 1_024;

/// Bytes that a row costs beside its body.
const ROW_BYTES: u64 = 16;

/// What the writer is made of; see the module.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) inbox: Arc<Inbox>,
    pub(super) board: Arc<Board>,
    pub(super) ledger: Ledger,
    /// Absent while the file cannot be used.
    pub(super) store: Option<Store>,
    pub(super) trouble: Option<Trouble>,
    /// When to look for room for the reserve, if there was none.
    pub(super) look_again: Option<Instant>,
    /// When to try again to write the letters that found no room.
    pub(super) letters_at: Option<Instant>,
    mark: Mark,
    dead: u64,
    bytes: u64,
    oldest: Pair<Option<(Seq, Option<i64>)>>,
    /// Records that nobody needs and that are still in the file.
    gone: Vec<Seq>,
    /// Since when the first of them waits.
    gone_since: Option<Instant>,
    /// Whether the ledger knows of landings that the file does not.
    stale: bool,
    /// What was told before a commit failed and must still be done.
    pub(super) held: Vec<Change>,
    pub(super) outbox: Outbox,
}

/// Which file, and within what bounds.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) pages_max: Option<u32>,
    pub(super) bytes_max: u64,
    pub(super) clock: Clock,
    #[expect(dead_code, reason = "held for its lock")]
    pub(super) lock: Lock,
    pub(super) reserve: Reserve,
}

/// Why records are not accepted, and when to try again.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) why: String,
    pub(super) pause: Duration,
    pub(super) until: Instant,
    /// Records that were refused and may be in the file all the same.
    pub(super) refused: Vec<Seq>,
}

/// What one transaction changes, to be believed once it is durable.
#[derive(Debug, Default)]
pub(super) struct Page {
    mark: Mark,
    gone: Vec<Seq>,
    /// Delete what is gone now: to forget it costs a repeated write.
    pub(super) sweep: bool,
    letters: i64,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(place: Place, inbox: Arc<Inbox>, board: Arc<Board>) -> Self {
        Self {
            place,
            inbox,
            board,
            ledger: Ledger::default(),
            store: None,
            trouble: None,
            look_again: None,
            letters_at: None,
            mark: Mark::default(),
            dead: 0,
            bytes: 0,
            oldest: Pair::default(),
            gone: Vec::new(),
            gone_since: None,
            stale: false,
            held: Vec::new(),
            outbox: Outbox::default(),
        }
    }

    /// Reads who owes what out of the file, and deletes what nobody needs.
    pub(super) fn recover(&mut self, store: Store) -> Result<Mark> {
        (self.ledger, self.gone) = (Ledger::default(), Vec::new());
        let mark = store.mark()?;
        let (mut changed, mut high) = (Vec::new(), mark.high);
        store.states(|seq, stored| {
            let settled = State {
                live: Sides::NONE,
                ..stored
            };
            let state = if seq.0 <= mark.settled {
                settled
            } else {
                stored.after_crash()
            };
            high = high.max(seq.0);
            if state.is_gone() {
                self.gone.push(seq);
                return;
            }
            self.ledger.restore(seq, state);
            if state != settled {
                changed.push((seq, state));
            }
        })?;
        self.dead = store.dead()?;
        self.mark = Mark { high, ..mark };
        self.store = Some(store);
        self.transaction(|_, store, page| {
            page.sweep = true;
            let mut pen = store.pen()?;
            changed
                .iter()
                .try_for_each(|&(seq, state)| pen.update(seq, state))
        })?;
        self.show();
        Ok(self.mark)
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        let (mut changes, mut commands) = (Vec::new(), Vec::new());
        loop {
            self.inbox.take(&mut changes, &mut commands, PATIENCE);
            let idle = changes.is_empty() && commands.is_empty();
            self.mend();
            self.write(&mut changes);
            for command in commands.drain(..) {
                if let Command::Close(reply) = command {
                    self.close(reply);
                    return;
                }
                self.obey(command);
            }
            self.tidy(idle);
        }
    }

    /// Writes the changes in one transaction and tells the receipts what came of it.
    pub(super) fn write(&mut self, changes: &mut Vec<Change>) {
        let again = !self.held.is_empty();
        self.held.append(changes);
        if self.held.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut self.held);
        let mut letters = Vec::new();
        if again || self.trouble.is_some() || self.look_again.is_some() {
            letters = self.set_letters_apart(&mut changes);
        }
        if self.trouble.is_some() {
            let why = self.refusal();
            self.refuse_new(&mut changes, &why);
            if self.store.is_none() {
                self.hold(changes, &why);
                self.show();
                return self.outbox.deliver();
            }
            self.outbox.deliver();
        }
        self.commit(changes, !letters.is_empty());
        // First the board: who has a receipt must find the debt there (S20).
        self.show();
        self.outbox.deliver();
        if !letters.is_empty() {
            self.write_letters(letters);
        }
    }

    /// Writes these, unless they can wait; with `sweep` also what waited, since that makes room.
    fn commit(&mut self, changes: Vec<Change>, sweep: bool) {
        if changes.is_empty() && (!sweep || self.gone.is_empty()) {
            return;
        }
        let few = self.gone.len() + changes.len() <= GONE_MAX;
        if few && !sweep && changes.iter().all(|change| self.can_wait(change)) {
            return self.note(&changes);
        }
        let written = self.write_all(&changes, sweep);
        if let Err(error) = written {
            self.outbox.clear();
            self.fail(&error, changes);
        }
    }

    /// Writes these in one transaction.
    pub(super) fn write_all(&mut self, changes: &[Change], sweep: bool) -> Result<()> {
        self.transaction(|writer, store, page| {
            page.sweep = sweep;
            let mut pen = store.pen()?;
            changes
                .iter()
                .try_for_each(|change| writer.write_change(&mut pen, change, page))
        })
    }

    /// Runs `work` in a transaction, together with what had waited for one. Believes in it only
    /// when it is durable; on an error all is as before.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Store, &mut Page) -> Result<T>,
    ) -> Result<T> {
        let Some(store) = self.store.take() else {
            return Err(rusqlite::Error::InvalidQuery);
        };
        self.ledger.begin();
        let mut page = Page {
            mark: self.mark,
            ..Page::default()
        };
        let done = store.begin().and_then(|()| {
            let done = work(self, &store, &mut page)?;
            self.finish(&store, &mut page)?;
            Ok(done)
        });
        match &done {
            Ok(_) => self.believe(&store, page),
            Err(_) => {
                self.ledger.roll_back();
                store.roll_back();
            }
        }
        self.store = Some(store);
        done
    }

    fn finish(&self, store: &Store, page: &mut Page) -> Result<()> {
        page.sweep |= GONE_MAX <= self.gone.len() + page.gone.len() || self.is_overdue();
        if page.sweep {
            page.gone.extend_from_slice(&self.gone);
            page.gone.sort_unstable();
            let mut doomed = Vec::new();
            runs(&page.gone, &mut doomed);
            doomed.iter().try_for_each(|run| store.delete(run))?;
        }
        let high = page.mark.high;
        page.mark.settled = self.ledger.oldest_live().map_or(high, |live| live.0 - 1);
        store.set_mark(page.mark)?;
        store.commit()
    }

    fn believe(&mut self, store: &Store, page: Page) {
        if page.sweep {
            self.gone.clear();
            self.gone_since = None;
        } else {
            self.gone.extend(page.gone);
            self.date_gone();
        }
        self.mark = page.mark;
        self.stale = false;
        self.dead = self.dead.saturating_add_signed(page.letters);
        self.bytes = store.bytes().unwrap_or(self.bytes);
    }

    /// Whether the change costs no commit of its own: forgotten in a crash it only repeats a write
    /// that may be repeated.
    fn can_wait(&self, change: &Change) -> bool {
        match *change {
            Change::Landed { .. } => true,
            Change::Applied { seq, side } => {
                let state = self.ledger.state(seq);
                let roomy = self.trouble.is_none() && self.bytes < self.place.bytes_max / 2;
                roomy && state.owes.without(side).is_empty() && !state.sent.contains(side)
            }
            _ => false,
        }
    }

    /// Takes in what can wait: the next commit carries landings as the mark, and what is gone is
    /// deleted in one go.
    fn note(&mut self, changes: &[Change]) {
        for change in changes {
            if self.ledger.apply(change) == Step::Forget {
                self.gone.push(change.seq());
            }
        }
        self.ledger.begin();
        self.stale = true;
        self.date_gone();
    }

    fn date_gone(&mut self) {
        if !self.gone.is_empty() {
            self.gone_since.get_or_insert_with(Instant::now);
        }
    }

    fn is_overdue(&self) -> bool {
        self.gone_since
            .is_some_and(|since| PATIENCE <= since.elapsed())
    }

    fn write_change(&mut self, pen: &mut Pen<'_>, change: &Change, page: &mut Page) -> Result<()> {
        if let Change::Keep { body, receipt, .. } = change {
            let bytes = body.len() as u64 + ROW_BYTES;
            if self.place.bytes_max < self.bytes + page.bytes + bytes {
                self.outbox.put(receipt.as_ref(), Err(Refused::Full));
                return Ok(());
            }
            page.bytes += bytes;
        }
        let lazy = self.can_wait(change);
        let step = self.ledger.apply(change);
        let answer = if step == Step::Unknown {
            Err(Refused::Unknown)
        } else {
            Ok(())
        };
        let known = answer.is_ok();
        self.outbox.put(change.receipt(), answer);
        if let Change::Park {
            seq,
            side,
            reason,
            error,
            ..
        } = change
            && known
        {
            page.letters += 1;
            pen.park(
                *seq,
                *side,
                (*reason, shortened(error)),
                (self.place.clock)(),
            )?;
        }
        match (step, change) {
            (Step::Forget, _) => {
                page.gone.push(change.seq());
                page.sweep |= !lazy;
            }
            (Step::Store(state), Change::Keep { seq, body, .. }) => {
                page.mark.high = page.mark.high.max(seq.0);
                pen.insert(*seq, state, body)?;
            }
            (Step::Store(state) | Step::Update(state), _) => pen.update(change.seq(), state)?,
            (Step::Nothing | Step::Quiet | Step::Unknown, _) => {}
        }
        Ok(())
    }

    /// Makes these letters debts again.
    pub(super) fn requeue(&mut self, numbers: &[i64]) -> Result<u64> {
        // A record that is gone must be out of the file before its letter becomes one again.
        self.transaction(|_, _, page| {
            page.sweep = true;
            Ok(())
        })?;
        let count = self.transaction(|writer, store, page| {
            let mut count = 0;
            for &number in numbers {
                let Some((seq, side)) = store.debt(number)? else {
                    continue;
                };
                store.vouch(number, seq)?;
                match writer.ledger.requeue(seq, side) {
                    Step::Store(state) => store.revive(number, state)?,
                    Step::Update(state) => store.pen()?.update(seq, state)?,
                    Step::Forget | Step::Nothing | Step::Quiet | Step::Unknown => {}
                }
                count += u64::from(store.bury(number)?);
                page.letters -= 1;
            }
            Ok(count)
        });
        self.show();
        count
    }

    /// Deletes these letters.
    pub(super) fn purge(&mut self, numbers: &[i64]) -> Result<u64> {
        let count = self.transaction(|_, store, page| {
            let mut count = 0;
            for &number in numbers {
                let gone = store.bury(number)?;
                count += u64::from(gone);
                page.letters -= i64::from(gone);
            }
            Ok(count)
        });
        self.show();
        count
    }

    /// Stores the clock's ceiling.
    pub(super) fn reserve(&mut self, until: i64) -> Result<()> {
        self.transaction(|_, _, page| {
            page.mark.clock = page.mark.clock.max(until);
            Ok(())
        })
    }

    /// Shows everybody where things stand.
    pub(super) fn show(&mut self) {
        for side in Side::ALL {
            let first = self.ledger.oldest(side);
            if first != self.oldest[side].map(|(seq, _)| seq) {
                let head = |seq| self.store.as_ref()?.head(seq).ok()?;
                self.oldest[side] =
                    first.map(|seq| (seq, head(seq).and_then(|head| record::enqueued_at(&head))));
            }
        }
        let oldest = self.oldest.map(|_, oldest| oldest.and_then(|(_, at)| at));
        let missed = self.held.iter().filter_map(Change::missed).collect();
        let known = (&self.ledger, missed);
        self.board.show(known, oldest, self.dead, self.bytes);
        self.board
            .set_accepts(self.trouble.is_none() && self.bytes < self.place.bytes_max);
    }

    /// What can wait until there is nothing else to do, or too much of it.
    fn tidy(&mut self, idle: bool) {
        let Some(store) = &self.store else { return };
        let log = store.log_pages();
        let mut done = Ok(());
        if LOG_PAGES_MAX <= log || idle && LOG_PAGES_IDLE <= log {
            done = store.checkpoint();
        }
        if idle && (self.stale || !self.gone.is_empty()) || self.is_overdue() {
            done = done.and_then(|()| {
                self.transaction(|_, _, page| {
                    page.sweep = true;
                    Ok(())
                })
            });
        }
        if let Err(error) = done {
            self.fail(&error, Vec::new());
        }
    }

    /// Everything into the file, nothing left in the log.
    pub(super) fn seal(&mut self) -> Result<()> {
        self.transaction(|_, _, page| {
            page.sweep = true;
            Ok(())
        })?;
        self.store.as_ref().map_or(Ok(()), Store::settle)
    }
}
