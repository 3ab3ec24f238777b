//! What operators decide about replay: where records wait and how fast they leave.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that replay is told at start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Where records wait. Default `disk`.
    pub store: Store,
    /// How they are applied. Embedded in this process.
    pub worker: Worker,
}

/// Where records wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Store {
    /// In a SQLite file: survives a crash.
    Disk {
        /// The file; its folder is made at start. Default `data/replay.db`.
        path: PathBuf,
        /// Bytes until new records are refused. Default 8 GiB; more carries longer outages.
        max_bytes: NonZeroU64,
    },
    /// In memory: lost with the process, for tests and demonstrations.
    Memory {
        /// Records until new ones are refused. Default 10,000; more costs about 1 KiB each.
        capacity: NonZeroUsize,
    },
}

/// How records are applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Worker {
    /// Records leased at once for a cluster. Default 100; more costs memory, not durability.
    pub batch: NonZeroUsize,
    /// Records of different partitions in flight to a cluster. Default 64; more drains faster and loads it more.
    pub concurrency: NonZeroUsize,
    /// Records a second to a cluster at most. Default: as many as it takes; less spares a weak cluster.
    pub rate: Option<NonZeroU32>,
    /// How long one attempt may take. Default 30 s.
    pub timeout: Duration,
    /// The first wait after a failed attempt; doubles from there. Default 100 ms.
    pub retry_min: Duration,
    /// The longest wait between attempts. Default 30 s; more means a later last record.
    pub retry_max: Duration,
    /// Failed attempts until a record is parked; a cluster that is down burns none. Default: never.
    pub attempts_max: Option<NonZeroU32>,
    /// How long a record that one cluster refuses for good is retried before it is parked. Default 10 min.
    pub divergence_grace: Duration,
}

impl Store {
    /// The default file.
    pub const PATH: &str = "data/replay.db";
    /// The default bound of the file.
    pub const MAX_BYTES: NonZeroU64 = NonZeroU64::new(8 << 30).expect("not zero");
    /// The default bound of the memory queue.
    pub const CAPACITY: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
}

impl Default for Store {
    fn default() -> Self {
        Self::Disk {
            path: Self::PATH.into(),
            max_bytes: Self::MAX_BYTES,
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            batch: const { NonZeroUsize::new(100).expect("not zero") },
            concurrency: const { NonZeroUsize::new(64).expect("not zero") },
            rate: None,
            timeout: Duration::from_secs(30),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            attempts_max: None,
            divergence_grace: Duration::from_secs(600),
        }
    }
}
