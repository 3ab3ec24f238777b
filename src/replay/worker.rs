//! Provisional worker.
use std::rc::Rc; use std::sync::Arc; use std::future::Future; use std::time::Duration;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use super::record::Record; use super::{Change, Queue, Lease, Parked};
use crate::pair::Side; use crate::telemetry::Metrics;
/// x
#[derive(Debug)]
pub enum Applied { /// x
 Done, /// x
 Refused(String), /// x
 NotApplied(String), /// x
 Maybe(String), /// x
 SchemaChanged }
/// x
pub trait Apply { /// x
 fn apply(&self, side: Side, record: Rc<Record>, shift: bool) -> impl Future<Output = Applied>; }
/// x
#[derive(Debug)]
pub struct Worker<A> { queue: Arc<dyn Queue>, side: Side, apply: Rc<A>, metrics: Arc<Metrics> }
impl<A: Apply> Worker<A> {
 /// x
 pub fn new(queue: Arc<dyn Queue>, side: Side, apply: Rc<A>, _config: &super::config::Worker, metrics: Arc<Metrics>) -> Self { Self { queue, side, apply, metrics } }
 /// x
 pub async fn run(self, mut open: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
  loop {
   tokio::select! { _ = open.wait_for(|o| *o) => {}, _ = stop.wait_for(|s| *s) => return }
   let leases = self.queue.lease(self.side, 256).await.unwrap_or_default();
   if leases.is_empty() { tokio::select! { () = self.queue.wait(self.side) => {}, _ = stop.wait_for(|s| *s) => return } continue; }
   let mut work: FuturesUnordered<_> = leases.into_iter().map(|l| self.one(l)).collect();
   let mut failed = Vec::new(); let mut changes = Vec::new();
   while let Some(r) = work.next().await { match r { Ok(c) => changes.push(c), Err(seq) => failed.push(seq) } }
   self.queue.submit(&mut changes);
   if !failed.is_empty() { self.queue.release(self.side, failed); tokio::time::sleep(Duration::from_millis(100)).await; }
  }
 }
 async fn one(&self, lease: Lease) -> Result<Change, super::Seq> {
   let (seq, side) = (lease.seq, lease.side);
   let park = |reason, error| Ok(Change::Park { seq, side, reason, error, receipt: None });
   let Ok(record) = Record::decode(&lease.body) else { return park(Parked::Malformed, String::new()) };
   if lease.sent && record.repeat == super::record::Repeat::No { return park(Parked::Ambiguous, String::new()) }
   match self.apply.apply(side, Rc::new(record), false).await {
     Applied::Done => { self.metrics.replay_applied(side, Duration::ZERO); Ok(Change::Applied { seq, side }) }
     Applied::SchemaChanged => park(Parked::SchemaChanged, String::new()),
     other => { self.metrics.replay_failed(side); tracing::debug!(?other, "replay failed"); Err(seq) }
   }
 }
}
