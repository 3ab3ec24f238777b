//! What becomes of a write of a role that nobody knows to be allowed: no record of it may be replayed.

use super::*;
use crate::pair::Pair;
use crate::policy::{Ack, OnQueueFailure, Verdict, WritePlan};

const B: Sides = Sides::only(Side::B);

fn rules(allowed: bool) -> Rules {
    Rules {
        ack: Ack::Any,
        on_queue_failure: OnQueueFailure::FailWrite,
        repeatable: true,
        recorded: true,
        allowed,
    }
}

fn plan(away: Sides, journal: bool) -> WritePlan {
    WritePlan {
        send: Sides::BOTH.minus(away),
        away,
        journal,
        first: None,
        preferred: Side::A,
    }
}

/// A record that exists, as the queue would have it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stored {
    owes: Sides,
    forbidden: bool,
}

/// A write, and the records of it. The first is the one that later actions mean.
struct Story {
    write: Write,
    records: Vec<Stored>,
    heard: Option<Reply>,
    seen: Vec<Action>,
}

impl Story {
    fn of(plan: WritePlan, rules: Rules) -> Self {
        let (write, started) = Write::new(plan, rules, true);
        let mut story = Self {
            write,
            records: Vec::new(),
            heard: None,
            seen: Vec::new(),
        };
        story.obey(started);
        story
    }

    fn obey(&mut self, actions: Actions) {
        for action in actions.iter() {
            self.seen.push(action);
            let first = self.records.first_mut();
            match (action, first) {
                (Action::Keep { owes, live, .. }, _) => self.records.push(Stored {
                    owes: owes.union(live),
                    forbidden: self.write.is_forbidden(),
                }),
                (Action::Landed(side), Some(first)) => first.owes = first.owes.without(side),
                (Action::Missed(side, _), Some(first)) => first.owes = first.owes.with(side),
                (Action::Void, Some(_)) => drop(self.records.remove(0)),
                (Action::Reply(reply), _) => self.heard = Some(reply),
                (Action::KeepTrying { .. } | Action::Send(_), _) => {}
                (Action::Landed(_) | Action::Missed(..) | Action::Void, None) => {
                    panic!("there is no record: {:?}", self.seen)
                }
            }
        }
    }

    fn hears(mut self, input: Input) -> Self {
        let actions = self.write.handle(input);
        self.obey(actions);
        self
    }

    fn said(self, side: Side, verdict: Verdict) -> Self {
        self.hears(Input::Answered(side, verdict))
    }

    fn kept(self, ok: bool) -> Self {
        self.hears(Input::Kept(ok))
    }

    fn forbidden(mut self) -> Self {
        self.write.forbid();
        self
    }

    /// What is owed, what of it is not to be replayed, and what the client heard.
    fn ends(mut self, owes: &[(Sides, bool)], heard: Reply) {
        self.records.retain(|it| !it.owes.is_empty());
        let records: Vec<_> = self
            .records
            .iter()
            .map(|it| (it.owes, it.forbidden))
            .collect();
        assert_eq!(records, owes, "{:?}", self.seen);
        assert_eq!(self.heard, Some(heard), "{:?}", self.seen);
        assert!(self.write.is_over());
    }
}

#[test]
fn what_a_cluster_took_is_recorded_for_the_other() {
    for refusal in [Verdict::Definite, Verdict::NotApplied, Verdict::Maybe] {
        Story::of(plan(Sides::NONE, false), rules(false))
            .said(Side::A, Verdict::Ok)
            .said(Side::B, refusal)
            .kept(true)
            .ends(&[(B, false)], Reply::Of(Side::A));
    }
}

#[test]
fn what_no_cluster_confirmed_is_never_replayed_unless_the_role_was_known() {
    for (allowed, is_forbidden) in [(true, false), (false, true)] {
        for other in [Verdict::Maybe, Verdict::NotApplied] {
            Story::of(plan(Sides::NONE, false), rules(allowed))
                .said(Side::A, Verdict::Maybe)
                .said(Side::B, other)
                .kept(true)
                .ends(&[(Sides::BOTH, is_forbidden)], Reply::Ambiguous);
        }
    }
}

