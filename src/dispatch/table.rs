//! Requests in flight of one thread: a slab with generations, and deadlines in order.
//!
//! All requests of one [`Term`] wait equally long, so each term's deadlines form a queue: arming
//! and disarming are O(1) links in the slab, and nothing is allocated or hashed for a timer.

use std::time::Instant;

/// Names one request; a key that was removed never names another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Names no request, ever.
    pub(super) const NOBODY: Self = Self {
        index: NONE,
        generation: GENERATION_MAX,
    };

    /// The key as one number, for receipts.
    #[must_use]
    pub fn to_number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key of this number.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the number"
    )]
    pub const fn from_number(number: u64) -> Self {
        Self {
            index: number as u32,
            generation: (number >> 32) as u32,
        }
    }
}

/// How long a request waits, as the queue that it waits in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Term {
    /// The queue's answer, after the outcome is decided.
    Keep,
    /// A read.
    Read,
    /// A read whose first side may be replaced.
    ReadFirst,
    /// What is left of a read after [`Term::ReadFirst`].
    ReadRest,
    /// A write.
    Write,
    /// A write that goes to one side after the other, for its first side.
    WriteFirst,
    /// What is left of it after [`Term::WriteFirst`].
    WriteRest,
}

const TERMS: usize = 7;
const NONE: u32 = u32::MAX;
/// Generations have 31 bits: the top bit of a key's number is left to others.
const GENERATION_MAX: u32 = u32::MAX >> 1;

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    /// Neighbours in the term's queue, or the next free entry in `next`.
    before: u32,
    next: u32,
    armed: Option<(Term, Instant)>,
    value: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

/// The slab.
#[derive(Debug)]
pub struct Table<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    queues: [Ends; TERMS],
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        let queues = [Ends {
            first: NONE,
            last: NONE,
        }; TERMS];
        Self {
            entries: Vec::new(),
            free: NONE,
            len: 0,
            queues,
        }
    }
}

impl<T> Table<T> {
    /// Requests in flight.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a request in.
    #[inline]
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if self.free == NONE {
            let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
            let entry = Entry {
                generation: 0,
                before: NONE,
                next: NONE,
                armed: None,
                value: Some(value),
            };
            self.entries.push(entry);
            return Key {
                index,
                generation: 0,
            };
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.next = NONE;
        entry.value = Some(value);
        Key {
            index,
            generation: entry.generation,
        }
    }

    /// The request of this key, if it is still in flight.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        entry.value.as_mut()
    }

    /// Takes a request out, deadline and all.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        self.disarm(key.index);
        let entry = &mut self.entries[key.index as usize];
        entry.generation = entry.generation.wrapping_add(1) & GENERATION_MAX;
        entry.next = self.free;
        self.free = key.index;
        self.len -= 1;
        entry.value.take()
    }

    /// Gives a request a deadline instead of the one it had. Within one term, deadlines must not
    /// come before those armed earlier.
    #[inline]
    pub fn arm(&mut self, key: Key, term: Term, at: Instant) {
        if self.get_mut(key).is_none() {
            return;
        }
        self.disarm(key.index);
        let last = self.queues[term as usize].last;
        let entry = &mut self.entries[key.index as usize];
        entry.armed = Some((term, at));
        (entry.before, entry.next) = (last, NONE);
        if last == NONE {
            self.queues[term as usize].first = key.index;
        } else {
            self.entries[last as usize].next = key.index;
        }
        self.queues[term as usize].last = key.index;
    }

    /// One request whose deadline has passed; its deadline is gone with the answer.
    pub fn due(&mut self, now: Instant) -> Option<(Key, Term)> {
        for queue in self.queues {
            let Some(entry) = self.entries.get(queue.first as usize) else {
                continue;
            };
            if let Some((term, at)) = entry.armed
                && at <= now
            {
                let key = Key {
                    index: queue.first,
                    generation: entry.generation,
                };
                self.disarm(key.index);
                return Some((key, term));
            }
        }
        None
    }

    /// Every request in flight.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.value.is_some())
            .map(|(index, entry)| Key {
                index: u32::try_from(index).unwrap_or(NONE),
                generation: entry.generation,
            })
    }

    #[inline]
    fn disarm(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let Some((term, _)) = entry.armed.take() else {
            return;
        };
        let (before, next) = (entry.before, entry.next);
        (entry.before, entry.next) = (NONE, NONE);
        let ends = &mut self.queues[term as usize];
        if before == NONE {
            ends.first = next;
        }
        if next == NONE {
            ends.last = before;
        }
        if let Some(entry) = self.entries.get_mut(before as usize) {
            entry.next = next;
        }
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::Duration;

    #[test]
    fn a_removed_key_never_names_another_request() {
        let mut table = Table::default();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));
        let new = table.insert("new");
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get_mut(new), Some(&mut "new"));
        assert_eq!(Key::from_number(new.to_number()), new);
    }

    #[test]
    fn deadlines_come_due_in_order_whatever_is_removed_between() {
        let start = Instant::now();
        let mut table = Table::default();
        let mut due = HashMap::new();
        let mut dice = 1_u64;
        for step in 0..20_000_u32 {
            let now = start + Duration::from_millis(step.into());
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = table.insert(step);
            let (term, wait) = match dice >> 62 {
                0 => (Term::Write, 15),
                1 => (Term::Read, 100),
                2 => (Term::ReadFirst, 10),
                _ => (Term::Keep, 7),
            };
            table.arm(key, term, now + Duration::from_millis(wait));
            due.insert(key, now + Duration::from_millis(wait));
            if dice >> 60 & 3 == 0 {
                let gone = *due.keys().next().unwrap();
                assert!(table.remove(gone).is_some());
                due.remove(&gone);
            }
            while let Some((key, _)) = table.due(now) {
                assert!(due.remove(&key).is_some_and(|at| at <= now), "not due");
                assert!(table.remove(key).is_some());
            }
            assert!(due.values().all(|at| now < *at), "overlooked");
            assert_eq!(table.len(), due.len());
        }
    }
}
