//! Which kinds of function a text calls: that is all that their names are needed for.

use super::Functions;

/// Functions whose value depends on the server that runs them, in lower case (S10).
const PER_SERVER: [&str; 10] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "current_timeuuid",
    "currentdate",
    "currenttime",
    "currenttimestamp",
    "currenttimeuuid",
    "now",
    "uuid",
];

/// The aggregates that every server has.
const AGGREGATE: [&str; 6] = ["avg", "count", "countrows", "max", "min", "sum"];

/// Functions of one row whose value is the same everywhere.
const PLAIN: [&str; 43] = [
    "abs",
    "cast",
    "collection_avg",
    "collection_count",
    "collection_max",
    "collection_min",
    "collection_sum",
    "dateof",
    "exp",
    "from_json",
    "fromjson",
    "log",
    "log10",
    "map_keys",
    "map_values",
    "mask_default",
    "mask_hash",
    "mask_inner",
    "mask_null",
    "mask_outer",
    "mask_replace",
    "max_timeuuid",
    "maxtimeuuid",
    "maxwritetime",
    "min_timeuuid",
    "mintimeuuid",
    "minwritetime",
    "round",
    "similarity_cosine",
    "similarity_dot_product",
    "similarity_euclidean",
    "to_date",
    "to_json",
    "to_timestamp",
    "to_unix_timestamp",
    "todate",
    "tojson",
    "token",
    "totimestamp",
    "tounixtimestamp",
    "ttl",
    "unixtimestampof",
    "writetime",
];

/// Words that may stand before a bracket without being a function.
const NO_CALL: [&str; 13] = [
    "between",
    "by",
    "contains",
    "default",
    "json",
    "key",
    "like",
    "limit",
    "not",
    "of",
    "or",
    "timestamp",
    "values",
];

/// The kinds of function seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// `now()` and its kin.
    pub(super) per_server: bool,
    /// `count()` and its kin.
    pub(super) aggregate: bool,
    /// One of nobody's list: the user's own, scalar or aggregate.
    pub(super) unknown: bool,
    /// Of all that were seen.
    pub(super) functions: Functions,
}

impl Calls {
    /// Takes note of the word before an opening bracket, and whether `system.` stands before it.
    pub(super) fn note(&mut self, name: &str, is_system: bool) {
        if !is_system {
            self.functions = Functions::Foreign;
        }
        let mut buffer = [0; 32];
        let name = name.trim_matches('"').as_bytes();
        let Some(lower) = buffer.get_mut(..name.len()) else {
            self.unknown = true;
            return;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).unwrap_or_default();
        if NO_CALL.binary_search(&name).is_ok() || PLAIN.binary_search(&name).is_ok() {
            return;
        }
        self.per_server |= PER_SERVER.binary_search(&name).is_ok();
        self.aggregate |= AGGREGATE.binary_search(&name).is_ok();
        self.unknown |= !self.per_server && !self.aggregate && !is_blob_conversion(name);
    }
}

/// `blobAsInt`, `int_as_blob` and the like: one pair for each type.
fn is_blob_conversion(name: &str) -> bool {
    name.starts_with("blobas")
        || name.starts_with("blob_as")
        || name.ends_with("asblob")
        || name.ends_with("as_blob")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        assert!(PER_SERVER.is_sorted() && AGGREGATE.is_sorted());
        assert!(PLAIN.is_sorted() && NO_CALL.is_sorted());
    }
}