#[test]
fn a_refusal_ends_what_was_known() {
    for journal in [false, true] {
        let mut story = Story::of(plan(Sides::NONE, journal), rules(true));
        if journal {
            story = story.kept(true);
        }
        story
            .said(Side::A, Verdict::Maybe)
            .forbidden()
            .said(Side::B, Verdict::Definite)
            .kept(true)
            .ends(&[(Sides::BOTH, true)], Reply::Ambiguous);
    }
}

#[test]
fn a_refusal_beside_a_success_is_the_other_sides_debt() {
    Story::of(plan(Sides::NONE, false), rules(true))
        .forbidden()
        .said(Side::B, Verdict::Definite)
        .said(Side::A, Verdict::Ok)
        .kept(true)
        .ends(&[(B, false)], Reply::Of(Side::A));
}

#[test]
fn a_journal_record_is_not_to_be_replayed_until_a_cluster_took_the_write() {
    let begun = Story::of(plan(B, true), rules(false));
    assert_eq!(
        begun.records,
        [Stored {
            owes: Sides::BOTH,
            forbidden: true
        }]
    );
    let owing = begun.kept(true).said(Side::A, Verdict::Ok);
    // Both are there until the second is durable, and the client waits for that.
    assert_eq!((owing.records.len(), owing.heard), (2, None));
    owing.kept(true).ends(&[(B, false)], Reply::Of(Side::A));
}

#[test]
fn a_journal_record_of_what_nobody_confirmed_stays_for_operators() {
    Story::of(plan(B, true), rules(false))
        .kept(true)
        .said(Side::A, Verdict::Maybe)
        .ends(&[(Sides::BOTH, true)], Reply::Ambiguous);
}

#[test]
fn a_journal_record_goes_when_all_have_the_write_or_nobody() {
    Story::of(plan(Sides::NONE, true), rules(false))
        .kept(true)
        .said(Side::A, Verdict::Ok)
        .said(Side::B, Verdict::Ok)
        .ends(&[], Reply::Of(Side::A));
    Story::of(plan(B, true), rules(false))
        .kept(true)
        .said(Side::A, Verdict::Definite)
        .ends(&[], Reply::Of(Side::A));
}

#[test]
fn a_record_whose_heir_is_refused_is_as_safe_as_it_was() {
    // Not to be replayed, it stays; the heir is tried again from memory.
    let story = Story::of(plan(B, true), rules(false));
    let story = story.kept(true).said(Side::A, Verdict::Ok);
    let mut story = story.kept(false);
    story.records.truncate(1);
    assert!(story.seen.contains(&Action::KeepTrying {
        owes: B,
        sent: Sides::NONE
    }));
    story.ends(&[(B, true)], Reply::Ambiguous);
    // One that would be replayed goes: nobody was told that the write is there.
    let story = Story::of(plan(Sides::NONE, true), rules(true)).kept(true);
    let story = story.forbidden().said(Side::A, Verdict::Definite);
    let mut story = story.said(Side::B, Verdict::Maybe).kept(false);
    story.records.clear();
    story.ends(&[], Reply::Ambiguous);
}

#[test]
fn each_pair_of_verdicts_leaves_nothing_to_replay_that_no_cluster_took() {
    let verdicts = [
        Verdict::Ok,
        Verdict::Maybe,
        Verdict::NotApplied,
        Verdict::Definite,
    ];
    for (a, b) in verdicts.into_iter().flat_map(|a| verdicts.map(|b| (a, b))) {
        for (away, journal) in [
            (Sides::NONE, false),
            (Sides::NONE, true),
            (B, false),
            (B, true),
        ] {
            let said = Pair::new(a, b);
            let mut story = Story::of(plan(away, journal), rules(false));
            for _ in 0..6 {
                if story.write.is_keeping() {
                    story = story.kept(true);
                }
                if let Some(side) = story.write.waiting().iter().next() {
                    story = story.said(side, said[side]);
                }
            }
            assert!(story.write.is_over(), "{:?}", story.seen);
            let took = Side::ALL
                .into_iter()
                .any(|side| !away.contains(side) && said[side] == Verdict::Ok);
            let replayed = story
                .records
                .iter()
                .any(|it| !it.forbidden && !it.owes.is_empty());
            assert!(took || !replayed, "{a:?} {b:?}: {:?}", story.seen);
        }
    }
}
