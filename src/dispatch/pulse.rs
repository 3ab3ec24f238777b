//! The health loop: runs the pure machine over what the workers report, probes, publishes the view.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cluster::call::Line;
use crate::pair::{Pair, Side};
use crate::policy::{Health, Report, State, View};
use crate::wire::Opcode;

/// How long a probe may take.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// How long the loop sleeps when nothing is to come.
const IDLE: Duration = Duration::from_secs(3_600);

/// What the health loop publishes, and where it hears.
#[derive(Debug)]
pub struct Pulse {
    health: Health,
    lines: Pair<Option<Line>>,
    reports: mpsc::Receiver<(Side, Report)>,
    view: watch::Sender<View>,
    states: watch::Sender<Pair<State>>,
}

impl Pulse {
    /// The view that everybody starts with.
    #[must_use]
    pub fn new(
        health: Health,
        lines: Pair<Option<Line>>,
        reports: mpsc::Receiver<(Side, Report)>,
        view: watch::Sender<View>,
        states: watch::Sender<Pair<State>>,
    ) -> Self {
        Self {
            health,
            lines,
            reports,
            view,
            states,
        }
    }

    /// Runs until no worker is left to report.
    pub async fn run(mut self, tripped: impl Fn(Side)) {
        let mut probes: JoinSet<(Side, bool)> = JoinSet::new();
        loop {
            while let Some(side) = self.health.poll_probe(Instant::now()) {
                if let Some(line) = self.lines[side].clone() {
                    probes.spawn_local(async move { (side, probe(&line).await) });
                }
            }
            self.publish(&tripped);
            let next = self
                .health
                .probe_at()
                .unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                report = self.reports.recv() => {
                    let Some((side, report)) = report else { return };
                    self.health.handle_report(side, report, Instant::now());
                }
                Some(Ok((side, ok))) = probes.join_next() => {
                    self.health.handle_probe(side, ok, Instant::now());
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    fn publish(&self, tripped: &impl Fn(Side)) {
        let states = Pair::from_fn(|side| self.health.state(side));
        let view = self.health.view();
        let is_out = |side| view.out.contains(side);
        self.states.send_if_modified(|before| {
            let changed = *before != states;
            for side in Side::ALL {
                log_change(side, (before[side], states[side]), is_out(side), tripped);
            }
            *before = states;
            changed
        });
        self.view.send_if_modified(|before| {
            let changed = *before != view;
            *before = view;
            changed
        });
    }
}

fn log_change(side: Side, change: (State, State), is_out: bool, tripped: &impl Fn(Side)) {
    match change {
        (State::Closed, State::Open | State::HalfOpen) => {
            if is_out {
                tracing::warn!(%side, "breaker opened: the cluster gets no live traffic");
            } else {
                tracing::warn!(%side, "breaker opened, and no cluster is healthy: each is still tried");
            }
            tripped(side);
        }
        (State::Open | State::HalfOpen, State::Closed) => {
            tracing::info!(%side, "breaker closed: the cluster is back");
        }
        (_, State::Closed | State::HalfOpen | State::Open) => {}
    }
}

async fn probe(line: &Line) -> bool {
    line.cluster().redial_now();
    let way = (line.version(), None);
    let reply = line
        .call(way, (0, Opcode::Options), |_body| {}, PROBE_WITHIN)
        .await;
    if let Err(failure) = &reply {
        tracing::debug!(side = %line.side(), %failure, "probe failed");
    }
    reply.is_ok_and(|reply| reply.opcode == Opcode::Supported)
}
