//! Stories of single records.

use std::num::NonZeroU32;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Where time begins.
pub(super) fn start() -> Instant {
    Instant::now()
}

struct Story {
    schedule: Schedule,
    now: Instant,
}

impl Story {
    fn new(limits: Limits) -> Self {
        let mut schedule = Schedule::new(limits, 1);
        schedule.handle_side(true);
        let mut story = Self {
            schedule,
            now: Instant::now(),
        };
        assert_eq!(
            story.actions(),
            [Action::Lease(story.schedule.limits.batch)]
        );
        story
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.schedule.poll_action()).collect()
    }

    /// Leases these and says that there is no more.
    fn leased(&mut self, dues: &[Due]) -> Vec<Action> {
        self.schedule.handle_leased(dues.iter().copied(), self.now);
        self.schedule.handle_leased([], self.now);
        self.sends()
    }

    fn sends(&mut self) -> Vec<Action> {
        self.actions()
            .into_iter()
            .filter(|action| !matches!(action, Action::Lease(_)))
            .collect()
    }

    fn outcome(&mut self, seq: i64, outcome: Outcome) -> Vec<Action> {
        self.schedule.handle_outcome(Seq(seq), outcome, self.now);
        self.sends()
    }

    fn marked(&mut self, seq: i64) -> Vec<Action> {
        self.schedule
            .handle_marked(Seq(seq), Marked::Durable, self.now);
        self.sends()
    }

    /// Jumps to the next wake-up; says how long it was.
    fn sleep(&mut self) -> (Duration, Vec<Action>) {
        let at = self.schedule.wake_at().expect("nothing to wake for");
        let slept = at - self.now;
        self.now = at;
        self.schedule.handle_timeout(at);
        (slept, self.sends())
    }
}

fn due(seq: i64, partition: u64) -> Due {
    Due {
        seq: Seq(seq),
        partition,
        priority: Priority::High,
        repeat: Repeat::Yes,
        sent: false,
        again: false,
    }
}

fn send(seq: i64) -> Action {
    Action::Send {
        seq: Seq(seq),
        shift: false,
    }
}

fn shifted(seq: i64) -> Action {
    Action::Send {
        seq: Seq(seq),
        shift: true,
    }
}

fn park(seq: i64, reason: Parked) -> Action {
    Action::Park {
        seq: Seq(seq),
        reason,
    }
}

fn unmark(seq: i64, sent: bool) -> Action {
    Action::Unmark {
        seq: Seq(seq),
        sent,
    }
}

#[test]
fn one_partition_goes_in_order_and_others_beside_it() {
    let mut story = Story::new(Limits::default());
    assert_eq!(
        story.leased(&[due(1, 7), due(2, 7), due(3, 8)]),
        [send(1), send(3)]
    );
    assert_eq!(
        story.outcome(3, Outcome::Applied),
        [Action::Applied(Seq(3))]
    );
    assert_eq!(
        story.outcome(1, Outcome::Applied),
        [Action::Applied(Seq(1)), send(2)]
    );
    assert_eq!(
        story.outcome(2, Outcome::Applied),
        [Action::Applied(Seq(2))]
    );
    assert!(story.schedule.is_empty());
}

#[test]
fn no_more_fly_than_allowed() {
    let mut story = Story::new(Limits {
        concurrency: 2,
        ..Limits::default()
    });
    let dues: Vec<_> = (1..=3).map(|seq| due(seq, seq.unsigned_abs())).collect();
    assert_eq!(story.leased(&dues), [send(1), send(2)]);
    assert_eq!(
        story.outcome(2, Outcome::Applied),
        [Action::Applied(Seq(2)), send(3)]
    );
}

#[test]
fn failures_double_the_pause_up_to_a_limit() {
    let mut story = Story::new(Limits::default());
    story.leased(&[due(1, 7)]);
    let mut longest = Duration::from_millis(100);
    for _ in 0..12 {
        assert!(story.outcome(1, Outcome::NotApplied).is_empty());
        let (slept, actions) = story.sleep();
        assert!(
            longest / 2 <= slept && slept <= longest,
            "{slept:?} of {longest:?}"
        );
        assert_eq!(actions, [send(1)]);
        longest = (longest * 2).min(30 * SECOND);
    }
    assert_eq!(longest, 30 * SECOND);
}

#[test]
fn a_failed_record_holds_back_its_partition_only() {
    let mut story = Story::new(Limits::default());
    story.leased(&[due(1, 7), due(2, 7), due(3, 8)]);
    assert!(story.outcome(1, Outcome::Maybe).is_empty());
    assert_eq!(
        story.outcome(3, Outcome::Applied),
        [Action::Applied(Seq(3))]
    );
    assert_eq!(story.sleep().1, [send(1)]);
}

