//! The dead letters, as operators see and move them.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::replay::dlq::Summary;
use crate::replay::{DeadLetter, Queue, Refused};

/// Letters shown when a request does not say how many.
const SHOWN: usize = 100;

/// Letters shown or moved by one request; for more, ask again.
pub(super) const LETTERS_MAX: usize = 1_000;

/// Which letters to show.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Only letters numbered above this.
    #[serde(default)]
    pub after: i64,
    /// At most so many; 100 if not given.
    pub max: Option<usize>,
}

/// Which letters to requeue or purge: exactly one of the two.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Those of these numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Vec<i64>>,
    /// All of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

/// The answer of `GET /dlq`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Page {
    /// In order of their numbers.
    pub letters: Vec<Letter>,
    /// What `after` shows the next page, if there may be one.
    pub next: Option<i64>,
}

/// One dead letter, without its values.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Letter {
    /// What it is and holds.
    #[serde(flatten)]
    pub summary: Summary,
    /// When it was parked, RFC 3339.
    pub parked_at: String,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            summary: Summary::of(&letter),
            parked_at: timestamp(letter.parked_at),
        }
    }
}

/// What to do with letters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Move {
    Purge,
    Requeue,
}

/// The answer to a requeue or a purge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Moved {
    /// How many letters were there and have been moved.
    pub moved: u64,
    /// Whether there were more than one request moves.
    pub more: bool,
}

/// Letters of this window.
pub(super) async fn list(queue: &dyn Queue, window: Window) -> Result<Page, Refused> {
    let max = window.max.unwrap_or(SHOWN).min(LETTERS_MAX);
    let letters = queue.dead_letters(window.after, max).await?;
    let full = 0 < max && letters.len() == max;
    let next = letters.last().map(|letter| letter.number).filter(|_| full);
    let letters = letters.into_iter().map(Letter::from).collect();
    Ok(Page { letters, next })
}

/// The letter of this number, if there is one.
pub(super) async fn find(queue: &dyn Queue, number: i64) -> Result<Option<Letter>, Refused> {
    let found = queue.dead_letters(number.saturating_sub(1), 1).await?;
    let found = found.into_iter().find(|letter| letter.number == number);
    Ok(found.map(Letter::from))
}

/// Moves the letters of these numbers.
pub(super) async fn shift(
    queue: &dyn Queue,
    to: Move,
    numbers: Vec<i64>,
) -> Result<Moved, Refused> {
    let answer = match to {
        Move::Purge => queue.purge(numbers),
        Move::Requeue => queue.requeue(numbers),
    };
    let moved = answer.await?;
    Ok(Moved { moved, more: false })
}

/// Moves the oldest letters, as many as one request may.
pub(super) async fn shift_all(queue: &dyn Queue, to: Move) -> Result<Moved, Refused> {
    let letters = queue.dead_letters(0, LETTERS_MAX).await?;
    let more = letters.len() == LETTERS_MAX;
    let numbers = letters.into_iter().map(|letter| letter.number).collect();
    let moved = shift(queue, to, numbers).await?.moved;
    Ok(Moved { moved, more })
}

/// Microseconds since 1970 as RFC 3339; what no calendar holds is shown as its edge.
fn timestamp(micros: i64) -> String {
    const YEAR_9999: u64 = 253_402_300_799;
    let since = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let since = since.min(Duration::from_secs(YEAR_9999));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_holds_is_shown_as_its_edge() {
        assert_eq!(timestamp(1_500_000), "1970-01-01T00:00:01.500Z");
        assert_eq!(timestamp(-1), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(i64::MAX), "9999-12-31T23:59:59.000Z");
    }
}
