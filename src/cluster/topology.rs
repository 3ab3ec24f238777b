//! Which nodes a cluster has in one datacenter, and which of them hold a token.

/// For one way of replicating: the tokens of the ring, and who holds what ends at each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ring {
    /// Ascending, with places in [`Topology::addresses`], most important first.
    pub tokens: Vec<(i64, Box<[u16]>)>,
}

/// The nodes of one datacenter, and who of them holds what. Immutable: a change makes a new one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Topology {
    addresses: Vec<Box<str>>,
    rings: Vec<Ring>,
    /// By name, with the place of its ring.
    keyspaces: Vec<(Box<str>, usize)>,
}

impl Topology {
    /// These nodes as `host:port`, and the ring of each keyspace as a place in `rings`.
    #[must_use]
    pub fn new(
        addresses: Vec<Box<str>>,
        rings: Vec<Ring>,
        mut keyspaces: Vec<(Box<str>, usize)>,
    ) -> Self {
        keyspaces.sort_unstable();
        Self {
            addresses,
            rings,
            keyspaces,
        }
    }

    /// The nodes as `host:port`.
    #[must_use]
    pub fn addresses(&self) -> &[Box<str>] {
        &self.addresses
    }

    /// Who holds this token of this keyspace, as places in [`Topology::addresses`]; nobody, if the
    /// keyspace is not known.
    #[must_use]
    pub fn replicas(&self, keyspace: &str, token: i64) -> &[u16] {
        let by_name = |it: &(Box<str>, usize)| it.0.as_ref().cmp(keyspace);
        let Ok(at) = self.keyspaces.binary_search_by(by_name) else {
            return &[];
        };
        let ring = self.keyspaces.get(at).and_then(|it| self.rings.get(it.1));
        let Some(Ring { tokens }) = ring else {
            return &[];
        };
        // A node holds what lies between the token before its own and its own.
        let at = tokens.partition_point(|(end, _)| *end < token);
        let held = tokens.get(at).or_else(|| tokens.first());
        held.map_or(&[], |(_, replicas)| replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_the_first_end_behind_it_and_the_ring_is_closed() {
        let ring = Ring {
            tokens: vec![
                (-10, Box::new([0, 1])),
                (0, Box::new([1, 2])),
                (10, Box::new([2, 0])),
            ],
        };
        let addresses = ["a:1", "b:1", "c:1"].map(Box::from).to_vec();
        let keyspaces = vec![("shop".into(), 0), ("odd".into(), 7)];
        let topology = Topology::new(addresses, vec![ring], keyspaces);
        let replicas = |token| topology.replicas("shop", token).to_vec();
        assert_eq!(replicas(i64::MIN), [0, 1]);
        assert_eq!(replicas(-10), [0, 1]);
        assert_eq!(replicas(-9), [1, 2]);
        assert_eq!(replicas(10), [2, 0]);
        assert_eq!(replicas(11), [0, 1], "behind the last it begins anew");
        assert!(topology.replicas("other", 0).is_empty());
        assert!(topology.replicas("odd", 0).is_empty());
        assert!(Topology::default().replicas("shop", 0).is_empty());
    }
}