#[test]
fn too_many_failures_park_but_a_side_that_is_down_burns_none() {
    let limits = Limits {
        attempts_max: NonZeroU32::new(2),
        ..Limits::default()
    };
    let mut story = Story::new(limits);
    story.leased(&[due(1, 7)]);
    story.outcome(1, Outcome::Maybe);
    story.sleep();
    story.schedule.handle_side(false);
    assert!(story.outcome(1, Outcome::Maybe).is_empty());
    story.schedule.handle_timeout(story.now + 60 * SECOND);
    assert!(story.sends().is_empty(), "nothing is sent while it is down");
    story.schedule.handle_side(true);
    assert_eq!(story.sends(), [send(1)], "and at once when it is back");
    story.outcome(1, Outcome::Maybe);
    story.sleep();
    assert_eq!(
        story.outcome(1, Outcome::Maybe),
        [park(1, Parked::TooManyAttempts)]
    );
}

#[test]
fn a_refused_record_steps_aside_is_tried_slowly_and_parked_after_the_grace() {
    let mut story = Story::new(Limits {
        grace: 70 * SECOND,
        ..Limits::default()
    });
    story.leased(&[due(1, 7), due(2, 7)]);
    let began = story.now;
    assert_eq!(
        story.outcome(1, Outcome::Refused),
        [send(2)],
        "the others go on"
    );
    story.outcome(2, Outcome::Applied);
    loop {
        let (slept, actions) = story.sleep();
        assert_eq!(actions, [send(1)]);
        assert!(slept <= 30 * SECOND);
        let after = story.outcome(1, Outcome::Refused);
        if !after.is_empty() {
            assert_eq!(after, [park(1, Parked::Refused)]);
            break;
        }
    }
    assert_eq!(story.now - began, 70 * SECOND);
}

#[test]
fn a_refused_record_comes_back_behind_the_one_at_work() {
    let mut story = Story::new(Limits::default());
    story.leased(&[due(1, 7), due(2, 7), due(3, 7)]);
    assert_eq!(story.outcome(1, Outcome::Refused), [send(2)]);
    assert!(story.sleep().1.is_empty());
    assert_eq!(
        story.outcome(2, Outcome::Applied),
        [Action::Applied(Seq(2)), send(1)]
    );
    assert_eq!(
        story.outcome(1, Outcome::Applied),
        [Action::Applied(Seq(1)), send(3)]
    );
}

#[test]
fn what_must_not_repeat_is_announced_and_parked_when_in_doubt() {
    let mut story = Story::new(Limits::default());
    let once = Due {
        repeat: Repeat::No,
        ..due(1, 7)
    };
    assert_eq!(story.leased(&[once]), [Action::MarkSent(Seq(1))]);
    assert_eq!(story.marked(1), [send(1)]);
    assert_eq!(
        story.outcome(1, Outcome::Maybe),
        [park(1, Parked::Ambiguous)]
    );

    let mut story = Story::new(Limits::default());
    let seen = Due { sent: true, ..once };
    assert_eq!(story.leased(&[seen]), [park(1, Parked::Ambiguous)]);
}

#[test]
fn what_surely_was_not_applied_is_announced_anew() {
    for outcome in [Outcome::NotApplied, Outcome::Refused] {
        let mut story = Story::new(Limits::default());
        story.leased(&[Due {
            repeat: Repeat::No,
            ..due(1, 7)
        }]);
        story.marked(1);
        assert_eq!(story.outcome(1, outcome), [unmark(1, false)]);
        assert_eq!(story.sleep().1, [Action::MarkSent(Seq(1))]);
        assert_eq!(story.marked(1), [send(1)]);
        assert_eq!(
            story.outcome(1, Outcome::Applied),
            [Action::Applied(Seq(1))]
        );
    }
}

#[test]
fn a_list_is_shifted_once_after_a_doubt_and_parked_after_two() {
    let mut story = Story::new(Limits::default());
    story.leased(&[Due {
        repeat: Repeat::Shifted,
        ..due(1, 7)
    }]);
    assert_eq!(story.marked(1), [send(1)]);
    assert!(story.outcome(1, Outcome::Maybe).is_empty());
    assert_eq!(story.sleep().1, [Action::MarkSent(Seq(1))]);
    assert_eq!(story.marked(1), [shifted(1)]);
    assert_eq!(
        story.outcome(1, Outcome::NotApplied),
        [unmark(1, true)],
        "T+1 is still free"
    );
    story.sleep();
    assert_eq!(story.marked(1), [shifted(1)]);
    assert_eq!(
        story.outcome(1, Outcome::Maybe),
        [park(1, Parked::Ambiguous)]
    );

    let mut story = Story::new(Limits::default());
    let shifted_before = Due {
        repeat: Repeat::Shifted,
        sent: true,
        again: true,
        ..due(1, 7)
    };
    assert_eq!(
        story.leased(&[shifted_before]),
        [park(1, Parked::Ambiguous)]
    );
}

