//! The proxy's own prepared ids: the same in every proxy and after every restart.

use std::fmt;

use sha2::{Digest, Sha256};

/// What a client gets from PREPARE and sends with EXECUTE.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StatementId(pub [u8; 16]);

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl TryFrom<&[u8]> for StatementId {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

/// The id of a text prepared in this keyspace: the first half of a SHA-256 over both. The keyspace
/// goes in with its length, so that no other pair reads the same.
#[must_use]
pub fn id(keyspace: Option<&str>, text: &str) -> StatementId {
    let mut hash = Sha256::new();
    match keyspace {
        None => hash.update([0]),
        Some(name) => {
            hash.update([1]);
            hash.update(u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(name);
        }
    }
    hash.update(text);
    let digest = hash.finalize();
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(digest) {
        *to = from;
    }
    StatementId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_depends_on_keyspace_and_text_and_nothing_else() {
        let ids = [
            id(None, "ab"),
            id(Some(""), "ab"),
            id(Some("a"), "b"),
            id(Some("ab"), ""),
            id(Some("a"), "ab"),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert!(ids.iter().skip(at + 1).all(|other| other != one));
        }
        assert_eq!(id(Some("ks"), "SELECT"), id(Some("ks"), "SELECT"));
    }

    #[test]
    fn the_id_is_a_constant_of_the_product() {
        let shown = format!("{:?}", id(Some("shop"), "SELECT v FROM t WHERE k = ?"));
        assert_eq!(shown, "49d591c54b6a0b7931f033561b07759d");
    }
}
