//! Who the proxy says that it is: ids that are the same after a restart, and the lower release.

use std::cmp::Ordering;

use uuid::Uuid;

use crate::pair::Pair;

/// The namespace of the product's UUIDs. A constant of the product: drivers keep what is made of it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f6c_15a4_98d3_4b0e_9a5e_2f0c_84d1_7be3);

/// One schema version of both clusters' live ones, the same whichever is A: another one whenever
/// either changes. Of one known side it is that side's own.
#[must_use]
pub fn schema_version(of: Pair<Option<Uuid>>) -> Uuid {
    match (of.a, of.b) {
        (Some(a), Some(b)) => {
            let (low, high) = (a.min(b), a.max(b));
            let both = [low.into_bytes(), high.into_bytes()].concat();
            Uuid::new_v5(&kind("schema_version"), &both)
        }
        (Some(known), None) | (None, Some(known)) => known,
        (None, None) => Uuid::new_v5(&kind("schema_version"), &[]),
    }
}

/// The node's id, from the name of the instance.
#[must_use]
pub fn host_id(instance: &str) -> Uuid {
    Uuid::new_v5(&kind("host_id"), instance.as_bytes())
}

fn kind(of: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, of.as_bytes())
}

/// The lower of two releases: by numbers first; of the same numbers one with a suffix
/// (`5.0-beta1`) is the lower.
#[must_use]
pub fn lower_release<'a>(a: Option<&'a str>, b: Option<&'a str>) -> Option<&'a str> {
    match (a, b) {
        (Some(a), Some(b)) if compare(b, a) == Ordering::Less => Some(b),
        (Some(a), Some(_) | None) => Some(a),
        (None, b) => b,
    }
}

/// The first number of a release.
pub(super) fn major(release: &str) -> Option<u64> {
    numbers(split(release).0).next()
}

fn compare(a: &str, b: &str) -> Ordering {
    let ((left, suffix), (right, other)) = (split(a), split(b));
    let count = numbers(left).count().max(numbers(right).count());
    let padded = |text| numbers(text).chain(std::iter::repeat(0)).take(count);
    padded(left)
        .cmp(padded(right))
        .then_with(|| suffix.is_empty().cmp(&other.is_empty()))
        .then_with(|| suffix.cmp(other))
}

/// The numbers with their dots, and all behind them.
fn split(release: &str) -> (&str, &str) {
    let release = release.trim();
    let end = release.find(|it: char| !it.is_ascii_digit() && it != '.');
    release.split_at(end.unwrap_or(release.len()))
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split('.').map_while(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_are_constants_of_the_product() {
        let shown = host_id("edge-1").to_string();
        assert_eq!(shown, "8fd22d6e-c307-580f-b3d2-0c08fc96b29d");
        assert_ne!(host_id("edge-1"), host_id("edge-2"));
    }

    #[test]
    fn the_schema_version_changes_with_either_side_and_not_with_their_order() {
        let [one, two, three] = [1, 2, 3].map(|it| Some(Uuid::from_u128(it)));
        let of = |a, b| schema_version(Pair::new(a, b));
        assert_eq!(of(one, two), of(two, one));
        assert_ne!(of(one, two), of(one, three));
        assert_ne!(of(one, two), of(three, two));
        assert_ne!(of(one, one), of(two, two));
        assert_eq!(of(one, None), Uuid::from_u128(1));
        assert_eq!(of(None, two), Uuid::from_u128(2));
        assert_eq!(of(None, None).get_version_num(), 5);
        assert_eq!(of(one, two).get_version_num(), 5);
    }

    #[test]
    fn the_lower_release_is_found_by_numbers_not_by_letters() {
        let ascending = [
            "",
            "3.0.8",
            "3.11.19",
            "4.0-beta4",
            "4.0",
            "4.0.9",
            "4.0.10",
            "4.0.10.1",
            "4.1.3-SNAPSHOT",
            "4.1.3",
            "5.0-alpha1",
            "5.0-beta1",
            "5.0-rc1",
            "5.0.0",
            "5.0.7",
            "2025.1.0",
        ];
        for pair in ascending.windows(2) {
            let (low, high) = (Some(pair[0]), Some(pair[1]));
            assert_eq!(lower_release(low, high), low);
            assert_eq!(lower_release(high, low), low);
        }
        assert_eq!(lower_release(None, Some("5.0.7")), Some("5.0.7"));
        assert_eq!(lower_release(Some("5.0.7"), None), Some("5.0.7"));
        assert_eq!(lower_release(None, None), None);
        assert_eq!(lower_release(Some("5.0"), Some("5.0.0")), Some("5.0"));
    }

    #[test]
    fn the_major_number_of_a_release_is_read_past_any_suffix() {
        assert_eq!(major("4.0-alpha1"), Some(4));
        assert_eq!(major("3.11.19"), Some(3));
        assert_eq!(major("5"), Some(5));
        assert_eq!(major("unknown"), None);
    }
}
