//! What goes wrong and when, and what becomes of one message.

use helix_proxy::pair::Side;
use helix_proxy::policy::{Report, Verdict};

use super::dice::Dice;
use super::settings::{END, MS, Micros, SECOND};

/// How a cluster is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Accepts and never answers (SIGSTOP); what it was sent may be applied when it goes on.
    BlackHole,
    /// Refuses connections; what is under way is cut off.
    Down,
    /// Refuses half of the requests.
    Overloaded,
    /// Answers after up to two and a half seconds.
    Slow,
    /// As it should be.
    Up,
}

/// How the disk of the queue is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Disk {
    /// Cannot store.
    Full,
    /// As it should be.
    Good,
    /// A commit takes up to two and a half seconds.
    Hanging,
}

#[derive(Clone, Copy, Debug)]
struct Window<M> {
    from: Micros,
    until: Micros,
    mode: M,
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// Not sent before then: there is no connection.
    pub(crate) held_until: Option<Micros>,
    /// When it is applied, if ever.
    pub(crate) applied_at: Option<Micros>,
    /// When an answer comes, if ever.
    pub(crate) answer: Option<(Micros, Verdict, Report)>,
}

/// Everything that goes wrong in one run.
#[derive(Debug)]
pub(crate) struct Faults {
    sides: helix_proxy::pair::Pair<Vec<Window<Mode>>>,
    disk: Vec<Window<Disk>>,
    pub(crate) crashes: Vec<Micros>,
    /// When the wall clock steps, and by how many microseconds.
    pub(crate) steps: Vec<(Micros, i64)>,
    flaky: u64,
}

impl Faults {
    pub(crate) fn roll(dice: &mut Dice, flaky: u64) -> Self {
        let modes = [Mode::BlackHole, Mode::Down, Mode::Overloaded, Mode::Slow];
        let sides = helix_proxy::pair::Pair::from_fn(|_| windows(dice, 4, &modes));
        let disk = windows(dice, 3, &[Disk::Full, Disk::Hanging]);
        let crashes = (0..dice.below(4)).map(|_| dice.below(END)).collect();
        let steps = (0..dice.below(3)).map(|_| {
            let by = i64::try_from(dice.below(10 * SECOND)).expect("small");
            (dice.below(END), by - 5_000_000)
        });
        let steps = steps.collect();
        Self {
            sides,
            disk,
            crashes,
            steps,
            flaky,
        }
    }

    /// How a side is, and until when.
    pub(crate) fn mode(&self, side: Side, now: Micros) -> (Mode, Micros) {
        at(&self.sides[side], now).unwrap_or((Mode::Up, now))
    }

    pub(crate) fn disk(&self, now: Micros) -> Disk {
        at(&self.disk, now).map_or(Disk::Good, |(disk, _)| disk)
    }

    /// Whether a side answers a probe.
    pub(crate) fn answers_probe(&self, side: Side, now: Micros) -> bool {
        matches!(self.mode(side, now).0, Mode::Up | Mode::Overloaded)
    }

    /// What becomes of a message that is sent now. An `invalid` one is refused wherever it arrives.
    pub(crate) fn fate(&self, dice: &mut Dice, side: Side, now: Micros, invalid: bool) -> Fate {
        let (mode, until) = self.mode(side, now);
        let refused = answered(now + 200, Verdict::NotApplied, Report::Strike);
        let held = Fate {
            held_until: Some(until),
            ..Fate::default()
        };
        let at = match mode {
            Mode::Down if dice.chance(20) => return held,
            Mode::Down => return refused,
            Mode::BlackHole if dice.chance(30) => return held,
            Mode::BlackHole if dice.chance(50) => return Fate::default(),
            Mode::BlackHole => until + dice.below(20 * MS),
            Mode::Overloaded if dice.chance(50) => return refused,
            Mode::Slow => now + dice.between(100 * MS, 2_500 * MS),
            Mode::Up | Mode::Overloaded => now + dice.between(200, 4 * MS),
        };
        self.arrives(dice, side, at, invalid)
    }

    fn arrives(&self, dice: &mut Dice, side: Side, at: Micros, invalid: bool) -> Fate {
        let (mode, until) = self.mode(side, at);
        let at = match mode {
            Mode::Down => return answered(at, Verdict::Maybe, Report::Strike),
            Mode::BlackHole => until + dice.below(20 * MS),
            Mode::Overloaded | Mode::Slow | Mode::Up => at,
        };
        let back = at + dice.between(200, 4 * MS);
        if invalid {
            return answered(back, Verdict::Definite, Report::Success);
        }
        if at < END && dice.chance(self.flaky) {
            return flaky(dice, at, back);
        }
        let (mode, until) = self.mode(side, back);
        let answer = match mode {
            Mode::Down => (back, Verdict::Maybe, Report::Strike),
            Mode::BlackHole => (until + dice.below(20 * MS), Verdict::Ok, Report::Success),
            Mode::Overloaded | Mode::Slow | Mode::Up => (back, Verdict::Ok, Report::Success),
        };
        Fate {
            applied_at: Some(at),
            answer: Some(answer),
            held_until: None,
        }
    }
}

/// One message alone meets a fault.
fn flaky(dice: &mut Dice, at: Micros, back: Micros) -> Fate {
    let sick = Report::Sick(dice.below(8));
    let applied_at = Some(at);
    match dice.below(6) {
        0 => Fate::default(),
        1 => Fate {
            applied_at,
            ..Fate::default()
        },
        2 => Fate {
            applied_at: applied_at.filter(|_| dice.chance(50)),
            ..answered(back, Verdict::Maybe, sick)
        },
        3 => answered(back, Verdict::NotApplied, sick),
        4 => answered(back, Verdict::Definite, Report::Success),
        _ => Fate {
            applied_at,
            ..answered(
                back + dice.between(500 * MS, 4 * SECOND),
                Verdict::Ok,
                Report::Success,
            )
        },
    }
}

const fn answered(at: Micros, verdict: Verdict, report: Report) -> Fate {
    Fate {
        held_until: None,
        applied_at: None,
        answer: Some((at, verdict, report)),
    }
}

fn windows<M: Copy>(dice: &mut Dice, below: u64, modes: &[M]) -> Vec<Window<M>> {
    let count = dice.below(below);
    let window = |_| {
        let from = dice.below(END);
        let until = (from + dice.between(200 * MS, 6 * SECOND)).min(END);
        Window {
            from,
            until,
            mode: dice.pick(modes),
        }
    };
    (0..count).map(window).collect()
}

fn at<M: Copy>(windows: &[Window<M>], now: Micros) -> Option<(M, Micros)> {
    let open = windows.iter().find(|w| w.from <= now && now < w.until)?;
    Some((open.mode, open.until))
}
