//! Records of writes that one side has while the queue refuses them (S15): each waits here until the
//! queue vouches for it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::pair::Sides;
use crate::telemetry::Throttle;

/// Bytes that wait on one thread, or one record that is longer. Past it the oldest records are given up: their side lacks them
/// for good, so each is counted, and the log says so.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of copies that the queue has said nothing of yet, about: a disk that hangs takes all that it is offered.
const OFFERED_MAX: usize = 1 << 20;
/// Bytes that one record takes besides its own, about.
const OVERHEAD: usize = 128;
/// Marks receipts of these records; the keys of requests never have this bit.
const TICKET: u64 = 1 << 63;
/// How often the log says that records are given up.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A record that the queue refused.
#[derive(Debug)]
pub(super) struct Unkept {
    pub(super) body: Vec<u8>,
    pub(super) owes: Sides,
    pub(super) sent: Sides,
}

impl Unkept {
    fn size(&self) -> usize {
        OVERHEAD + self.body.len()
    }
}

/// See the module.
///
/// ```text
/// put --> waiting --offer--> offered --handle_receipt(ok)--> gone
///            ^----------------- refused ----/
/// ```
#[derive(Debug)]
pub(in crate::dispatch) struct Unsaved {
    waiting: VecDeque<Unkept>,
    offered: HashMap<u64, Unkept>,
    /// Of both.
    bytes: usize,
    /// Of `offered`.
    asked: usize,
    next: u64,
    throttle: Throttle,
}

impl Default for Unsaved {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            offered: HashMap::new(),
            bytes: 0,
            asked: 0,
            next: 0,
            throttle: Throttle::new(LOG_EVERY),
        }
    }
}

impl Unsaved {
    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.offered.is_empty()
    }

    /// Adds a record; returns those that are given up for it.
    pub(super) fn put(&mut self, it: Unkept) -> Vec<Unkept> {
        self.bytes += it.size();
        self.waiting.push_back(it);
        let mut lost = Vec::new();
        while BYTES_MAX < self.bytes
            && 1 < self.waiting.len()
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.size();
            lost.push(oldest);
        }
        lost
    }

    /// The next record for the queue, and the ticket of its receipt; none while much is unanswered.
    pub(super) fn offer(&mut self) -> Option<(u64, &Unkept)> {
        if OFFERED_MAX <= self.asked {
            return None;
        }
        let it = self.waiting.pop_front()?;
        self.asked += it.size();
        let ticket = TICKET | self.next;
        self.next += 1;
        Some((ticket, self.offered.entry(ticket).or_insert(it)))
    }

    /// Takes what the queue said: who owes what it vouches for now. `None` if the ticket is not of here.
    pub(super) fn handle_receipt(&mut self, ticket: u64, ok: bool) -> Option<Sides> {
        if ticket & TICKET == 0 {
            return None;
        }
        let answered = self.offered.remove(&ticket);
        self.asked -= answered.as_ref().map_or(0, Unkept::size);
        let told = match answered {
            Some(it) if ok => {
                self.bytes -= it.size();
                it.owes
            }
            Some(it) => {
                self.waiting.push_back(it);
                Sides::NONE
            }
            None => Sides::NONE,
        };
        Some(told)
    }

    /// Whether the log may be told of a loss: if so, how many it was not told of.
    pub(super) fn may_log(&mut self, now: Instant) -> Option<u64> {
        self.throttle.admit("given up", now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Side;

    fn unkept(size: usize) -> Unkept {
        Unkept {
            body: vec![0; size],
            owes: Sides::only(Side::B),
            sent: Sides::NONE,
        }
    }

    /// The tickets of all that may be offered now.
    fn offered(unsaved: &mut Unsaved) -> Vec<u64> {
        std::iter::from_fn(|| unsaved.offer().map(|(ticket, _)| ticket)).collect()
    }

    #[test]
    fn many_small_records_are_all_kept() {
        let mut unsaved = Unsaved::default();
        for _ in 0..50_000 {
            assert!(unsaved.put(unkept(300)).is_empty());
        }
        assert_eq!(unsaved.waiting.len(), 50_000);
    }

    #[test]
    fn past_the_bound_the_oldest_are_handed_back_to_be_counted() {
        let mut unsaved = Unsaved::default();
        for size in [BYTES_MAX / 2, BYTES_MAX / 4] {
            assert!(unsaved.put(unkept(size)).is_empty());
        }
        let lost = unsaved.put(unkept(BYTES_MAX / 2));
        assert_eq!((lost.len(), lost[0].body.len()), (1, BYTES_MAX / 2));
        assert!(unsaved.bytes <= BYTES_MAX);
        unsaved.put(unkept(BYTES_MAX));
        assert_eq!(unsaved.waiting.len(), 1, "the newest is kept, however long");
    }

    #[test]
    fn a_record_waits_until_the_queue_vouches_for_it() {
        let mut unsaved = Unsaved::default();
        assert!(unsaved.put(unkept(9)).is_empty());
        let (first, _) = unsaved.offer().unwrap();
        assert!(unsaved.offer().is_none() && !unsaved.is_empty());

        assert_eq!(unsaved.handle_receipt(first, false), Some(Sides::NONE));
        let (second, _) = unsaved.offer().unwrap();
        assert_ne!(first, second);
        let told = unsaved.handle_receipt(second, true);
        assert_eq!(told, Some(Sides::only(Side::B)));
        assert!(unsaved.is_empty() && unsaved.bytes == 0);
        assert_eq!(unsaved.handle_receipt(7, true), None, "a request's");
    }

    #[test]
    fn only_so_much_is_offered_until_the_queue_says_what_became_of_it() {
        let mut unsaved = Unsaved::default();
        for size in [OFFERED_MAX / 2; 6].into_iter().chain([3 * OFFERED_MAX]) {
            assert!(unsaved.put(unkept(size)).is_empty());
        }
        let first = offered(&mut unsaved);
        assert_eq!(first.len(), 2);
        assert!(unsaved.offer().is_none(), "however often it is tried");

        unsaved.handle_receipt(first[0], false);
        unsaved.handle_receipt(first[1], true);
        let mut asked = offered(&mut unsaved);
        assert_eq!(asked.len(), 2);
        while let Some(ticket) = asked.pop() {
            unsaved.handle_receipt(ticket, true);
            asked.extend(offered(&mut unsaved));
        }
        assert!(unsaved.is_empty() && unsaved.bytes == 0, "long ones too");
    }

    #[test]
    fn the_log_is_told_now_and_then_how_much_is_lost() {
        let (mut unsaved, now) = (Unsaved::default(), Instant::now());
        assert_eq!(unsaved.may_log(now), Some(0));
        assert_eq!(unsaved.may_log(now), None);
        assert_eq!(unsaved.may_log(now + LOG_EVERY), Some(1));
    }
}
