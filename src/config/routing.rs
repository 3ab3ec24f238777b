//! Where requests go: reads, writes, failover, and which cluster is home.

use std::time::Duration;

use crate::pair::Side;
use crate::policy;
use crate::policy::{
    Ack, Failover, Journal, OnQueueFailure, Preferred, ReadStrategy, WriteStrategy,
};

use super::build::{DAY, UP_TO_AN_HOUR};
use super::clusters::Names;
use super::read::Reader;
use super::redact::shown;

/// The word for either cluster, which is no cluster's name.
pub(super) const RANDOM: &str = "random";

/// Everything that the policy is told.
pub(super) fn policy(r: &mut Reader, names: &Names) -> policy::Config {
    policy::Config {
        reads: reads(r, names),
        writes: writes(r, names),
        failover: failover(r),
        conditional: conditional(r, names),
    }
}

fn reads(r: &mut Reader, names: &Names) -> policy::Reads {
    let strategies = [
        ("sticky", Some(())),
        ("primary_only", None),
        ("round_robin", None),
    ];
    r.choice("reads.strategy", (), &strategies);
    let preferred = r.text("reads.preferred", |text| match text {
        RANDOM => Ok(Preferred::Random),
        name => names.side(name).map(Preferred::Side),
    });
    let cooldown = r.duration(
        "reads.cooldown",
        policy::Reads::COOLDOWN,
        Duration::ZERO..=DAY,
    );
    let strategy = ReadStrategy::Sticky {
        preferred: preferred.unwrap_or_default(),
        cooldown,
    };
    policy::Reads {
        strategy,
        prefer_fresh: r.flag("reads.prefer_fresh", true),
    }
}

fn writes(r: &mut Reader, names: &Names) -> policy::Writes {
    let first = order(r, names);
    let strategies = [
        ("concurrent", Some(WriteStrategy::Concurrent)),
        ("sync", Some(WriteStrategy::Sync { first })),
        ("adaptive", None),
    ];
    let acks = [
        ("any", Some(Ack::Any)),
        ("all", Some(Ack::All)),
        ("first", None),
    ];
    let journals = [
        ("off", Some(Journal::Off)),
        ("degraded", Some(Journal::Degraded)),
        ("always", Some(Journal::Always)),
    ];
    let on_queue_failure = [
        ("fail_write", Some(OnQueueFailure::FailWrite)),
        ("ack_anyway", Some(OnQueueFailure::AckAnyway)),
    ];
    policy::Writes {
        strategy: r.choice("writes.strategy", WriteStrategy::default(), &strategies),
        ack: r.choice("writes.ack", Ack::default(), &acks),
        journal: r.choice("writes.journal", Journal::default(), &journals),
        on_queue_failure: r.choice(
            "writes.on_queue_failure",
            OnQueueFailure::default(),
            &on_queue_failure,
        ),
    }
}

/// Who is written first by `sync`: the head of a list that names each cluster once.
fn order(r: &mut Reader, names: &Names) -> Side {
    let mut sides = Vec::new();
    let Some(items) = r.list("writes.order") else {
        return Side::A;
    };
    for (key, text) in items {
        match names.side(&text) {
            Ok(side) if sides.contains(&side) => r.fault(&key, "the cluster is named twice"),
            Ok(side) => sides.push(side),
            Err(error) => r.fault(&key, format!("{error}; found {}", shown(&key, &text))),
        }
    }
    if sides.len() < names.0.len() && r.is_sound("writes.order") {
        r.fault(
            "writes.order",
            "must name each configured cluster once, such as [A, B]",
        );
    }
    sides.first().copied().unwrap_or(Side::A)
}

fn failover(r: &mut Reader) -> Failover {
    let threshold = r.count_u32("failover.threshold", Failover::THRESHOLD, 1_000_000);
    let reset_after = r.duration("failover.reset_after", Failover::RESET_AFTER, UP_TO_AN_HOUR);
    let breaker = Failover::CircuitBreaker {
        threshold,
        reset_after,
    };
    let policies = [
        ("circuit_breaker", Some(breaker)),
        ("active", Some(Failover::Active)),
        ("latency_breaker", None),
    ];
    r.choice("failover.policy", breaker, &policies)
}

fn conditional(r: &mut Reader, names: &Names) -> policy::Conditional {
    let home = r.text("conditional.cluster", |text| names.side(text));
    r.choice(
        "conditional.copy",
        (),
        &[("off", Some(())), ("writetime", None)],
    );
    policy::Conditional {
        home: home.unwrap_or(Side::A),
    }
}
