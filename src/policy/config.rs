//! What operators decide about routing: strategies, acknowledgement, journal, breaker.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::pair::Side;

/// Everything that the policy is told at start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Where reads go.
    pub reads: Reads,
    /// How writes go to both clusters and when they count.
    pub writes: Writes,
    /// When a failing cluster is taken out.
    pub failover: Failover,
    /// What happens to conditional writes, and which cluster is home.
    pub conditional: Conditional,
}

/// Where reads go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reads {
    /// How a cluster is chosen. Default `sticky`.
    pub strategy: ReadStrategy,
    /// Avoid a cluster that owes records while the other owes none. Default on; costs one atomic load.
    pub prefer_fresh: bool,
}

/// How a cluster is chosen for a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadStrategy {
    /// Stay on one cluster and move when it fails.
    Sticky {
        /// The cluster to start with. Default `Random`.
        preferred: Preferred,
        /// How long a moved preference stays. Default 5 min; more means fewer moves, each request still fails over.
        cooldown: Duration,
    },
}

/// The cluster that sticky reads start with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preferred {
    /// Either one, decided by the instance id, so that a fleet spreads over both.
    #[default]
    Random,
    /// Always this one.
    Side(Side),
}

/// How writes go to both clusters and when they count.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Writes {
    /// Both at once, or one after the other. Default `concurrent`.
    pub strategy: WriteStrategy,
    /// How many clusters must have the write. Default `any`.
    pub ack: Ack,
    /// When the record is durable before the sends. Default `degraded`.
    pub journal: Journal,
    /// What the client hears when the record of a missed side cannot be stored. Default `fail_write`.
    pub on_queue_failure: OnQueueFailure,
}

/// Both at once, or one after the other.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WriteStrategy {
    /// To both at once; takes as long as the slower.
    #[default]
    Concurrent,
    /// One after the other, the second in any case; takes as long as both together.
    Sync {
        /// Who is written first.
        first: Side,
    },
}

/// How many clusters must have a write before it counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ack {
    /// Both, else the client gets an error.
    All,
    /// One, once the record for the other is durable.
    #[default]
    Any,
}

/// When a write's record is made durable before it is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Journal {
    /// For every write: a kill -9 leaves nothing one-sided; costs one group commit a write.
    Always,
    /// While a cluster is not healthy; costs one group commit exactly then.
    #[default]
    Degraded,
    /// Never: only a write that a side has missed is stored.
    Off,
}

/// What the client hears when one side has the write and the other side's record cannot be stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnQueueFailure {
    /// Success, counted: the other side may stay behind.
    AckAnyway,
    /// An error.
    #[default]
    FailWrite,
}

/// When a failing cluster is taken out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failover {
    /// Never: every request tries, and fails over by itself.
    Active,
    /// After failures in a row, until a probe succeeds.
    CircuitBreaker {
        /// Strikes until it opens. Default 3; more tolerates longer hiccups and costs their timeouts.
        threshold: NonZeroU32,
        /// How long it stays open before a probe. Default 30 s; more means a later return.
        reset_after: Duration,
    },
}

/// What happens to conditional writes and SERIAL reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Conditional {
    /// The one cluster that decides them, called home. Default A.
    pub home: Side,
}

impl Reads {
    /// The default cooldown of sticky reads.
    pub const COOLDOWN: Duration = Duration::from_secs(300);
}

impl Failover {
    /// The default strikes until a breaker opens.
    pub const THRESHOLD: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
    /// The default time that a breaker stays open.
    pub const RESET_AFTER: Duration = Duration::from_secs(30);
}

impl Default for Reads {
    fn default() -> Self {
        let strategy = ReadStrategy::Sticky {
            preferred: Preferred::default(),
            cooldown: Self::COOLDOWN,
        };
        Self {
            strategy,
            prefer_fresh: true,
        }
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self::CircuitBreaker {
            threshold: Self::THRESHOLD,
            reset_after: Self::RESET_AFTER,
        }
    }
}

impl Default for Conditional {
    fn default() -> Self {
        Self { home: Side::A }
    }
}
