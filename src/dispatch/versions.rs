//! Which protocol version clients are offered: the highest that both clusters speak (S21).

use crate::cluster::ProtocolMax;
use crate::pair::{Pair, Side, Sides};
use crate::wire::Version;

/// What is known of the clusters' versions.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    max: ProtocolMax,
    sides: Sides,
    known: Pair<Option<Version>>,
}

impl Versions {
    /// Versions up to `max` over these sides, of which so much is known, by number; numbers that this
    /// program does not know mean nothing.
    #[must_use]
    pub fn new(max: ProtocolMax, sides: Sides, known: Pair<Option<u8>>) -> Self {
        Self {
            max,
            sides,
            known: known.map(|_, number| number.and_then(Version::from_number)),
        }
    }

    /// What clients are offered at most.
    #[must_use]
    pub fn offered(&self) -> Version {
        let of = |side: Side| self.known[side].unwrap_or_else(|| self.max.unseen());
        let both = self.sides.iter().map(of);
        both.fold(self.max.version(), Version::min)
    }

    /// The highest version that this side speaks; whether that is news.
    pub fn learn(&mut self, side: Side, version: Version) -> bool {
        self.known[side].replace(version) != Some(version)
    }

    /// The highest version of each side by number, as far as it was ever seen.
    #[must_use]
    pub fn known(&self) -> Pair<Option<u8>> {
        self.known.map(|_, version| version.map(Version::number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_offered_what_both_speak_and_no_more_than_is_configured() {
        let mut versions = Versions::new(ProtocolMax::V5, Sides::BOTH, Pair::default());
        assert_eq!(versions.offered(), Version::V5, "nobody was seen");
        assert!(versions.learn(Side::A, Version::V5));
        assert!(!versions.learn(Side::A, Version::V5));
        assert!(versions.learn(Side::B, Version::V4));
        assert_eq!(versions.offered(), Version::V4);
        // B comes back upgraded, A goes back.
        assert!(versions.learn(Side::B, Version::V5));
        assert_eq!(versions.offered(), Version::V5);
        assert!(versions.learn(Side::A, Version::V3));
        assert_eq!(versions.offered(), Version::V3);

        let mut auto = Versions::new(ProtocolMax::Auto, Sides::BOTH, Pair::default());
        auto.learn(Side::A, Version::V5);
        assert_eq!(auto.offered(), Version::V4, "B was never seen");
        auto.learn(Side::B, Version::V5);
        assert_eq!(auto.offered(), Version::V5);

        let capped = Versions::new(ProtocolMax::V4, Sides::BOTH, versions.known());
        assert_eq!(capped.offered(), Version::V3);
        let alone = Pair::new(Some(5), Some(77));
        let alone = Versions::new(ProtocolMax::V4, Sides::only(Side::A), alone);
        assert_eq!(alone.offered(), Version::V4);
    }
}
