//! Reads, and texts that nobody knows: which side is asked after which, and what the client hears.

use super::*;
use crate::policy::{ReadPlan, Verdict};

const VERDICTS: [Verdict; 4] = [
    Verdict::Ok,
    Verdict::Maybe,
    Verdict::NotApplied,
    Verdict::Definite,
];

fn read(then: Option<Side>) -> (Read, Vec<Action>) {
    let (read, actions) = Read::new(ReadPlan {
        first: Side::A,
        then,
        avoided: None,
    });
    (read, actions.iter().collect())
}

#[test]
fn a_read_asks_the_other_side_once_and_only_when_the_first_is_sick() {
    for a in VERDICTS {
        for b in VERDICTS {
            let (mut read, mut seen) = read(Some(Side::B));
            seen.extend(read.handle(Input::Answered(Side::A, a)).iter());
            seen.extend(read.handle(Input::Answered(Side::B, b)).iter());
            let ask = |side| Action::Send(side);
            let failed = match (a, b) {
                (Verdict::NotApplied, Verdict::NotApplied) => Reply::Unsent,
                _ => Reply::Ambiguous,
            };
            let expected = match (a.is_sick(), b.is_sick()) {
                (false, _) => vec![ask(Side::A), Action::Reply(Reply::Of(Side::A))],
                (true, false) => vec![
                    ask(Side::A),
                    ask(Side::B),
                    Action::Reply(Reply::Of(Side::B)),
                ],
                (true, true) => vec![ask(Side::A), ask(Side::B), Action::Reply(failed)],
            };
            assert_eq!(seen, expected, "{a:?} {b:?}");
        }
    }
}

#[test]
fn a_slow_read_takes_whichever_side_answers_first() {
    for side in Side::ALL {
        let (mut read, mut seen) = read(Some(Side::B));
        seen.extend(read.handle(Input::Slow).iter());
        seen.extend(read.handle(Input::Slow).iter());
        seen.extend(read.handle(Input::Answered(side, Verdict::Ok)).iter());
        seen.extend(read.handle(Input::Answered(!side, Verdict::Ok)).iter());
        let sends = [Action::Send(Side::A), Action::Send(Side::B)];
        assert_eq!(
            seen,
            [&sends[..], &[Action::Reply(Reply::Of(side))]].concat()
        );
    }
}

#[test]
fn a_read_without_another_side_never_fails_over() {
    let (mut read, _) = read(None);
    assert_eq!(read.handle(Input::Slow).iter().count(), 0);
    let seen: Vec<_> = read
        .handle(Input::Answered(Side::A, Verdict::NotApplied))
        .iter()
        .collect();
    assert_eq!(seen, [Action::Reply(Reply::Unsent)]);
}

#[test]
fn a_read_does_not_move_to_a_side_whose_breaker_opened_meanwhile() {
    let (mut read, mut seen) = read(Some(Side::B));
    let unsent = true;
    let out = Input::Out {
        side: Side::B,
        unsent,
    };
    for input in [out, Input::Slow, Input::Answered(Side::A, Verdict::Maybe)] {
        seen.extend(read.handle(input).iter());
    }
    let expected = [Action::Send(Side::A), Action::Reply(Reply::Ambiguous)];
    assert_eq!(seen, expected);
}

/// A text that nobody knows, which A took.
fn taken_by_home() -> Chain {
    let (mut chain, _) = Chain::new(Side::A, Some(Side::B), Sides::NONE);
    let seen: Vec<_> = (chain.handle(Input::Answered(Side::A, Verdict::Ok)).iter()).collect();
    assert_eq!(seen, [Action::Send(Side::B)]);
    chain
}

#[test]
fn what_home_took_and_the_other_did_not_is_told_as_ambiguous_whatever_the_other_says() {
    for verdict in VERDICTS {
        let mut chain = taken_by_home();
        let seen: Vec<_> = (chain.handle(Input::Answered(Side::B, verdict)).iter()).collect();
        let reply = match verdict {
            Verdict::Ok => Reply::Of(Side::A),
            Verdict::Definite | Verdict::Maybe | Verdict::NotApplied => Reply::Ambiguous,
        };
        assert_eq!(seen, [Action::Reply(reply)], "{verdict:?}");
    }
}

#[test]
fn what_home_refuses_is_told_as_it_is_and_the_other_is_not_asked() {
    for (verdict, reply) in [
        (Verdict::Definite, Reply::Of(Side::A)),
        (Verdict::NotApplied, Reply::Unsent),
        (Verdict::Maybe, Reply::Ambiguous),
    ] {
        let (mut chain, _) = Chain::new(Side::A, Some(Side::B), Sides::NONE);
        let seen: Vec<_> = (chain.handle(Input::Answered(Side::A, verdict)).iter()).collect();
        assert_eq!(seen, [Action::Reply(reply)], "{verdict:?}");
    }
}

#[test]
fn an_unknown_text_does_not_go_on_to_a_side_whose_breaker_opened_meanwhile() {
    let (mut chain, _) = Chain::new(Side::A, Some(Side::B), Sides::NONE);
    let unsent = true;
    let out = Input::Out {
        side: Side::B,
        unsent,
    };
    assert_eq!(chain.handle(out).iter().count(), 0);
    let seen: Vec<_> = (chain.handle(Input::Answered(Side::A, Verdict::Ok)).iter()).collect();
    assert_eq!(seen, [Action::Reply(Reply::Ambiguous)]);
}
