//! The replay queue, and the clock's ceiling that is kept in it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::observer::now_micros;
use crate::config::Config;
use crate::dispatch::Shared;
use crate::dispatch::clock::Clock;
use crate::dispatch::versions::Versions;
use crate::pair::{Pair, Side};
use crate::replay::queue::{Disk, Memory, OpenError, Options};
use crate::replay::{self, Queue};

/// How far ahead of the newest timestamp the clock is reserved (S25), microseconds. After a crash the first timestamps
/// may lead the wall clock by as much.
const AHEAD: i64 = 1_500_000;
/// How much of that is left when it is reserved anew: more than a look late and a slow disk take together, since
/// timestamps do not follow the wall clock past what is reserved.
const LEAST: i64 = 1_000_000;
/// How long a disk may take for that at the start.
const BEGUN_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take later, before timestamps do without.
const RESERVED_WITHIN: Duration = Duration::from_millis(500);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The fact that a side's highest version is kept as.
fn version_key(side: Side) -> String {
    format!("protocol.{}", side.label())
}

/// Where records wait.
pub(super) struct Store {
    queue: Arc<dyn Queue>,
    disk: Option<Arc<Disk>>,
}

impl Store {
    pub(super) fn open(config: &Config) -> Result<Self, OpenError> {
        match &config.replay.store {
            replay::Store::Memory { capacity } => Ok(Self {
                queue: Arc::new(Memory::new(*capacity, now_micros)),
                disk: None,
            }),
            replay::Store::Disk { .. } if config.clusters.b.is_none() => {
                // Nothing is ever owed with a single cluster: no file is needed.
                let few = const { std::num::NonZeroUsize::new(1).expect("not zero") };
                Ok(Self {
                    queue: Arc::new(Memory::new(few, now_micros)),
                    disk: None,
                })
            }
            replay::Store::Disk { path, max_bytes } => {
                let options = Options::new(path.clone(), max_bytes.get(), now_micros);
                let disk = Arc::new(Disk::open(options)?);
                let queue = Arc::clone(&disk);
                Ok(Self {
                    queue,
                    disk: Some(disk),
                })
            }
        }
    }

    pub(super) fn queue(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::clone(&self.queue))
    }

    /// No timestamp at or below it may be given out: an earlier process may have used it.
    pub(super) fn clock_floor(&self) -> i64 {
        self.disk.as_ref().map_or(0, |disk| disk.clock_ceiling())
    }

    /// Reserves the clock before the first timestamp is given out.
    pub(super) async fn begin_clock(&self, clock: &Clock) {
        if let Some(disk) = &self.disk {
            clock.begin();
            reserve(disk, clock, BEGUN_WITHIN).await;
        }
    }

    /// Keeps the clock's ceiling ahead on disk, for ever. Without a disk the wall clock must do.
    pub(super) fn keep_clock(&self, shared: Arc<Shared>) -> impl Future<Output = ()> + 'static {
        let disk = self.disk.clone();
        async move {
            let Some(disk) = disk else { return };
            let mut reserved = 0;
            loop {
                if is_due(reserved, newest(&shared.clock)) {
                    reserved = reserve(&disk, &shared.clock, RESERVED_WITHIN)
                        .await
                        .unwrap_or(reserved);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// The highest protocol versions that an earlier process learnt (S21); none without a disk.
    pub(super) async fn versions(&self) -> Pair<Option<u8>> {
        let mut known = Pair::default();
        let Some(disk) = &self.disk else { return known };
        for side in Side::ALL {
            match disk.fact(&version_key(side)).await {
                Ok(Some(fact)) => known[side] = fact.first().copied(),
                Ok(None) => {}
                Err(refused) => tracing::warn!(%refused, "the clusters' versions cannot be read"),
            }
        }
        known
    }

    /// Keeps the clusters' versions on disk as they are learnt, for ever.
    pub(super) fn keep_versions(
        &self,
        mut versions: watch::Receiver<Versions>,
    ) -> impl Future<Output = ()> + 'static {
        let disk = self.disk.clone();
        async move {
            let Some(disk) = disk else { return };
            let mut kept = versions.borrow().known();
            while versions.changed().await.is_ok() {
                let known = versions.borrow_and_update().known();
                for side in Side::ALL {
                    let Some(version) = known[side].filter(|_| known[side] != kept[side]) else {
                        continue;
                    };
                    let put = disk.put_fact(&version_key(side), &[version]);
                    match put.await {
                        Ok(()) => kept[side] = Some(version),
                        Err(refused) => {
                            tracing::warn!(%side, %refused, "its version cannot be kept");
                        }
                    }
                }
            }
        }
    }

    /// Everything submitted becomes durable.
    pub(super) async fn close(&self) {
        if let Err(refused) = self.queue.close().await {
            tracing::error!(%refused, "the replay queue was not closed cleanly");
        }
    }
}

/// Reserves the clock for a while; up to where.
async fn reserve(disk: &Disk, clock: &Clock, within: Duration) -> Option<i64> {
    let until = newest(clock) + AHEAD;
    let reserved = tokio::time::timeout(within, disk.reserve_clock(until)).await;
    match reserved {
        Ok(Ok(())) => {
            clock.reserve(until);
            return Some(until);
        }
        Ok(Err(refused)) => tracing::warn!(%refused, "the clock cannot be reserved"),
        Err(_late) => tracing::warn!("the clock cannot be reserved in time"),
    }
    clock.release();
    None
}

fn is_due(reserved: i64, newest: i64) -> bool {
    reserved < newest + LEAST
}

fn newest(clock: &Clock) -> i64 {
    clock.last().max(now_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_never_holds_timestamps_behind_the_wall_clock() {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap();
        for phase in (0..micros(LOOK_EVERY)).step_by(1_000) {
            let clock = Clock::new(-1_000);
            clock.reserve(AHEAD);
            let mut wall = phase;
            while !is_due(AHEAD, wall) {
                assert_eq!(clock.next(wall), wall);
                wall += micros(LOOK_EVERY);
            }
            let answered = wall + micros(RESERVED_WITHIN);
            assert_eq!(clock.next(answered), answered, "looked at {wall}");
        }
    }
}
