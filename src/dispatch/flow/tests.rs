//! The outcome rule as a table, over every pair of verdicts, and the stories around it.

use super::*;
use crate::pair::Pair;
use crate::policy::{Ack, OnQueueFailure, Verdict, WritePlan};

const VERDICTS: [Verdict; 4] = [
    Verdict::Ok,
    Verdict::Maybe,
    Verdict::NotApplied,
    Verdict::Definite,
];

/// One line: what A and B said; who owes a repeatable write, and who may have seen it; what the
/// client hears when one side is enough, and when both must have it.
type Line = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// `A!` is a side that owes and may have seen it, `A` one that surely has not.
const REPEATABLE: [Line; 16] = [
    // A and B said            owed     any          all
    ("Ok", "Ok", "", "of A", "of A"),
    ("Ok", "Maybe", "B!", "of A", "ambiguous"),
    ("Ok", "NotApplied", "B", "of A", "ambiguous"),
    ("Ok", "Definite", "B", "of A", "ambiguous"),
    ("Maybe", "Ok", "A!", "of B", "ambiguous"),
    ("Maybe", "Maybe", "A! B!", "ambiguous", "ambiguous"),
    ("Maybe", "NotApplied", "A! B", "ambiguous", "ambiguous"),
    ("Maybe", "Definite", "A! B", "ambiguous", "ambiguous"),
    ("NotApplied", "Ok", "A", "of B", "ambiguous"),
    ("NotApplied", "Maybe", "A B!", "ambiguous", "ambiguous"),
    ("NotApplied", "NotApplied", "void", "unsent", "unsent"),
    ("NotApplied", "Definite", "void", "of A", "of A"),
    ("Definite", "Ok", "A", "of B", "ambiguous"),
    ("Definite", "Maybe", "A B!", "ambiguous", "ambiguous"),
    ("Definite", "NotApplied", "void", "of B", "of B"),
    ("Definite", "Definite", "void", "of A", "of A"),
];

/// Where a not-repeatable write differs: nobody knows what it did, so nobody runs it again.
const BLIND: [Line; 4] = [
    ("Maybe", "NotApplied", "A! B!", "ambiguous", "ambiguous"),
    ("Maybe", "Definite", "A! B!", "ambiguous", "ambiguous"),
    ("NotApplied", "Maybe", "A! B!", "ambiguous", "ambiguous"),
    ("Definite", "Maybe", "A! B!", "ambiguous", "ambiguous"),
];

/// The same while B is away, whatever B would say; any and all are those of a repeatable write.
const AWAY: [Line; 4] = [
    // A said             owed     any          all
    ("Ok", "", "B", "of A", "ambiguous"),
    ("Maybe", "", "A! B", "ambiguous", "ambiguous"),
    ("NotApplied", "", "void", "unsent", "unsent"),
    ("Definite", "", "void", "of A", "of A"),
];

fn rules(ack: Ack, repeatable: bool) -> Rules {
    Rules {
        ack,
        on_queue_failure: OnQueueFailure::FailWrite,
        repeatable,
        recorded: true,
        allowed: true,
    }
}

fn plan(away: Sides, journal: bool, first: Option<Side>) -> WritePlan {
    WritePlan {
        send: Sides::BOTH.minus(away),
        away,
        journal,
        first,
        preferred: Side::A,
    }
}

/// What came of a write.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outcome {
    owed: String,
    heard: String,
    /// The record that the journal made was withdrawn.
    is_void: bool,
}

impl Outcome {
    fn expected(owed: &str, heard: &str, journal: bool) -> Self {
        Self {
            owed: owed.replace("void", ""),
            heard: heard.to_owned(),
            is_void: journal && owed == "void",
        }
    }

