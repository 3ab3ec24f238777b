//! What a `ScyllaDB` node says of its shards, whose a token is, and which source port leads where.
//!
//! By "Intranode sharding" of `ScyllaDB`'s `docs/dev/protocol-extensions.md`. A node that says less
//! than that, or anything else, counts as one without shards.

use std::num::{NonZeroU16, NonZeroUsize};
use std::ops::RangeInclusive;

use crate::wire::Cursor;
use crate::wire::response::supported;

/// The one algorithm that there is.
const ALGORITHM: &str = "biased-token-round-robin";
/// Local ports that are chosen here: those that are meant for clients (RFC 6335, section 6).
const PORTS: RangeInclusive<u16> = 49_152..=65_535;

/// Which shard a connection leads to, and how the node divides its tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sharding {
    pub(super) shard: u16,
    shards: NonZeroU16,
    ignored_bits: u8,
    /// The node's own id, if it tells.
    node: Option<u128>,
    pub(super) port: Option<NonZeroU16>,
    pub(super) port_tls: Option<NonZeroU16>,
}

impl Sharding {
    /// What the body of a SUPPORTED says, if the node has more than one shard.
    pub(super) fn read(body: Cursor<'_>) -> Option<Self> {
        let (mut shard, mut shards, mut ignored_bits) = (None, None, None);
        let (mut is_murmur, mut is_known) = (false, false);
        let (mut node, mut port, mut port_tls) = (None, None, None);
        let read = supported::each(body, |key, value| match key {
            "SCYLLA_SHARD" => shard = value.parse().ok(),
            "SCYLLA_NR_SHARDS" => shards = value.parse().ok(),
            "SCYLLA_SHARDING_IGNORE_MSB" => ignored_bits = value.parse().ok(),
            "SCYLLA_PARTITIONER" => {
                is_murmur = value.rsplit('.').next() == Some("Murmur3Partitioner");
            }
            "SCYLLA_SHARDING_ALGORITHM" => is_known = value == ALGORITHM,
            "SCYLLA_HOST_ID" => node = u128::from_str_radix(&value.replace('-', ""), 16).ok(),
            "SCYLLA_SHARD_AWARE_PORT" => port = value.parse().ok(),
            "SCYLLA_SHARD_AWARE_PORT_SSL" => port_tls = value.parse().ok(),
            _ => {}
        });
        let it = Self {
            shard: shard?,
            shards: shards?,
            ignored_bits: ignored_bits?,
            node,
            port,
            port_tls,
        };
        let is_sound = it.shard < it.shards.get() && it.ignored_bits < 64;
        let has_shards = read.is_ok() && is_murmur && is_known && 1 < it.shards.get();
        (has_shards && is_sound).then_some(it)
    }

    /// The same of the node with this id, if it did not tell another.
    pub(super) fn of(self, node: Option<u128>) -> Self {
        let node = self.node.or(node);
        Self { node, ..self }
    }

    /// Whether it is known which node says it: older releases do not tell.
    pub(super) const fn is_signed(&self) -> bool {
        self.node.is_some()
    }

    /// Whether another connection leads to the same node, and its shards are the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.shards, it.ignored_bits, it.node);
        self.is_signed() && of(self) == of(other)
    }

    /// Seats for the shards of this node, if there may be so many.
    pub(super) fn seats(&self, seats_max: usize) -> usize {
        seats_max.min(self.shards.get().into())
    }

    /// Whose this token is.
    #[inline]
    pub(super) fn shard_of(&self, token: i64) -> u16 {
        let biased = token.cast_unsigned() ^ (1 << 63);
        let shifted = biased << self.ignored_bits;
        let shard = (u128::from(shifted) * u128::from(self.shards.get())) >> 64;
        // Below the number of shards, since `shifted` is below 2^64.
        u16::try_from(shard).unwrap_or_default()
    }

    /// Which of so many seats this shard has; neighbours share one where there are fewer than shards.
    #[inline]
    pub(super) fn seat_of(&self, shard: u16, seats: usize) -> usize {
        usize::from(shard) * seats / usize::from(self.shards.get())
    }

    /// A shard of this seat, by a number at random.
    pub(super) fn shard_in(&self, seat: usize, seats: NonZeroUsize, random: usize) -> u16 {
        let shards = usize::from(self.shards.get());
        let first = |seat: usize| (seat * shards).div_ceil(seats.get());
        let width = first(seat + 1) - first(seat);
        let shard = first(seat) + random % width.max(1);
        u16::try_from(shard).unwrap_or_default()
    }

    /// Source ports from which the shard-aware port leads to this shard: each once, from any on.
    pub(super) fn ports(&self, shard: u16, random: u64) -> impl Iterator<Item = u16> + use<> {
        let shards = self.shards.get();
        let (start, end) = (*PORTS.start(), *PORTS.end());
        let leads_there = move |port: &u16| port % shards == shard;
        let first = (start..=end).take(shards.into()).find(leads_there);
        let ports = first.map_or(0, |first| (end - first) / shards + 1);
        let begin = random % u64::from(ports).max(1);
        (0..ports).filter_map(move |step| {
            let at = (begin + u64::from(step)) % u64::from(ports);
            let port = u64::from(first?) + at * u64::from(shards);
            u16::try_from(port).ok()
        })
    }
}

