//! A set of sequence numbers, small where they are dense: an hour's outage is one long run.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::replay::Seq;

/// A set of [`Seq`]: one word for 64 neighbours.
#[derive(Debug, Default)]
pub(super) struct SeqSet {
    words: BTreeMap<i64, u64>,
    len: u64,
}

impl SeqSet {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        let (at, bit) = place(seq);
        self.words.get(&at).is_some_and(|word| word & bit != 0)
    }

    /// Puts it in; says whether it was not there.
    pub(super) fn insert(&mut self, seq: Seq) -> bool {
        let (at, bit) = place(seq);
        let word = self.words.entry(at).or_default();
        let fresh = *word & bit == 0;
        *word |= bit;
        self.len += u64::from(fresh);
        fresh
    }

    /// Takes it out; says whether it was there.
    pub(super) fn remove(&mut self, seq: Seq) -> bool {
        let (at, bit) = place(seq);
        let Some(word) = self.words.get_mut(&at) else {
            return false;
        };
        let there = *word & bit != 0;
        *word &= !bit;
        if *word == 0 {
            self.words.remove(&at);
        }
        self.len -= u64::from(there);
        there
    }

    /// The smallest.
    pub(super) fn first(&self) -> Option<Seq> {
        let (&at, &word) = self.words.first_key_value()?;
        Some(seq(at, word.trailing_zeros()))
    }

    /// Moves up to `max` of the smallest into `out`.
    pub(super) fn take(&mut self, max: usize, out: &mut Vec<Seq>) {
        let enough = out.len().saturating_add(max);
        while out.len() < enough
            && let Some(mut first) = self.words.first_entry()
        {
            let at = *first.key();
            let word = first.get_mut();
            while *word != 0 && out.len() < enough {
                out.push(seq(at, word.trailing_zeros()));
                *word &= *word - 1;
                self.len -= 1;
            }
            if *word == 0 {
                first.remove();
            }
        }
    }
}

/// Sorted numbers as runs of neighbours.
pub(super) fn runs(sorted: &[Seq], out: &mut Vec<RangeInclusive<i64>>) {
    let neighbours = sorted.chunk_by(|left, right| left.0 + 1 == right.0);
    out.extend(neighbours.filter_map(|run| Some(run.first()?.0..=run.last()?.0)));
}

fn place(seq: Seq) -> (i64, u64) {
    (seq.0 >> 6, 1 << (seq.0 & 63))
}

fn seq(at: i64, bit: u32) -> Seq {
    Seq((at << 6) | i64::from(bit))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((0_i64..300, 0_u8..8), 0..400)) {
            let (mut ours, mut model) = (SeqSet::default(), BTreeSet::new());
            for (number, step) in steps {
                let seq = Seq(number);
                match step {
                    0..=3 => prop_assert_eq!(ours.insert(seq), model.insert(seq)),
                    4..=6 => prop_assert_eq!(ours.remove(seq), model.remove(&seq)),
                    _ => {
                        let mut taken = Vec::new();
                        ours.take(5, &mut taken);
                        let expected: Vec<_> = model.iter().copied().take(5).collect();
                        expected.iter().for_each(|seq| assert!(model.remove(seq)));
                        prop_assert_eq!(taken, expected);
                    }
                }
                prop_assert_eq!(ours.first(), model.first().copied());
                prop_assert_eq!(ours.len(), u64::try_from(model.len()).unwrap());
                prop_assert_eq!(ours.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn neighbours_leave_as_one_run() {
        let mut set = SeqSet::default();
        for seq in [9, 1, 2, 3, 70, 8, 64, 65] {
            set.insert(Seq(seq));
        }
        let mut runs = Vec::new();
        let mut sorted = Vec::new();
        set.take(usize::MAX, &mut sorted);
        super::runs(&sorted, &mut runs);
        assert_eq!(runs, [1..=3, 8..=9, 64..=65, 70..=70]);
        assert!(set.is_empty());
    }
}
