//! Whether any cluster serves, and that one does again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Ends;
use crate::pair::{Pair, Side, Sides};
use crate::policy::State;

/// Between two times that clients are told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Whether any cluster serves, by what other tasks publish.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    sides: Sides,
    pub(super) connected: watch::Receiver<Pair<bool>>,
    pub(super) states: watch::Receiver<Pair<State>>,
}

impl Serving {
    pub(super) fn of(sides: Sides, ends: &Ends) -> Self {
        Self {
            sides,
            connected: ends.connected.subscribe(),
            states: ends.states.subscribe(),
        }
    }

    /// Whether a cluster is connected whose breaker is not open.
    pub(super) fn is_any(&self) -> bool {
        let (connected, states) = (*self.connected.borrow(), *self.states.borrow());
        let serves = |side: Side| connected[side] && states[side] != State::Open;
        self.sides.iter().any(serves)
    }

    /// Counts how often a cluster served again after none had, at most once in [`TOLD_EVERY`].
    pub(super) async fn count(mut self, returns: watch::Sender<u64>) {
        let mut was_any = self.is_any();
        while self.changed().await {
            let is_any = self.is_any();
            if is_any && !was_any {
                tracing::info!("a cluster serves again: clients are told");
                returns.send_modify(|count| *count += 1);
                sleep(TOLD_EVERY).await;
            }
            was_any = is_any;
        }
    }

    /// False once nobody is left to publish.
    async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.connected.changed() => changed,
            changed = self.states.changed() => changed,
        };
        changed.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both clusters away, and whoever says otherwise.
    struct Stage {
        connected: watch::Sender<Pair<bool>>,
        states: watch::Sender<Pair<State>>,
        returns: watch::Receiver<u64>,
    }

    impl Stage {
        fn new() -> (Self, impl Future<Output = ()>) {
            let (connected, states) = (watch::Sender::default(), watch::Sender::default());
            let serving = Serving {
                sides: Sides::BOTH,
                connected: connected.subscribe(),
                states: states.subscribe(),
            };
            let (told, returns) = watch::channel(0);
            let stage = Self {
                connected,
                states,
                returns,
            };
            (stage, serving.count(told))
        }

        /// How often it was told once this is so for a while.
        async fn after(&self, a: bool, b: bool, for_millis: u64) -> u64 {
            self.connected.send_replace(Pair::new(a, b));
            sleep(Duration::from_millis(for_millis)).await;
            *self.returns.borrow()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_told_when_one_of_two_is_back_and_not_of_the_other() {
        let (stage, count) = Stage::new();
        let story = async {
            assert_eq!(stage.after(false, false, 2_000).await, 0);
            assert_eq!(stage.after(false, true, 2_000).await, 1);
            assert_eq!(stage.after(true, true, 2_000).await, 1);
            assert_eq!(stage.after(true, false, 2_000).await, 1);
            assert_eq!(stage.after(false, false, 2_000).await, 1);
            assert_eq!(stage.after(true, false, 2_000).await, 2);
            // Connected, and of no use.
            stage
                .states
                .send_replace(Pair::new(State::Open, State::Closed));
            assert_eq!(stage.after(true, false, 2_000).await, 2);
            stage
                .states
                .send_replace(Pair::new(State::HalfOpen, State::Closed));
            assert_eq!(stage.after(true, false, 2_000).await, 3);
        };
        tokio::select! { () = count => panic!("it ended"), () = story => {} }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_and_goes_is_told_of_once_a_second() {
        let (stage, count) = Stage::new();
        let story = async {
            for _ in 0..1_000 {
                stage.after(true, false, 5).await;
                stage.after(false, false, 5).await;
            }
            let told = stage.after(true, false, 2_000).await;
            assert!((9..=11).contains(&told), "{told} times in ten seconds");
        };
        tokio::select! { () = count => panic!("it ended"), () = story => {} }
    }
}
