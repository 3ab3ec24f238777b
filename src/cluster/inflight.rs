//! The stream ids of one connection: which are in use, and for whom.

use crate::wire::NodeStream;

/// Stream ids of protocol versions 3 and later: 0 to 32,767.
pub const STREAMS_MAX: usize = 32_768;

#[derive(Clone, Copy, Debug)]
enum Slot<T> {
    /// Points to the next free slot; `STREAMS_MAX` ends the list.
    Free(usize),
    Waiting(T),
}

/// A slab of stream ids. An id is free again only when its answer has arrived: a request that was
/// given up keeps its id, so that a late answer can never reach a newer request.
#[derive(Debug)]
pub struct Inflight<T> {
    slots: Vec<Slot<T>>,
    free: usize,
    waiting: usize,
}

impl<T> Default for Inflight<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: STREAMS_MAX,
            waiting: 0,
        }
    }
}

impl<T: Copy> Inflight<T> {
    /// A free id for this ticket, or `None` when all are in use.
    #[inline]
    pub fn take(&mut self, ticket: T) -> Option<NodeStream> {
        let at = self.free;
        if at == STREAMS_MAX {
            if self.slots.len() == STREAMS_MAX {
                return None;
            }
            self.waiting += 1;
            self.slots.push(Slot::Waiting(ticket));
            return i16::try_from(self.slots.len() - 1).ok().map(NodeStream);
        }
        let slot = self.slots.get_mut(at)?;
        let Slot::Free(next) = *slot else { return None };
        self.free = next;
        *slot = Slot::Waiting(ticket);
        self.waiting += 1;
        i16::try_from(at).ok().map(NodeStream)
    }

    /// The ticket of an answer; its id is free from now on. `None`: nobody asked.
    #[inline]
    pub fn answer(&mut self, stream: NodeStream) -> Option<T> {
        let at = usize::try_from(stream.0).ok()?;
        let slot = self.slots.get_mut(at)?;
        let Slot::Waiting(ticket) = *slot else {
            return None;
        };
        *slot = Slot::Free(self.free);
        self.free = at;
        self.waiting -= 1;
        Some(ticket)
    }

    /// Requests without an answer.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes everything out: the connection is gone.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let slots = std::mem::take(&mut self.slots);
        *self = Self::default();
        slots.into_iter().filter_map(|slot| match slot {
            Slot::Free(_) => None,
            Slot::Waiting(ticket) => Some(ticket),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn an_id_is_never_given_twice_while_it_waits() {
        let mut inflight = Inflight::default();
        let mut held = HashMap::new();
        let mut dice = 7_u64;
        for ticket in 0..50_000_u32 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if dice >> 60 < 9 {
                let stream = inflight.take(ticket).expect("below the limit");
                assert!(
                    held.insert(stream.0, ticket).is_none(),
                    "{stream:?} given twice"
                );
            } else if let Some(&stream) = held.keys().next() {
                assert_eq!(inflight.answer(NodeStream(stream)), held.remove(&stream));
                assert_eq!(inflight.answer(NodeStream(stream)), None);
            }
            assert_eq!(inflight.waiting(), held.len());
        }
        let mut left: Vec<_> = inflight.drain().collect();
        left.sort_unstable();
        let mut expected: Vec<_> = held.into_values().collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn all_ids_can_be_used_and_no_more() {
        let mut inflight = Inflight::default();
        for ticket in 0..STREAMS_MAX {
            assert!(inflight.take(ticket).is_some());
        }
        assert_eq!(inflight.take(0), None);
        assert_eq!(inflight.answer(NodeStream(99)), Some(99));
        assert_eq!(inflight.take(7), Some(NodeStream(99)));
        assert_eq!(inflight.answer(NodeStream(-1)), None);
    }
}
