//! Random answers, pauses and restarts of one side; `SEED=n` replays one run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use std::num::NonZeroU32;

use super::tests::start;
use super::*;

/// A debt as a queue would hold it, and how often its side may have applied it.
#[derive(Clone, Copy, Debug)]
struct Debt {
    due: Due,
    at_t: u32,
    at_t1: u32,
}

struct World {
    dice: Dice,
    schedule: Schedule,
    now: Instant,
    owed: BTreeMap<Seq, Debt>,
    leased: BTreeSet<Seq>,
    flying: Vec<(Seq, bool)>,
    announcing: Vec<Seq>,
    parked: u32,
    applied: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let owed = (0..60)
            .map(|seq| {
                let repeats = [Repeat::Yes, Repeat::Yes, Repeat::Shifted, Repeat::No];
                let repeat = repeats[pick(&mut dice, 4)];
                let due = Due {
                    seq: Seq(seq),
                    partition: dice.roll() % 8,
                    priority: if dice.roll().is_multiple_of(4) {
                        Priority::Low
                    } else {
                        Priority::High
                    },
                    repeat,
                    sent: false,
                    again: false,
                };
                (
                    Seq(seq),
                    Debt {
                        due,
                        at_t: 0,
                        at_t1: 0,
                    },
                )
            })
            .collect();
        let rate = NonZeroU32::new(50 * u32::try_from(pick(&mut dice, 3)).unwrap());
        let schedule = Schedule::new(Limits { rate, ..limits() }, seed);
        let (leased, flying, announcing) = Default::default();
        let now = start();
        Self {
            dice,
            schedule,
            now,
            owed,
            leased,
            flying,
            announcing,
            parked: 0,
            applied: 0,
        }
    }

    fn obey(&mut self) {
        while let Some(action) = self.schedule.poll_action() {
            match action {
                Action::Lease(max) => self.lease(max),
                Action::MarkSent(seq) => self.announcing.push(seq),
                Action::Unmark { seq, sent } => {
                    let due = &mut self.owed.get_mut(&seq).unwrap().due;
                    (due.sent, due.again) = (sent, false);
                }
                Action::Send { seq, shift } => self.send(seq, shift),
                Action::Applied(seq) => {
                    self.owed.remove(&seq).unwrap();
                    self.leased.remove(&seq);
                    self.applied += 1;
                }
                Action::Park { seq, .. } => {
                    self.owed.remove(&seq).unwrap();
                    self.leased.remove(&seq);
                    self.parked += 1;
                }
                Action::Release(seq) => assert!(self.leased.remove(&seq), "not leased"),
            }
        }
    }

    fn lease(&mut self, max: usize) {
        if self.dice.roll().is_multiple_of(8) {
            return self.schedule.handle_lease_failed(self.now);
        }
        let free: Vec<_> = self
            .owed
            .values()
            .filter(|debt| !self.leased.contains(&debt.due.seq))
            .collect();
        let dues: Vec<_> = free.iter().take(max).map(|debt| debt.due).collect();
        self.leased.extend(dues.iter().map(|due| due.seq));
        self.schedule.handle_leased(dues, self.now);
    }

    fn send(&mut self, seq: Seq, shift: bool) {
        let debt = self.owed[&seq];
        match debt.due.repeat {
            Repeat::Yes => assert!(!shift),
            Repeat::No => assert!(!shift && debt.at_t == 0 && debt.due.sent, "sent twice"),
            Repeat::Shifted if shift => assert!(debt.at_t1 == 0 && debt.due.again, "T+1 is taken"),
            Repeat::Shifted => assert!(debt.at_t == 0 && debt.due.sent, "T is taken"),
        }
        self.flying.push((seq, shift));
        let keys: Vec<_> = self
            .flying
            .iter()
            .map(|(seq, _)| self.owed[seq].due.partition)
            .collect();
        assert_eq!(
            keys.iter().collect::<HashSet<_>>().len(),
            keys.len(),
            "two of one key"
        );
    }

    /// One thing happens.
    fn step(&mut self, healthy: bool) {
        match self.dice.roll() % 8 {
            0 if !healthy => self
                .schedule
                .handle_side(self.dice.roll().is_multiple_of(3)),
            0 | 1 => {
                self.now = self
                    .schedule
                    .wake_at()
                    .map_or(self.now, |at| at.max(self.now));
                self.schedule.handle_timeout(self.now);
            }
            2 => self.schedule.handle_available(),
            3 | 4 if !self.announcing.is_empty() => self.announced(),
            5 if !healthy && self.dice.roll().is_multiple_of(16) => self.crash(),
            _ if !self.flying.is_empty() => self.answered(healthy),
            _ => {}
        }
        self.obey();
    }

    fn announced(&mut self) {
        let seq = self
            .announcing
            .swap_remove(pick(&mut self.dice, self.announcing.len()));
        let failed = self.dice.roll().is_multiple_of(8);
        if !failed {
            let due = &mut self.owed.get_mut(&seq).unwrap().due;
            (due.again, due.sent) = (due.sent, true);
        }
        let marked = if failed {
            Marked::Failed
        } else {
            Marked::Durable
        };
        self.schedule.handle_marked(seq, marked, self.now);
    }

    fn answered(&mut self, healthy: bool) {
        let at = pick(&mut self.dice, self.flying.len());
        let (seq, shift) = self.flying.swap_remove(at);
        let sick = [Outcome::Maybe, Outcome::NotApplied, Outcome::Refused];
        let outcome = match self.dice.roll() % 8 {
            roll @ 0..=2 if !healthy => sick[usize::try_from(roll).unwrap()],
            _ => Outcome::Applied,
        };
        let took = match outcome {
            Outcome::Applied => true,
            Outcome::Maybe => self.dice.roll().is_multiple_of(2),
            Outcome::NotApplied | Outcome::Refused | Outcome::Unfit => false,
        };
        let debt = self.owed.get_mut(&seq).unwrap();
        *(if shift {
            &mut debt.at_t1
        } else {
            &mut debt.at_t
        }) += u32::from(took);
        self.schedule.handle_outcome(seq, outcome, self.now);
    }

    /// The worker is lost with all that it knew; what flew may have arrived.
    fn crash(&mut self) {
        for (seq, shift) in self.flying.drain(..) {
            let debt = self.owed.get_mut(&seq).unwrap();
            *(if shift {
                &mut debt.at_t1
            } else {
                &mut debt.at_t
            }) += 1;
        }
        self.leased.clear();
        self.announcing.clear();
        self.schedule = Schedule::new(limits(), self.dice.roll());
        self.schedule.handle_side(true);
    }
}

fn limits() -> Limits {
    Limits {
        batch: 7,
        window: 20,
        concurrency: 5,
        ..Limits::default()
    }
}

fn pick(dice: &mut Dice, among: usize) -> usize {
    usize::try_from(dice.roll()).unwrap() % among
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    world.schedule.handle_side(true);
    world.obey();
    for _ in 0..400 {
        world.step(false);
    }
    world.schedule.handle_side(true);
    world.obey();
    for _ in 0..20_000 {
        if world.owed.is_empty() {
            break;
        }
        world.step(true);
    }
    assert!(world.owed.is_empty(), "not drained: {:?}", world.owed);
    assert!(world.schedule.is_empty());
    assert_eq!(world.parked + world.applied, 60);
}

#[test]
fn a_thousand_random_lives_keep_the_rules() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..1_000).collect(),
    };
    for seed in seeds {
        println!("SEED={seed}");
        run(seed);
    }
}
