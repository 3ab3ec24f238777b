//! SUPPORTED: what the proxy itself offers, never what a node does (trap 20); and what a node says of
//! itself, for the proxy alone.

use crate::wire::{Compression, Cursor, Malformed, Version, put};

/// Every key of a node's SUPPORTED with each of its values, in order.
///
/// # Errors
/// If the body is malformed.
pub fn each<'a>(
    mut cursor: Cursor<'a>,
    mut see: impl FnMut(&'a str, &'a str),
) -> Result<(), Malformed> {
    for _ in 0..cursor.u16()? {
        let key = cursor.string()?;
        for _ in 0..cursor.u16()? {
            see(key, cursor.string()?);
        }
    }
    Ok(())
}

/// The highest version that both a node and this program speak, by the node's list; `None` without
/// one. Versions in beta do not count.
///
/// # Errors
/// If the body is malformed.
pub fn versions(cursor: Cursor<'_>) -> Result<Option<Version>, Malformed> {
    let mut highest = None;
    each(cursor, |key, text| {
        let number = text
            .split_once('/')
            .filter(|(_, name)| !name.contains("beta"));
        let number = number.and_then(|(number, _)| number.parse().ok());
        if key == "PROTOCOL_VERSIONS" {
            highest = highest.max(number.and_then(Version::from_number));
        }
    })?;
    Ok(highest)
}

/// Writes the body.
pub fn put(out: &mut Vec<u8>, versions: &[&str]) {
    put::u16(out, 3);
    let lists: [(&str, &[&str]); 3] = [
        ("COMPRESSION", &Compression::NAMES),
        ("CQL_VERSION", &["3.4.5"]),
        ("PROTOCOL_VERSIONS", versions),
    ];
    for (key, values) in lists {
        put::string(out, key);
        put::u16(out, u16::try_from(values.len()).unwrap_or(0));
        for value in values {
            put::string(out, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions_of(list: &[&str]) -> Option<Version> {
        let mut body = Vec::new();
        put(&mut body, list);
        versions(Cursor::new(&body)).unwrap()
    }

    #[test]
    fn the_highest_version_that_is_not_in_beta_counts() {
        assert_eq!(
            versions_of(&["3/v3", "4/v4", "5/v5-beta"]),
            Some(Version::V4)
        );
        assert_eq!(
            versions_of(&["5/v5", "3/v3", "6/v6-beta", "66/dse"]),
            Some(Version::V5)
        );
        assert_eq!(versions_of(&["nonsense", "/", "9999/v9"]), None);
        assert_eq!(
            versions(Cursor::new(&[0, 0])),
            Ok(None),
            "ScyllaDB has no such list"
        );
        assert!(versions(Cursor::new(&[0, 1, 0])).is_err());
    }
}
