//! An operator who has a record replayed that nobody knew to be allowed.

use super::{Reason, Record};

/// Where the reason stands: behind version, checksum, time, id and flags.
const REASON_AT: usize = 1 + 4 + 8 + 16 + 2;

/// The same record, if it said that it must not be replayed, as one that may be. `None` if it may be
/// already, or is no record.
#[must_use]
pub fn vouch(body: &[u8]) -> Option<Vec<u8>> {
    let record = Record::decode(body).ok()?;
    if record.reason != Reason::Unproven {
        return None;
    }
    let mut vouched = body.to_vec();
    *vouched.get_mut(REASON_AT)? = Reason::Failed as u8;
    let (head, rest) = vouched.split_at_mut_checked(5)?;
    let (version, checksum) = head.split_first_mut()?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[*version]);
    crc.update(rest);
    checksum.copy_from_slice(&crc.finalize().to_be_bytes());
    Some(vouched)
}

#[cfg(test)]
mod tests {
    use super::super::{Child, Draft};
    use super::*;

    fn body(reason: Reason) -> Vec<u8> {
        let statements = [Child {
            text: "INSERT INTO t (k) VALUES (1)",
            keyspace: None,
            bind_types: 0,
            values: &[],
            count: 0,
            named: false,
        }];
        let draft = Draft {
            origin: "test",
            statements: &statements,
            reason,
            ..Draft::default()
        };
        let mut out = Vec::new();
        draft.encode(&mut out);
        out
    }

    #[test]
    fn only_what_nobody_vouched_for_is_changed_and_nothing_else_in_it() {
        let vouched = vouch(&body(Reason::Unproven)).unwrap();
        let expected = Record::decode(&body(Reason::Failed)).unwrap();
        assert_eq!(Record::decode(&vouched), Ok(expected));
        assert_eq!(vouch(&vouched), None);
        assert_eq!(vouch(b"no record"), None);
    }
}