    fn of(seen: &[Action]) -> Self {
        let (mut owes, mut sent, mut outcome) = (Sides::NONE, Sides::NONE, Self::default());
        for action in seen {
            match *action {
                Action::Keep {
                    owes: kept,
                    sent: marked,
                    live,
                } => (owes, sent) = (kept, marked.minus(live)),
                Action::Missed(side, marked) => {
                    owes = owes.with(side);
                    sent = if marked { sent.with(side) } else { sent };
                }
                Action::Void => (owes, outcome.is_void) = (Sides::NONE, true),
                Action::Reply(reply) => {
                    assert_eq!(outcome.heard, "", "one answer: {seen:?}");
                    outcome.heard = label(reply);
                }
                Action::KeepTrying { .. } | Action::Landed(_) | Action::Send(_) => {}
            }
        }
        let mark = |side| match sent.contains(side) {
            true => format!("{side}!"),
            false => side.to_string(),
        };
        outcome.owed = owes.iter().map(mark).collect::<Vec<_>>().join(" ");
        outcome
    }
}

fn label(reply: Reply) -> String {
    match reply {
        Reply::Ambiguous => "ambiguous".to_owned(),
        Reply::Of(side) => format!("of {side}"),
        Reply::QueueRefused => "queue refused".to_owned(),
        Reply::Unsent => "unsent".to_owned(),
    }
}

/// Runs a write to its end; the disk agrees.
fn run(plan: WritePlan, rules: Rules, said: Pair<Verdict>) -> Vec<Action> {
    let (mut write, started) = Write::new(plan, rules, true);
    let mut seen: Vec<Action> = started.iter().collect();
    let mut at = 0;
    while let Some(action) = seen.get(at).copied() {
        at += 1;
        let input = match action {
            Action::Keep { .. } => Input::Kept(true),
            Action::Send(side) => Input::Answered(side, said[side]),
            Action::KeepTrying { .. }
            | Action::Landed(_)
            | Action::Missed(..)
            | Action::Reply(_)
            | Action::Void => continue,
        };
        seen.extend(write.handle(input).iter());
    }
    assert!(write.is_over(), "{seen:?}");
    assert!(
        plan.away
            .iter()
            .all(|away| !seen.contains(&Action::Send(away)))
    );
    seen
}

fn line(table: &[Line], a: Verdict, b: &str) -> Option<Line> {
    let a = format!("{a:?}");
    table
        .iter()
        .copied()
        .find(|line| line.0 == a && line.1 == b)
}

