//! What a fault may show of a value: never a secret, never more than a line.

const SHOWN_MAX: usize = 60;
const SECRET_WORDS: [&str; 6] = ["auth", "credential", "key", "password", "secret", "token"];

/// A value as a fault shows it: in quotes, cut, and hidden if its key or its shape says secret.
pub(super) fn shown(key: &str, value: &str) -> String {
    let key = key.to_lowercase();
    if SECRET_WORDS.iter().any(|word| key.contains(word)) || value.contains('@') {
        return "(hidden)".to_owned();
    }
    format!("\"{}\"", plain(value))
}

/// Text from the file in one short line, without control characters.
pub(super) fn plain(text: &str) -> String {
    let mut cut: String = text
        .chars()
        .take(SHOWN_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if SHOWN_MAX < text.chars().count() {
        cut.push_str("...");
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(shown("clusters.a.auth.username", "tom"), "(hidden)");
        assert_eq!(shown("admin.Token", "t0ps3cret"), "(hidden)");
        assert_eq!(
            shown("clusters.a.contact_points[0]", "me:pw@host"),
            "(hidden)"
        );
        assert_eq!(shown("reads.timeout", "1x"), "\"1x\"");
    }

    #[test]
    fn a_value_stays_one_short_line() {
        assert_eq!(shown("listen", "a\nb\u{1b}[31m"), "\"a\\nb\\u{1b}[31m\"");
        assert!(shown("listen", &"x".repeat(10_000)).len() < 70);
    }
}