#[test]
fn an_announcement_that_cannot_be_stored_waits_and_one_of_a_lost_debt_is_forgotten() {
    let mut story = Story::new(Limits::default());
    let once = |seq| Due {
        repeat: Repeat::No,
        ..due(seq, 7)
    };
    story.leased(&[once(1), once(2)]);
    story
        .schedule
        .handle_marked(Seq(1), Marked::Failed, story.now);
    assert_eq!(story.sleep(), (SECOND, vec![Action::MarkSent(Seq(1))]));
    story
        .schedule
        .handle_marked(Seq(1), Marked::Gone, story.now);
    assert_eq!(story.sends(), [Action::MarkSent(Seq(2))]);
}

#[test]
fn ten_high_ones_go_for_one_low_one() {
    let order = |strict| {
        let mut story = Story::new(Limits {
            concurrency: 1,
            strict,
            ..Limits::default()
        });
        let dues: Vec<_> = (1..=30_i64)
            .map(|seq| {
                let low = seq <= 3;
                let priority = if low { Priority::Low } else { Priority::High };
                Due {
                    priority,
                    ..due(seq, seq.unsigned_abs())
                }
            })
            .collect();
        let mut sent = Vec::new();
        let mut actions = story.leased(&dues);
        while let Some(Action::Send { seq, .. }) = actions.pop() {
            sent.push(seq.0);
            actions = story.outcome(seq.0, Outcome::Applied);
        }
        sent.iter()
            .enumerate()
            .filter(|(_, seq)| **seq <= 3)
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    assert_eq!(order(false), [10, 21, 29]);
    assert_eq!(order(true), [27, 28, 29]);
}

#[test]
fn leases_never_exceed_the_window_and_stop_when_there_is_no_more() {
    let mut story = Story::new(Limits {
        batch: 2,
        window: 5,
        concurrency: 1,
        ..Limits::default()
    });
    let now = story.now;
    story.schedule.handle_leased([due(1, 1), due(2, 2)], now);
    assert_eq!(story.actions(), [send(1), Action::Lease(2)]);
    story.schedule.handle_leased([due(3, 3), due(4, 4)], now);
    assert!(story.actions().is_empty(), "only one more fits");
    story.outcome(1, Outcome::Applied);
    assert!(story.schedule.leasing);
    story.schedule.handle_leased([], now);
    assert!(story.schedule.is_waiting() && story.actions().is_empty());
    story.schedule.handle_available();
    assert_eq!(story.actions(), [Action::Lease(2)]);
    story.schedule.handle_lease_failed(story.now);
    assert_eq!(story.schedule.wake_at(), Some(story.now + SECOND));
}

#[test]
fn stopping_gives_everything_back_but_waits_for_what_flies() {
    let mut story = Story::new(Limits {
        concurrency: 2,
        ..Limits::default()
    });
    let once = Due {
        repeat: Repeat::No,
        ..due(2, 8)
    };
    story.leased(&[due(1, 7), once, due(3, 7), due(4, 9)]);
    story.schedule.handle_stop();
    assert_eq!(
        story.sends(),
        [Action::Release(Seq(3)), Action::Release(Seq(4))]
    );
    assert!(!story.schedule.is_empty());
    assert_eq!(story.marked(2), [unmark(2, false), Action::Release(Seq(2))]);
    assert_eq!(story.outcome(1, Outcome::Maybe), [Action::Release(Seq(1))]);
    assert!(story.schedule.is_empty());
}

#[test]
fn what_is_not_the_table_it_was_written_for_is_parked_at_once() {
    let mut story = Story::new(Limits::default());
    story.leased(&[due(1, 7)]);
    assert_eq!(
        story.outcome(1, Outcome::Unfit),
        [park(1, Parked::SchemaChanged)]
    );
}

#[test]
fn leases_keep_the_pace() {
    let mut schedule = Schedule::new(
        Limits {
            rate: NonZeroU32::new(100),
            ..Limits::default()
        },
        1,
    );
    schedule.handle_side(true);
    assert_eq!(schedule.poll_action(), Some(Action::Lease(10)));
    let now = start();
    schedule.handle_leased((0..10).map(|seq| due(seq, 1)), now);
    let send = Action::Send {
        seq: Seq(0),
        shift: false,
    };
    assert_eq!(schedule.poll_action(), Some(send));
    assert_eq!(schedule.poll_action(), None);
    assert_eq!(schedule.wake_at(), Some(now + SECOND / 10));
    schedule.handle_timeout(now + SECOND / 10);
    assert_eq!(schedule.poll_action(), Some(Action::Lease(10)));
}
