//! What `/status` tells: the shape of the answer, and who knows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pair::{Pair, Side};
use crate::replay::Queue;

/// Knows how the proxy does. Asked on the control runtime, so it must answer at once.
pub trait StatusSource: Send + Sync + std::fmt::Debug {
    /// Everything that `/status` tells.
    fn status(&self) -> Status;

    /// Whether clients can be served.
    ///
    /// # Errors
    /// Why not, in a plain sentence without addresses or secrets.
    fn ready(&self) -> Result<(), String>;
}

/// The answer of `/status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Whether clients can be served.
    pub ready: bool,
    /// Which proxy this is.
    pub instance: String,
    /// Its version.
    pub version: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// The clusters by their configured names.
    pub clusters: BTreeMap<String, Cluster>,
    /// Where reads go.
    pub reads: Reads,
    /// What replay has to do.
    pub replay: Replay,
    /// Who is connected.
    pub clients: Clients,
}

/// One cluster.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cluster {
    /// `A` or `B`.
    pub side: String,
    /// Its breaker.
    pub state: State,
    /// Whether it owes writes.
    pub behind: bool,
    /// Whether any node of it is connected.
    pub connected: bool,
    /// What it runs, once known.
    pub release_version: Option<String>,
}

/// A breaker.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Requests go there.
    Closed,
    /// A probe is under way.
    HalfOpen,
    /// Requests do not go there.
    Open,
}

impl State {
    /// As it is written in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Where reads go.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reads {
    /// The side that reads prefer: `A` or `B`.
    pub preferred: String,
}

/// What replay has to do; also the answer of `/replay/status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Replay {
    /// The kind of queue: `disk`, `memory`, `none`.
    pub queue: String,
    /// Records that each side owes.
    pub owed: BySide<u64>,
    /// Age of the oldest of them.
    pub oldest_seconds: BySide<Option<u64>>,
    /// Records given up.
    pub dead_letters: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Whether records can be taken right now.
    pub accepts: bool,
}

impl Replay {
    /// A look at this queue; `now` in microseconds since 1970.
    #[must_use]
    pub fn of(kind: &str, queue: &dyn Queue, now: i64) -> Self {
        let depth = queue.depth();
        let age = |kept: i64| u64::try_from(now.saturating_sub(kept) / 1_000_000).unwrap_or(0);
        Self {
            queue: kind.to_owned(),
            owed: depth.owed.into(),
            oldest_seconds: depth.oldest.map(|_side, kept| kept.map(age)).into(),
            dead_letters: depth.dead,
            bytes: depth.bytes,
            accepts: queue.accepts(),
        }
    }

    /// Without a queue: a single cluster.
    #[must_use]
    pub fn none() -> Self {
        Self {
            queue: "none".to_owned(),
            owed: BySide::default(),
            oldest_seconds: BySide::default(),
            dead_letters: 0,
            bytes: 0,
            accepts: false,
        }
    }
}

/// Who is connected.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Clients {
    /// Client connections that are open.
    pub connections: u64,
}

/// One value for each side, under `A` and `B`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct BySide<T> {
    #[serde(rename = "A")]
    a: T,
    #[serde(rename = "B")]
    b: T,
}

impl<T: Copy> BySide<T> {
    /// The value under this name, `A` or `B`.
    #[must_use]
    pub fn named(&self, side: &str) -> Option<T> {
        let pair = Pair::new(self.a, self.b);
        let side = Side::ALL.into_iter().find(|known| known.label() == side);
        side.map(|side| pair[side])
    }
}

impl<T> From<Pair<T>> for BySide<T> {
    fn from(pair: Pair<T>) -> Self {
        Self {
            a: pair.a,
            b: pair.b,
        }
    }
}
