//! What every client was told, and what must therefore be true.

use helix_proxy::pair::{Pair, Side, Sides};

use super::cluster::{Cluster, Id, Kind, Mutation};
use super::queue::Queue;

/// What a client heard of its write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// Success.
    Acked,
    /// It may have been applied.
    Ambiguous,
    /// It was not applied.
    NotApplied,
}

/// What a crash did to a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Crash {
    /// The one exception: it had no record and none had been promised. It may stay one-sided.
    Excused,
    /// Nothing.
    None,
    /// It was withdrawn, and its record came back.
    Revived,
}

/// One write's history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) mutation: Mutation,
    /// The journal covers it: not even a crash may leave it one-sided.
    pub(crate) journalled: bool,
    pub(crate) heard: Option<Heard>,
    /// Its client is not answered, or its record hangs.
    pub(crate) in_flight: bool,
    /// The queue refused its record and the proxy keeps trying, or its disk hangs and the client has its answer.
    pub(crate) stubborn: bool,
    pub(crate) crash: Crash,
    pub(crate) parked: Sides,
}

impl Entry {
    pub(crate) fn is_excused(&self) -> bool {
        self.crash == Crash::Excused
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) entries: Vec<Entry>,
    /// Acknowledged, and not on both sides yet.
    pub(crate) unsettled: Vec<Id>,
    newest: i64,
}

impl Book {
    pub(crate) fn next_id(&self) -> Id {
        Id::try_from(self.entries.len()).expect("small")
    }

    pub(crate) fn entry(&mut self, id: Id) -> &mut Entry {
        &mut self.entries[usize::try_from(id).expect("small")]
    }

    pub(crate) fn look(&self, id: Id) -> &Entry {
        &self.entries[usize::try_from(id).expect("small")]
    }

    /// I4: the proxy's own timestamps strictly increase, over crashes and clock steps too.
    pub(crate) fn issued(&mut self, at: i64) -> Result<(), String> {
        if at <= self.newest + 1 {
            return Err(format!("I4: timestamp {at} after {}", self.newest));
        }
        self.newest = at;
        Ok(())
    }

    /// I1 and I2 of a success that is given now.
    pub(crate) fn check_success(
        &self,
        id: Id,
        all: bool,
        clusters: &Pair<Cluster>,
    ) -> Result<(), String> {
        let have: Sides = Side::ALL
            .into_iter()
            .filter(|side| clusters[*side].has(id))
            .collect();
        if have.is_empty() || all && have != Sides::BOTH {
            return Err(format!("I2: w{id} is acknowledged, but only on {have:?}"));
        }
        Ok(())
    }

    /// I1 at every step: what was acknowledged is on both sides, or a durable record says that it
    /// will be, or a dead letter says why not.
    pub(crate) fn check_acknowledged(
        &mut self,
        clusters: &Pair<Cluster>,
        queue: &Queue,
    ) -> Result<(), String> {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        unsettled.retain(|id| Side::ALL.into_iter().any(|side| !clusters[side].has(*id)));
        self.unsettled = unsettled;
        for id in &self.unsettled {
            let entry = self.look(*id);
            let safe = queue.covers(*id).union(entry.parked);
            let missing = Side::ALL
                .into_iter()
                .find(|side| !safe.contains(*side) && !clusters[*side].has(*id));
            if let Some(side) = missing
                && !entry.is_excused()
                && !entry.stubborn
            {
                return Err(format!("I1: w{id} is acknowledged and lost on {side}"));
            }
        }
        Ok(())
    }

    /// The proxy was killed: who may stay one-sided, and what comes back.
    pub(crate) fn crash(&mut self, queue: &Queue) {
        for entry in &mut self.entries {
            let covered = !queue.covers(entry.mutation.id).is_empty();
            let open = entry.in_flight || entry.stubborn;
            if open && !covered && !entry.journalled {
                entry.crash = Crash::Excused;
            } else if covered && entry.heard == Some(Heard::NotApplied) {
                entry.crash = Crash::Revived;
            }
            entry.in_flight = false;
            entry.stubborn = false;
        }
    }

    /// S13, S2: nothing that must not be repeated is; nothing refused is applied.
    pub(crate) fn check_applied(
        &self,
        mutation: Mutation,
        side: Side,
        cluster: &Cluster,
    ) -> Result<(), String> {
        let entry = self.look(mutation.id);
        let id = mutation.id;
        match mutation.kind {
            Kind::Count if cluster.times(id) != 1 => {
                return Err(format!("S13: counter w{id} applied twice on {side}"));
            }
            Kind::List(list) if has_duplicate(&cluster.list(list)) => {
                return Err(format!("S2: list of w{id} doubled on {side}"));
            }
            Kind::Count | Kind::Delete(_) | Kind::List(_) | Kind::Put(_) => {}
        }
        if mutation.stolen {
            return Err(format!(
                "S22: w{id}, which its role may not do, is applied on {side}"
            ));
        }
        if entry.heard == Some(Heard::NotApplied) && entry.crash != Crash::Revived {
            return Err(format!(
                "S15: w{id} applied on {side} after its client heard that it was not"
            ));
        }
        Ok(())
    }

    /// I3 and I6 when all is quiet.
    pub(crate) fn check_end(&self, clusters: &Pair<Cluster>) -> Result<(), String> {
        for entry in &self.entries {
            let id = entry.mutation.id;
            let have = clusters.as_ref().map(|_, cluster| cluster.has(id));
            let needed = have.a || have.b || entry.heard == Some(Heard::Acked);
            for side in Side::ALL {
                if needed && !have[side] && !entry.parked.contains(side) && !entry.is_excused() {
                    return Err(format!("I3: w{id} is missing on {side}: {entry:?}"));
                }
            }
        }
        for key in 0..u8::MAX {
            self.check_cell(key, clusters)?;
            self.check_list(key, clusters)?;
        }
        Ok(())
    }

    fn check_cell(&self, key: u8, clusters: &Pair<Cluster>) -> Result<(), String> {
        let (a, b) = (clusters.a.cell(key), clusters.b.cell(key));
        let Some((_, _, winner)) = a.max(b).filter(|_| a != b) else {
            return Ok(());
        };
        let entry = self.look(winner);
        if entry.is_excused() || !entry.parked.is_empty() {
            return Ok(());
        }
        Err(format!("I3: cell {key} differs: {a:?} and {b:?}"))
    }

    fn check_list(&self, key: u8, clusters: &Pair<Cluster>) -> Result<(), String> {
        let lists = clusters.as_ref().map(|_, cluster| cluster.list(key));
        let tainted = self.entries.iter().any(|entry| {
            let taint = entry.is_excused() || !entry.parked.is_empty();
            taint && entry.mutation.kind == Kind::List(key)
        });
        if tainted || lists.a == lists.b {
            return Ok(());
        }
        Err(format!(
            "I3: list {key} differs: {:?} and {:?}",
            lists.a, lists.b
        ))
    }
}

fn has_duplicate(list: &[Id]) -> bool {
    list.iter()
        .enumerate()
        .any(|(at, id)| list[..at].contains(id))
}
