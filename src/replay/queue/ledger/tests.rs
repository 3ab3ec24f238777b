//! The ledger by example, and its sets by chance.

use proptest::prelude::*;

use super::*;

fn any_change() -> impl Strategy<Value = Change> {
    let sides = || (0_u8..4).prop_map(Sides::from_bits);
    (0_u8..8, 0_i64..20, any::<bool>(), sides(), sides(), sides()).prop_map(
        |(kind, seq, b, owes, live, sent)| {
            let (seq, side) = (Seq(seq), if b { Side::B } else { Side::A });
            match kind {
                0 | 1 => Change::Keep {
                    seq,
                    owes,
                    live,
                    sent,
                    body: Vec::new(),
                    receipt: None,
                },
                2 => Change::Landed { seq, side },
                3 => Change::Missed {
                    seq,
                    side,
                    sent: owes.is_empty(),
                    receipt: None,
                },
                4 => Change::Void { seq },
                5 => Change::Sent {
                    seq,
                    side,
                    receipt: None,
                },
                _ => Change::Applied { seq, side },
            }
        },
    )
}

/// A new record that these sides missed.
fn owed(seq: Seq, owes: Sides) -> Change {
    Change::Keep {
        seq,
        owes,
        live: Sides::NONE,
        sent: Sides::NONE,
        body: Vec::new(),
        receipt: None,
    }
}

fn all(ledger: &Ledger) -> Vec<State> {
    (0..20).map(|seq| ledger.state(Seq(seq))).collect()
}

proptest! {
    #[test]
    fn sets_and_states_agree_and_a_roll_back_leaves_no_trace(
        first in proptest::collection::vec(any_change(), 0..60),
        second in proptest::collection::vec(any_change(), 0..60),
    ) {
        let mut ledger = Ledger::default();
        first.iter().for_each(|change| {
            ledger.apply(change);
        });
        let before = all(&ledger);
        ledger.begin();
        second.iter().for_each(|change| {
            ledger.apply(change);
        });
        for side in Side::ALL {
            let owed = all(&ledger).iter().filter(|state| state.owes.contains(side)).count();
            prop_assert_eq!(ledger.owed(side), u64::try_from(owed).unwrap());
        }
        ledger.roll_back();
        prop_assert_eq!(all(&ledger), before);
    }
}

#[test]
fn a_state_survives_its_stored_form() {
    for code in 0..=255 {
        assert_eq!(State::from_code(code).code(), code);
    }
}

#[test]
fn a_second_announcement_is_told_from_the_first() {
    let (mut ledger, seq, side) = (Ledger::default(), Seq(1), Side::B);
    let owes = Sides::only(side);
    ledger.apply(&owed(seq, owes));
    ledger.apply(&Change::Sent {
        seq,
        side,
        receipt: None,
    });
    assert!(ledger.state(seq).again.is_empty());
    ledger.apply(&Change::Sent {
        seq,
        side,
        receipt: None,
    });
    assert!(ledger.state(seq).again.contains(side));
    ledger.apply(&Change::Missed {
        seq,
        side,
        sent: false,
        receipt: None,
    });
    assert_eq!(
        ledger.state(seq),
        State {
            owes,
            ..State::default()
        }
    );
}

#[test]
fn what_a_worker_ended_is_not_leased_again_while_the_end_is_taken_back() {
    let (mut ledger, seq, side) = (Ledger::default(), Seq(1), Side::B);
    let lease = |ledger: &mut Ledger| {
        let mut out = Vec::new();
        ledger.lease(side, 10, &mut out);
        out
    };
    ledger.apply(&owed(seq, Sides::only(side)));
    assert_eq!(lease(&mut ledger), [seq]);
    for _full_disk in 0..3 {
        ledger.begin();
        ledger.apply(&Change::Applied { seq, side });
        ledger.roll_back();
        assert!(ledger.state(seq).owes.contains(side));
        assert!(lease(&mut ledger).is_empty());
    }
    ledger.begin();
    ledger.apply(&Change::Applied { seq, side });
    ledger.begin();
    // A dead letter that is requeued is anybody's again.
    ledger.requeue(seq, side);
    assert_eq!(lease(&mut ledger), [seq]);
    ledger.release(side, seq);
    assert_eq!(lease(&mut ledger), [seq]);
}