#[test]
fn the_outcome_rule_over_every_pair_of_verdicts() {
    let mut cases = 0;
    for (a, b) in VERDICTS.into_iter().flat_map(|a| VERDICTS.map(|b| (a, b))) {
        let named = format!("{b:?}");
        let usual = line(&REPEATABLE, a, &named).expect("a line for every pair");
        for repeatable in [true, false] {
            let blind = line(&BLIND, a, &named).filter(|_| !repeatable);
            let (_, _, owed, any, all) = blind.unwrap_or(usual);
            for (ack, heard) in [(Ack::Any, any), (Ack::All, all)] {
                for journal in [false, true] {
                    for first in [None, Some(Side::A), Some(Side::B)] {
                        let plan = plan(Sides::NONE, journal, first);
                        let seen = run(plan, rules(ack, repeatable), Pair::new(a, b));
                        let expected = Outcome::expected(owed, heard, journal);
                        let case = format!("{a:?} {b:?} {ack:?} {repeatable} {plan:?}: {seen:?}");
                        assert_eq!(Outcome::of(&seen), expected, "{case}");
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 16 * 2 * 2 * 2 * 3);
}

#[test]
fn the_outcome_rule_while_a_side_is_away() {
    for a in VERDICTS {
        let (_, _, owed, any, all) = line(&AWAY, a, "").expect("a line for every verdict");
        for repeatable in [true, false] {
            let is_blind = !repeatable && a == Verdict::Maybe;
            let owed = if is_blind { "A! B!" } else { owed };
            for (ack, heard) in [(Ack::Any, any), (Ack::All, all)] {
                for journal in [false, true] {
                    let plan = plan(Sides::only(Side::B), journal, None);
                    let seen = run(plan, rules(ack, repeatable), Pair::new(a, Verdict::Ok));
                    let expected = Outcome::expected(owed, heard, journal);
                    assert_eq!(Outcome::of(&seen), expected, "{a:?} {ack:?}: {seen:?}");
                }
            }
        }
    }
}

#[test]
fn a_record_is_durable_before_the_client_hears_of_a_partial_success() {
    for journal in [false, true] {
        let said = Pair::new(Verdict::Ok, Verdict::Maybe);
        let seen = run(
            plan(Sides::NONE, journal, None),
            rules(Ack::Any, true),
            said,
        );
        let place = |wanted: fn(&Action) -> bool| seen.iter().position(wanted);
        let kept = place(|action| matches!(action, Action::Keep { .. }));
        let sent = place(|action| matches!(action, Action::Send(_)));
        let told = place(|action| matches!(action, Action::Reply(_)));
        assert!(kept < told && (kept < sent) == journal, "{seen:?}");
    }
}

#[test]
fn what_is_away_owes_the_write_from_the_start_but_only_beside_a_live_side() {
    let plan = plan(Sides::only(Side::B), true, None);
    let (_, started) = Write::new(plan, rules(Ack::Any, true), true);
    let keep = Action::Keep {
        owes: Sides::only(Side::B),
        live: Sides::only(Side::A),
        sent: Sides::only(Side::A),
    };
    assert_eq!(started.iter().collect::<Vec<_>>(), [keep]);
}

/// A write that only B missed, waiting for its record.
fn keeping(rules: Rules) -> Write {
    let (mut write, _) = Write::new(plan(Sides::NONE, false, None), rules, true);
    write.handle(Input::Answered(Side::A, Verdict::Ok));
    write.handle(Input::Answered(Side::B, Verdict::NotApplied));
    assert!(write.is_keeping());
    write
}

const KEEP_TRYING: Action = Action::KeepTrying {
    owes: Sides::only(Side::B),
    sent: Sides::NONE,
};

#[test]
fn a_refused_record_is_never_a_silent_success() {
    for (on_queue_failure, reply) in [
        (OnQueueFailure::FailWrite, Reply::Ambiguous),
        (OnQueueFailure::AckAnyway, Reply::Of(Side::A)),
    ] {
        let mut write = keeping(Rules {
            on_queue_failure,
            ..rules(Ack::Any, true)
        });
        let seen: Vec<_> = write.handle(Input::Kept(false)).iter().collect();
        assert_eq!(seen, [KEEP_TRYING, Action::Reply(reply)]);
    }
}

#[test]
fn a_disk_that_hangs_is_a_queue_failure_like_one_that_refuses() {
    for (on_queue_failure, reply) in [
        (OnQueueFailure::FailWrite, Reply::Ambiguous),
        (OnQueueFailure::AckAnyway, Reply::Of(Side::A)),
    ] {
        let mut write = keeping(Rules {
            on_queue_failure,
            ..rules(Ack::Any, true)
        });
        assert!(!write.is_hanging());
        assert_eq!(write.unvouched(), Sides::only(Side::B));
        let unsent = Sides::NONE;
        let seen: Vec<_> = write.handle(Input::Deadline { unsent }).iter().collect();
        assert_eq!(seen, [Action::Reply(reply)]);
        assert!(write.is_hanging());
        assert_eq!(write.unvouched(), Sides::only(Side::B));
        write.handle(Input::Kept(true));
        assert_eq!(write.unvouched(), Sides::NONE);
    }
}

#[test]
fn a_record_that_is_refused_after_the_deadline_is_kept_all_the_same() {
    let unsent = Sides::NONE;
    let mut write = keeping(rules(Ack::Any, true));
    let seen: Vec<_> = write.handle(Input::Deadline { unsent }).iter().collect();
    assert_eq!(seen, [Action::Reply(Reply::Ambiguous)]);
    assert!(!write.is_over() && !write.is_keeping());
    assert_eq!(write.handle(Input::Deadline { unsent }).iter().count(), 0);
    let seen: Vec<_> = write.handle(Input::Kept(false)).iter().collect();
    assert_eq!(seen, [KEEP_TRYING]);
    assert!(write.is_over());
}

#[test]
fn a_blind_record_stays_blind_when_the_queue_refuses_it() {
    let (mut write, _) = Write::new(plan(Sides::NONE, false, None), rules(Ack::Any, false), true);
    write.handle(Input::Answered(Side::A, Verdict::Maybe));
    write.handle(Input::Answered(Side::B, Verdict::NotApplied));
    let seen: Vec<_> = write.handle(Input::Kept(false)).iter().collect();
    let (owes, sent) = (Sides::BOTH, Sides::BOTH);
    let expected = [
        Action::KeepTrying { owes, sent },
        Action::Reply(Reply::Ambiguous),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_full_queue_refuses_before_anything_is_sent() {
    for (journal, away, on_queue_failure, refused) in [
        (true, Sides::NONE, OnQueueFailure::FailWrite, true),
        (false, Sides::only(Side::B), OnQueueFailure::FailWrite, true),
        (false, Sides::NONE, OnQueueFailure::FailWrite, false),
        (true, Sides::NONE, OnQueueFailure::AckAnyway, false),
    ] {
        let rules = Rules {
            on_queue_failure,
            ..rules(Ack::Any, true)
        };
        let (write, actions) = Write::new(plan(away, journal, None), rules, false);
        let expected = Action::Reply(Reply::QueueRefused);
        let is_refused = actions.iter().eq([expected]);
        assert_eq!((is_refused, write.is_over()), (refused, refused));
    }
}

#[test]
fn at_the_deadline_only_what_was_never_sent_is_surely_not_applied() {
    for (unsent, reply, records) in [
        (Sides::BOTH, Reply::Unsent, 0),
        (Sides::only(Side::A), Reply::Ambiguous, 1),
        (Sides::NONE, Reply::Ambiguous, 1),
    ] {
        let (mut write, _) =
            Write::new(plan(Sides::NONE, false, None), rules(Ack::Any, true), true);
        let mut seen: Vec<_> = write.handle(Input::Deadline { unsent }).iter().collect();
        let kept = seen
            .iter()
            .filter(|a| matches!(a, Action::Keep { .. }))
            .count();
        seen.extend(write.handle(Input::Kept(true)).iter());
        assert_eq!((seen.last(), kept), (Some(&Action::Reply(reply)), records));
    }
}

#[test]
fn a_journal_that_hangs_until_the_deadline_withdraws_its_record() {
    // A crash may replay it before it is withdrawn, so a counter's client is given no leave to repeat it.
    for (repeatable, reply) in [(true, Reply::Unsent), (false, Reply::Ambiguous)] {
        let rules = rules(Ack::Any, repeatable);
        let (mut write, _) = Write::new(plan(Sides::NONE, true, None), rules, true);
        let unsent = Sides::NONE;
        let seen: Vec<_> = write.handle(Input::Deadline { unsent }).iter().collect();
        assert_eq!(seen, [Action::Void, Action::Reply(reply)]);
        assert_eq!(write.handle(Input::Kept(true)).iter().count(), 0);
    }
}

#[test]
fn an_opened_breaker_ends_waits_and_sends_to_come() {
    let out = |side| Input::Out {
        side,
        unsent: false,
    };
    let (mut write, _) = Write::new(plan(Sides::NONE, false, None), rules(Ack::Any, true), true);
    write.handle(out(Side::B));
    let seen: Vec<_> = write
        .handle(Input::Answered(Side::A, Verdict::Ok))
        .iter()
        .collect();
    let b = Sides::only(Side::B);
    let keep = |sent| Action::Keep {
        owes: b,
        live: Sides::NONE,
        sent,
    };
    assert_eq!(seen, [keep(b)], "it may have seen it");

    let first = Some(Side::A);
    let (mut write, _) = Write::new(plan(Sides::NONE, false, first), rules(Ack::Any, true), true);
    write.handle(out(Side::B));
    let seen: Vec<_> = write
        .handle(Input::Answered(Side::A, Verdict::Ok))
        .iter()
        .collect();
    assert_eq!(seen, [keep(Sides::NONE)], "it was never sent it");

    let (mut write, _) = Write::new(plan(Sides::NONE, true, None), rules(Ack::Any, true), true);
    write.handle(out(Side::B));
    let seen: Vec<_> = write.handle(Input::Kept(true)).iter().collect();
    assert_eq!(seen, [Action::Send(Side::A)]);
}

/// A write by `sync`, with A first.
fn sync(journal: bool) -> (Write, Vec<Action>) {
    let plan = plan(Sides::NONE, journal, Some(Side::A));
    let (write, actions) = Write::new(plan, rules(Ack::Any, true), true);
    (write, actions.iter().collect())
}

#[test]
fn the_second_of_sync_is_sent_once_the_first_has_had_its_share_of_the_time() {
    for slow in [Verdict::Ok, Verdict::Definite, Verdict::Maybe] {
        let (mut write, mut seen) = sync(false);
        for input in [
            Input::Slow,
            Input::Answered(Side::B, Verdict::Ok),
            Input::Answered(Side::A, slow),
            Input::Kept(true),
        ] {
            assert!(!write.is_over(), "{seen:?}");
            seen.extend(write.handle(input).iter());
            if write.is_over() {
                break;
            }
        }
        let sends = [Action::Send(Side::A), Action::Send(Side::B)];
        assert_eq!(seen[..2], sends, "{slow:?}");
        let heard = if slow == Verdict::Ok { "of A" } else { "of B" };
        assert_eq!(Outcome::of(&seen).heard, heard, "{seen:?}");
    }
}

#[test]
fn a_silent_first_of_sync_costs_a_record_not_the_write() {
    let (mut write, mut seen) = sync(false);
    seen.extend(write.handle(Input::Slow).iter());
    seen.extend(write.handle(Input::Answered(Side::B, Verdict::Ok)).iter());
    let unsent = Sides::NONE;
    seen.extend(write.handle(Input::Deadline { unsent }).iter());
    seen.extend(write.handle(Input::Kept(true)).iter());
    assert_eq!(Outcome::of(&seen), Outcome::expected("A!", "of B", false));
}

#[test]
fn a_first_of_sync_that_is_lost_lets_the_second_have_the_write() {
    for (lost, owed) in [(Verdict::Maybe, "A!"), (Verdict::NotApplied, "A")] {
        let (mut write, mut seen) = sync(false);
        seen.extend(write.handle(Input::Answered(Side::A, lost)).iter());
        assert_eq!(
            write.handle(Input::Slow).iter().count(),
            0,
            "it is sent once"
        );
        seen.extend(write.handle(Input::Answered(Side::B, Verdict::Ok)).iter());
        seen.extend(write.handle(Input::Kept(true)).iter());
        assert_eq!(Outcome::of(&seen), Outcome::expected(owed, "of B", false));
    }
}

#[test]
fn a_journal_that_took_the_firsts_share_of_the_time_is_followed_by_both_sends() {
    let (mut write, _) = sync(true);
    assert_eq!(write.handle(Input::Slow).iter().count(), 0);
    let seen: Vec<_> = write.handle(Input::Kept(true)).iter().collect();
    assert_eq!(seen, [Action::Send(Side::A), Action::Send(Side::B)]);
}
