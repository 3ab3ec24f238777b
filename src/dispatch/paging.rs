//! Paging states carry the cluster they belong to: opaque bytes of one server mean nothing to another.

use crate::pair::Side;
use crate::wire::Version;

/// Bytes put before a server's own paging state: magic, version and side.
const TAG_LEN: usize = 4;
const MAGIC: [u8; 2] = [0xCA, 0x5E];

/// The tag of a paging state that this side made in this version.
#[must_use]
pub(super) const fn tag(side: Side, version: Version) -> [u8; TAG_LEN] {
    let side = match side {
        Side::A => b'A',
        Side::B => b'B',
    };
    [MAGIC[0], MAGIC[1], version.number(), side]
}

/// The side of a tagged paging state and the server's own part. `None`: we did not make it, or in
/// another version, whose states differ.
#[must_use]
pub(super) fn split(state: &[u8], version: Version) -> Option<(Side, &[u8])> {
    let (head, rest) = state.split_first_chunk::<TAG_LEN>()?;
    Side::ALL
        .into_iter()
        .find(|side| tag(*side, version) == *head)
        .map(|side| (side, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tagged_state_comes_back_to_its_side_untouched() {
        for side in Side::ALL {
            let state = [&tag(side, Version::V4)[..], b"opaque"].concat();
            assert_eq!(split(&state, Version::V4), Some((side, &b"opaque"[..])));
            assert_eq!(split(&state, Version::V3), None);
        }
        assert_eq!(split(b"stranger", Version::V4), None);
        assert_eq!(split(b"", Version::V4), None);
    }
}
