//! Table tests of the plans.

use super::*;

fn policy(journal: Journal) -> Policy {
    let writes = Writes {
        journal,
        ..Writes::default()
    };
    Policy::new(
        Config {
            writes,
            ..Config::default()
        },
        Sides::BOTH,
    )
}

fn view(out: Sides) -> View {
    View {
        out,
        sick: out,
        doubted: Sides::NONE,
        preferred: Side::A,
    }
}

#[test]
fn a_read_goes_to_the_preferred_side_while_it_is_up_and_fresh() {
    let policy = policy(Journal::Degraded);
    for (out, behind, first, avoided) in [
        (Sides::NONE, Sides::NONE, Side::A, None),
        (Sides::NONE, Sides::only(Side::A), Side::B, Some(Side::A)),
        (Sides::NONE, Sides::only(Side::B), Side::A, None),
        (Sides::NONE, Sides::BOTH, Side::A, None),
        (Sides::only(Side::A), Sides::NONE, Side::B, None),
        (Sides::only(Side::A), Sides::only(Side::B), Side::B, None),
        (Sides::only(Side::B), Sides::only(Side::A), Side::A, None),
    ] {
        let plan = policy.read(view(out), |side| behind.contains(side));
        assert_eq!(
            plan,
            ReadPlan {
                first,
                then: Some(!first).filter(|then| !out.contains(*then)),
                avoided
            },
            "{out:?} {behind:?}"
        );
    }
}

#[test]
fn a_write_is_journalled_exactly_when_the_operator_asked_for_it() {
    let b = Sides::only(Side::B);
    for (journal, out, expected) in [
        (Journal::Off, b, false),
        (Journal::Off, Sides::NONE, false),
        (Journal::Degraded, b, true),
        (Journal::Degraded, Sides::NONE, false),
        (Journal::Always, b, true),
        (Journal::Always, Sides::NONE, true),
    ] {
        let plan = policy(journal).write(view(out));
        assert_eq!(
            (plan.journal, plan.away),
            (expected, out),
            "{journal:?} {out:?}"
        );
        assert_eq!(plan.send.union(plan.away), Sides::BOTH);
    }
}

#[test]
fn the_degraded_journal_is_on_while_both_are_sick_and_neither_is_out() {
    let view = View {
        sick: Sides::BOTH,
        ..view(Sides::NONE)
    };
    let plan = policy(Journal::Degraded).write(view);
    assert_eq!((plan.send, plan.journal), (Sides::BOTH, true));
}

#[test]
fn one_cluster_alone_is_a_plain_pass_through() {
    let writes = Writes {
        journal: Journal::Always,
        ..Writes::default()
    };
    let only = Policy::new(
        Config {
            writes,
            ..Config::default()
        },
        Sides::only(Side::A),
    );
    let plan = only.write(view(Sides::NONE));
    assert_eq!((plan.send, plan.journal), (Sides::only(Side::A), false));
    let plan = only.read(view(Sides::NONE), |_| true);
    assert_eq!(
        plan,
        ReadPlan {
            first: Side::A,
            then: None,
            avoided: None
        }
    );
}
