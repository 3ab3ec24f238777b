//! Text becomes durations, sizes, addresses. An error is the rest of the sentence after the key.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::cluster::ContactPoint;

const HOST_LENGTH_MAX: usize = 253;
const UNITS: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `1500ms`, `5m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    if text.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        return Err("a duration needs a unit, such as 1500ms, 5s or 5m");
    }
    humantime::parse_duration(text)
        .ok()
        .ok_or("expected a duration such as 1500ms, 5s or 5m")
}

/// `8GiB`, `256MiB`, `512B`.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    const SHAPE: &str = "expected a size such as 8GiB, 256MiB or 512B";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().ok_or(SHAPE)?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Err("a size needs a unit, such as 8GiB, 256MiB or 512B");
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(SHAPE);
    };
    number.checked_mul(*factor).ok_or("the size is too large")
}

/// A size by the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| 0 < bytes && bytes.is_multiple_of(*factor));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, factor)| format!("{}{name}", bytes / factor),
    )
}

/// An address to listen on: `127.0.0.1:9042` or `[::1]:9042`.
pub(super) fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    Err(if text.parse::<IpAddr>().is_ok() {
        "the port is missing, such as in 127.0.0.1:9042"
    } else {
        "expected an address and a port, such as 127.0.0.1:9042 or [::1]:9042"
    })
}

/// A node: `host`, `host:port`, `10.0.0.1:9042`, `::1` or `[::1]:9042`.
pub(super) fn contact_point(text: &str) -> Result<ContactPoint, &'static str> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return node(address.ip().to_string(), address.port());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return node(ip.to_string(), ContactPoint::PORT);
    }
    match text.rsplit_once(':') {
        None => node(host(text)?, ContactPoint::PORT),
        Some((name, port)) => node(
            host(name)?,
            port.parse()
                .ok()
                .ok_or("the port must be from 1 to 65535")?,
        ),
    }
}

fn node(host: String, port: u16) -> Result<ContactPoint, &'static str> {
    let fits = 0 < port;
    fits.then_some(ContactPoint { host, port })
        .ok_or("the port must be from 1 to 65535")
}

/// A host name in lower case. One of digits and dots alone is an address gone wrong.
fn host(text: &str) -> Result<String, &'static str> {
    let letter = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let edge = |c: char| matches!(c, '-' | '.');
    let named = !text.is_empty()
        && text.len() <= HOST_LENGTH_MAX
        && text.bytes().all(letter)
        && !text.starts_with(edge)
        && !text.contains("..")
        && !text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    named
        .then(|| text.to_ascii_lowercase())
        .ok_or("expected HOST or HOST:PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for bad in [
            "1500",
            "1.5",
            "",
            "fast",
            "-1s",
            "5 parsecs",
            "999999999999999999999s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("256 MiB"), Ok(256 << 20));
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(
            [show_size(8 << 30), show_size(1025), show_size(0)],
            ["8GiB", "1025B", "0B"]
        );
        for bad in [
            "8",
            "8GB",
            "8gib",
            "GiB",
            "",
            "-1B",
            "1.5GiB",
            "99999999999TiB",
            "\u{e9}",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn contact_points_take_names_and_addresses() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1:9042"),
            ("10.0.0.1:19042", "10.0.0.1:19042"),
            ("::1", "[::1]:9042"),
            ("[::1]", "[::1]:9042"),
            ("[fe80::1]:9043", "[fe80::1]:9043"),
            ("Node-1.Example.com:9043", "node-1.example.com:9043"),
            ("cassandra_a", "cassandra_a:9042"),
        ] {
            assert_eq!(
                contact_point(text).map(|node| node.to_string()),
                Ok(shown.to_owned())
            );
        }
        for bad in [
            "",
            ":9042",
            "host:",
            "host:0",
            "host:65536",
            "10.0.0",
            "10.0.0.256",
            "a b",
            "a/b:1",
            "-a",
            "a..b",
            "[::1",
            "[::g]:1",
            "host:1:2",
            "u:p@host",
            "\u{e9}:1",
        ] {
            assert!(contact_point(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_to_listen_on_are_complete() {
        assert!(listen("0.0.0.0:9042").is_ok() && listen("[::1]:0").is_ok());
        for bad in [
            "127.0.0.1",
            "localhost:9042",
            ":9042",
            "127.0.0.1:99999",
            "",
        ] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}
