//! Ids of records: UUIDs of version 7, without asking the system for randomness each time.

use std::cell::Cell;

use uuid::{Builder, Uuid};

/// One thread's source of ids.
#[derive(Debug)]
pub struct Ids {
    seed: [u8; 10],
    count: Cell<u64>,
}

impl Default for Ids {
    fn default() -> Self {
        let mut seed = [0; 10];
        seed.copy_from_slice(&Uuid::now_v7().as_bytes()[6..]);
        Self {
            seed,
            count: Cell::new(0),
        }
    }
}

impl Ids {
    /// The next one: the time, this source's own random bits, and a count mixed into them.
    #[must_use]
    pub fn next(&self, micros: i64) -> [u8; 16] {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let mut bits = self.seed;
        // The last 6 bytes, clear of the bits that say which kind of UUID it is.
        if let Some(low) = bits.last_chunk_mut::<6>() {
            let [_, _, random @ ..] = count.to_be_bytes();
            for (bit, more) in low.iter_mut().zip(random) {
                *bit ^= more;
            }
        }
        let millis = u64::try_from(micros / 1_000).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &bits)
            .into_uuid()
            .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_of_version_7_at_their_time() {
        let sources = [Ids::default(), Ids::default()];
        let micros = 1_700_000_000_000_000;
        let ids = sources
            .iter()
            .flat_map(|ids| (0..10_000).map(|_| ids.next(micros)));
        let ids: HashSet<_> = ids.collect();
        assert_eq!(ids.len(), 20_000);
        for id in ids.into_iter().map(Uuid::from_bytes) {
            assert_eq!(id.get_version_num(), 7);
            let time = id.get_timestamp().expect("version 7 has one").to_unix();
            assert_eq!(time.0, 1_700_000_000);
        }
    }
}
