//! SUPPORTED: what the proxy itself offers, never what a node does (trap 20).

use crate::wire::{Compression, put};

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
