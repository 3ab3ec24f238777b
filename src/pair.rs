//! The two clusters as one symmetric value: [`Side`], [`Pair`] and [`Sides`].

use std::fmt;
use std::ops::{Index, IndexMut, Not};

/// One of the two clusters. Nothing distinguishes them but the name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// The cluster configured as `clusters.a`.
    A,
    /// The cluster configured as `clusters.b`.
    B,
}

impl Side {
    /// Both sides, A first.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The fixed metric label: `A` or `B`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// 0 for A and 1 for B, the bit number in [`Sides`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl Not for Side {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One value for each side.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Pair<T> {
    /// What belongs to A.
    pub a: T,
    /// What belongs to B.
    pub b: T,
}

impl<T> Pair<T> {
    /// A pair of these two.
    pub const fn new(a: T, b: T) -> Self {
        Self { a, b }
    }

    /// Makes each side's value by `make`, A first.
    pub fn from_fn(mut make: impl FnMut(Side) -> T) -> Self {
        Self {
            a: make(Side::A),
            b: make(Side::B),
        }
    }

    /// The same pair by reference.
    pub const fn as_ref(&self) -> Pair<&T> {
        Pair {
            a: &self.a,
            b: &self.b,
        }
    }

    /// Each value through `f`, with its side.
    pub fn map<U>(self, mut f: impl FnMut(Side, T) -> U) -> Pair<U> {
        Pair {
            a: f(Side::A, self.a),
            b: f(Side::B, self.b),
        }
    }

    /// Both values with their side, A first.
    pub fn iter(&self) -> impl Iterator<Item = (Side, &T)> {
        [(Side::A, &self.a), (Side::B, &self.b)].into_iter()
    }
}

impl<T> Index<Side> for Pair<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

impl<T> IndexMut<Side> for Pair<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

/// A set of sides: none, one or both.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Sides(u8);

impl Sides {
    /// No side.
    pub const NONE: Self = Self(0);
    /// Both sides.
    pub const BOTH: Self = Self(0b11);

    /// Just this side.
    #[must_use]
    pub const fn only(side: Side) -> Self {
        Self(1 << side.index())
    }

    /// The set as bits, bit 0 for A and bit 1 for B: the stored form.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From stored bits; bits that name no side are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b11)
    }

    /// Whether no side is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this side is in it.
    #[must_use]
    pub const fn contains(self, side: Side) -> bool {
        self.0 & Self::only(side).0 != 0
    }

    /// The set with this side in it.
    #[must_use]
    pub const fn with(self, side: Side) -> Self {
        Self(self.0 | Self::only(side).0)
    }

    /// The set with this side taken out.
    #[must_use]
    pub const fn without(self, side: Side) -> Self {
        Self(self.0 & !Self::only(side).0)
    }

    /// The sides in this set that are not in the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The sides in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The sides in it, A first.
    pub fn iter(self) -> impl Iterator<Item = Side> {
        Side::ALL
            .into_iter()
            .filter(move |side| self.contains(*side))
    }
}

impl FromIterator<Side> for Sides {
    fn from_iter<I: IntoIterator<Item = Side>>(sides: I) -> Self {
        sides.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_of_the_other_side_is_the_side() {
        for side in Side::ALL {
            assert_ne!(side, !side);
            assert_eq!(side, !!side);
        }
    }

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let both: Sides = Side::ALL.into_iter().collect();
        assert_eq!(both, Sides::BOTH);
        assert_eq!(both.without(Side::A), Sides::only(Side::B));
        assert_eq!(Sides::from_bits(0xFF), Sides::BOTH);
        assert!(Sides::NONE.iter().next().is_none());
    }
}