#[cfg(test)]
impl Sharding {
    /// What a node says that ignores no bits.
    pub(super) fn told(shard: u16, shards: u16, [port, port_tls]: [u16; 2]) -> Self {
        Self {
            shard,
            shards: NonZeroU16::new(shards).unwrap(),
            ignored_bits: 0,
            node: Some(7),
            port: NonZeroU16::new(port),
            port_tls: NonZeroU16::new(port_tls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put;

    const GOOD: [(&str, &str); 7] = [
        ("SCYLLA_SHARD", "3"),
        ("SCYLLA_NR_SHARDS", "12"),
        (
            "SCYLLA_PARTITIONER",
            "org.apache.cassandra.dht.Murmur3Partitioner",
        ),
        ("SCYLLA_SHARDING_ALGORITHM", ALGORITHM),
        ("SCYLLA_SHARDING_IGNORE_MSB", "12"),
        ("SCYLLA_SHARD_AWARE_PORT", "19042"),
        ("SCYLLA_SHARD_AWARE_PORT_SSL", "19142"),
    ];

    fn body(options: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        put::u16(&mut body, u16::try_from(options.len()).unwrap());
        for (key, value) in options {
            put::string(&mut body, key);
            put::u16(&mut body, 1);
            put::string(&mut body, value);
        }
        body
    }

    fn read(options: &[(&str, &str)]) -> Option<Sharding> {
        Sharding::read(Cursor::new(&body(options)))
    }

    /// The good options with one replaced.
    fn with(key: &str, value: &str) -> Option<Sharding> {
        let replace = |it: (&'static str, &'static str)| {
            if it.0 == key {
                (it.0, value.to_owned())
            } else {
                (it.0, it.1.to_owned())
            }
        };
        let options = GOOD.map(replace);
        let options: Vec<_> = options.iter().map(|(k, v)| (*k, v.as_str())).collect();
        read(&options)
    }

    fn of(shards: u16, ignored_bits: u8) -> Sharding {
        Sharding {
            ignored_bits,
            ..Sharding::told(0, shards, [0, 0])
        }
    }

    #[test]
    fn a_node_with_shards_is_understood_beside_whatever_else_it_says() {
        let mut options = vec![("CQL_VERSION", "3.3.1"), ("SCYLLA_RATE_LIMIT_ERROR", "x")];
        options.extend(GOOD);
        let said = read(&options).unwrap();
        assert_eq!(
            (said.shard, said.shards.get(), said.ignored_bits),
            (3, 12, 12)
        );
        assert_eq!(said.port, NonZeroU16::new(19_042));
        assert_eq!(said.port_tls, NonZeroU16::new(19_142));
        assert!(with("SCYLLA_NR_SHARDS", "65535").is_some());
        assert!(with("SCYLLA_SHARDING_IGNORE_MSB", "63").is_some());
    }

    #[test]
    fn without_a_port_it_has_shards_all_the_same() {
        for value in ["", "0", "-1", "65536", "port"] {
            let said = with("SCYLLA_SHARD_AWARE_PORT", value).unwrap();
            assert_eq!(said.port, None, "{value}");
            assert_eq!(said.port_tls, NonZeroU16::new(19_142));
        }
        assert_eq!(read(&GOOD[..5]).unwrap().port_tls, None);
    }

    #[test]
    fn a_node_that_says_less_or_nonsense_counts_as_one_without_shards() {
        for at in 0..5 {
            let mut options = GOOD.to_vec();
            let (missing, _) = options.remove(at);
            assert_eq!(read(&options), None, "without {missing}");
        }
        let nonsense = [
            ("SCYLLA_SHARD", &["", "12", "-1", "65536", "three"][..]),
            (
                "SCYLLA_NR_SHARDS",
                &["", "0", "1", "3", "65536", "4294967308"],
            ),
            ("SCYLLA_PARTITIONER", &["", "Murmur", "a.RandomPartitioner"]),
            ("SCYLLA_SHARDING_ALGORITHM", &["", "round-robin"]),
            (
                "SCYLLA_SHARDING_IGNORE_MSB",
                &["", "-1", "64", "255", "256"],
            ),
        ];
        for (key, values) in nonsense {
            for value in values {
                assert_eq!(with(key, value), None, "{key}: {value}");
            }
        }
        let whole = body(&GOOD);
        for length in 0..whole.len() {
            assert_eq!(
                Sharding::read(Cursor::new(&whole[..length])),
                None,
                "{length}"
            );
        }
    }

    #[test]
    fn another_node_is_told_by_its_id_or_its_shards() {
        let id = |id| {
            let mut options = GOOD.to_vec();
            options.push(("SCYLLA_HOST_ID", id));
            read(&options).unwrap()
        };
        let (one, other) = (
            id("6b5e34b8-1b34-4b06-9d2e-000000000001"),
            id("6b5e34b8-1b34-4b06-9d2e-000000000002"),
        );
        assert!(one.is_like(&Sharding { shard: 7, ..one }));
        let unsigned = read(&GOOD).unwrap();
        assert!(!one.is_like(&other) && !one.is_like(&unsigned));
        assert!(!unsigned.is_like(&unsigned), "nobody knows whose it is");
        assert!(one.is_like(&unsigned.of(one.node)));
        assert_eq!(other.of(one.node), other, "what it says itself is believed");
        for nonsense in ["", "-", "six", "1234567890-1234567890-1234567890-1234"] {
            assert!(!id(nonsense).is_signed(), "{nonsense}");
        }
        assert!(!of(8, 12).is_like(&of(9, 12)) && !of(8, 12).is_like(&of(8, 11)));
    }

    /// Computed outside of this program with integers of any size:
    /// `((t + 2**63 << bits) % 2**64) * shards // 2**64`.
    #[test]
    fn a_token_belongs_to_the_shard_that_the_node_says() {
        let known = [
            (i64::MIN, 8, 12, 0),
            (i64::MAX, 8, 12, 7),
            (0, 8, 0, 4),
            (-1, 8, 0, 3),
            (0, 8, 12, 0),
            (i64::MIN, 2, 0, 0),
            (-1, 2, 0, 0),
            (0, 2, 0, 1),
            (i64::MAX, 65535, 0, 65534),
            (i64::MAX, 65535, 63, 32767),
            (i64::MIN + 1, 3, 63, 1),
            (i64::MIN + 2, 3, 63, 0),
            (6_278_314_744_523_580_143, 3, 12, 0),
            (7_395_308_864_977_387_832, 2, 1, 1),
            (6_796_619_034_484_074_658, 12, 12, 1),
            (1_363_974_157_860_798_087, 2, 12, 1),
            (-1_694_313_968_266_667_358, 3, 1, 2),
            (-1_017_601_865_735_381_429, 3, 0, 1),
            (6_851_208_320_085_858_489, 3, 0, 2),
            (8_899_098_810_379_854_783, 3, 1, 2),
        ];
        for (token, shards, ignored_bits, shard) in known {
            let it = of(shards, ignored_bits);
            assert_eq!(it.shard_of(token), shard, "{token} of {shards}");
        }
    }

    #[test]
    fn shards_that_are_more_than_seats_share_them_evenly() {
        for (shards, seats) in [(12, 12), (12, 8), (30, 8), (7, 2), (65_535, 16), (3, 3)] {
            let it = of(shards, 12);
            let shared: Vec<_> = (0..shards).map(|shard| it.seat_of(shard, seats)).collect();
            assert!(shared.is_sorted() && shared[0] == 0);
            assert_eq!(shared.last(), Some(&(seats - 1)));
            let seats = NonZeroUsize::new(seats).unwrap();
            for seat in 0..seats.get() {
                let width = shared.iter().filter(|it| **it == seat).count();
                let least = usize::from(shards) / seats;
                assert!((least..=least + 1).contains(&width), "{shards} {seats}");
                let shards = (0..width).map(|random| it.shard_in(seat, seats, random));
                assert!(
                    shards
                        .clone()
                        .all(|shard| shared[usize::from(shard)] == seat)
                );
                let distinct: std::collections::HashSet<_> = shards.collect();
                assert_eq!(distinct.len(), width);
            }
        }
    }

    #[test]
    fn each_port_that_leads_to_a_shard_is_offered_once_wherever_it_begins() {
        for shards in [2, 3, 12, 96, 255, 16_384] {
            for shard in [0, 1, shards - 1] {
                let mut ports: Vec<_> = of(shards, 12).ports(shard, u64::MAX).collect();
                ports.sort_unstable();
                let all: Vec<_> = PORTS.filter(|port| port % shards == shard).collect();
                assert_eq!(ports, all, "{shard} of {shards}");
            }
        }
        let begins = |random| of(12, 12).ports(5, random).next();
        assert_eq!((begins(0), begins(1)), (Some(49_157), Some(49_169)));
        // No port above 49,151 is 20,000 modulo 60,000.
        assert_eq!(of(60_000, 12).ports(20_000, 7).count(), 0);
    }
}
