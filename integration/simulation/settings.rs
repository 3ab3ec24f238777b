//! What one seed decides before it starts: the operator's choices, and the rule that is broken.

use std::num::NonZeroU32;
use std::time::Duration;

use helix_proxy::pair::Side;
use helix_proxy::policy::{
    Ack, Conditional, Config, Failover, Journal, OnQueueFailure, Preferred, ReadStrategy, Reads,
    WriteStrategy, Writes,
};

use super::dice::Dice;

/// Virtual microseconds since the start.
pub(crate) type Micros = u64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MS;

/// Faults and clients stop here.
pub(crate) const END: Micros = 20 * SECOND;
/// All is quiet and equal this long after the last fault: a failed probe, the rest of an open
/// breaker, the grace of a refused record, and the longest wait between two attempts.
pub(crate) const DRAIN: Micros = 12 * SECOND;

pub(crate) const WRITE_DEADLINE: Micros = 1_500 * MS;
/// What a write may wait longer for its record.
pub(crate) const KEEP_ALLOWANCE: Micros = 500 * MS;
pub(crate) const READ_DEADLINE: Micros = 3 * SECOND;
pub(crate) const FAILOVER_AFTER: Micros = 300 * MS;
pub(crate) const RESET_AFTER: Micros = 2 * SECOND;
pub(crate) const PROBE_TIMEOUT: Micros = 500 * MS;
pub(crate) const REPLAY_TIMEOUT: Micros = SECOND;
pub(crate) const DIVERGENCE_GRACE: Micros = 3 * SECOND;

/// A rule broken on purpose; each must be found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// The client is answered before the record is durable.
    AnswersBeforeDurable,
    /// A restarted proxy trusts the wall clock.
    ClockForgetsItsCeiling,
    /// The worker replays what nobody knows to be allowed.
    ForbiddenReplayed,
    /// Whole lists are replayed at their own timestamp.
    ListsKeepTheirTimestamp,
    /// A record of what no cluster confirmed counts as one of what is allowed.
    JournalVouchesForAll,
    /// Records that were live at a crash are dropped.
    LiveDroppedAtRecovery,
    /// An ambiguous failure counts as not applied.
    MaybeCountsAsNotApplied,
    /// An opened breaker ends waits only, not sends to come.
    OpeningSkipsWhatIsToCome,
    /// Reads do not ask who owes what only memory has.
    ReadsIgnoreMemory,
    /// Reads do not ask who is behind.
    ReadsIgnoreTheQueue,
    /// A write that both sides may have missed is recorded for one of them.
    RecordedForOneSide,
    /// A record that the queue refused is not tried again.
    RefusedRecordsForgotten,
    /// A replayed write takes a later timestamp.
    ReplayRestamps,
    /// By `sync` the second side gets what time the first leaves.
    SecondWaitsForTheFirst,
    /// The worker sends a counter before its mark is durable.
    SendsBeforeTheMark,
    /// The worker sends a counter again that may have been applied.
    SentReplayedBlindly,
}

impl Broken {
    pub(crate) const ALL: [Self; 16] = [
        Self::AnswersBeforeDurable,
        Self::ClockForgetsItsCeiling,
        Self::ForbiddenReplayed,
        Self::JournalVouchesForAll,
        Self::ListsKeepTheirTimestamp,
        Self::LiveDroppedAtRecovery,
        Self::MaybeCountsAsNotApplied,
        Self::OpeningSkipsWhatIsToCome,
        Self::ReadsIgnoreMemory,
        Self::ReadsIgnoreTheQueue,
        Self::RecordedForOneSide,
        Self::RefusedRecordsForgotten,
        Self::ReplayRestamps,
        Self::SecondWaitsForTheFirst,
        Self::SendsBeforeTheMark,
        Self::SentReplayedBlindly,
    ];

    /// The checks that may find it.
    pub(crate) const fn found_by(self) -> &'static [&'static str] {
        match self {
            Self::AnswersBeforeDurable => &["I1", "I2"],
            Self::ClockForgetsItsCeiling => &["I4"],
            Self::ForbiddenReplayed | Self::JournalVouchesForAll => &["S22"],
            Self::ListsKeepTheirTimestamp => &["S2"],
            Self::LiveDroppedAtRecovery | Self::RefusedRecordsForgotten => &["I1", "I3"],
            Self::MaybeCountsAsNotApplied => &["S15", "S13", "S2", "I3"],
            Self::OpeningSkipsWhatIsToCome => &["S18"],
            Self::ReadsIgnoreMemory | Self::ReadsIgnoreTheQueue => &["I12"],
            Self::RecordedForOneSide | Self::ReplayRestamps => &["I3"],
            Self::SecondWaitsForTheFirst => &["D4"],
            Self::SendsBeforeTheMark | Self::SentReplayedBlindly => &["S13"],
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) policy: Config,
    pub(crate) clients: usize,
    /// Of a hundred messages, how many meet a fault of their own.
    pub(crate) flaky: u64,
    pub(crate) broken: Option<Broken>,
    /// Clients act as roles of their own, some of which may not write.
    pub(crate) passthrough: bool,
}

impl Settings {
    pub(crate) fn roll(dice: &mut Dice, broken: Option<Broken>) -> Self {
        let strategy = match dice.below(3) {
            0 => WriteStrategy::Sync {
                first: dice.pick(&Side::ALL),
            },
            _ => WriteStrategy::Concurrent,
        };
        let writes = Writes {
            strategy,
            ack: dice.pick(&[Ack::Any, Ack::Any, Ack::All]),
            journal: dice.pick(&[Journal::Off, Journal::Degraded, Journal::Always]),
            on_queue_failure: dice.pick(&[
                OnQueueFailure::FailWrite,
                OnQueueFailure::FailWrite,
                OnQueueFailure::AckAnyway,
            ]),
        };
        let failover = match dice.below(4) {
            0 => Failover::Active,
            _ => Failover::CircuitBreaker {
                threshold: NonZeroU32::new(3).expect("not zero"),
                reset_after: Duration::from_micros(RESET_AFTER),
            },
        };
        let reads = Reads {
            strategy: ReadStrategy::Sticky {
                preferred: Preferred::Random,
                cooldown: Duration::from_secs(5),
            },
            prefer_fresh: dice.chance(70),
        };
        let policy = Config {
            reads,
            writes,
            failover,
            conditional: Conditional::default(),
        };
        Self {
            policy,
            clients: usize::try_from(dice.between(2, 6)).expect("small"),
            flaky: dice.pick(&[0, 2, 10]),
            broken,
            passthrough: dice.chance(50),
        }
    }

    pub(crate) fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}
