//! Schema changes: one at a time in the process, home first, then the other, agreement on each.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::Error;
use super::news::Reporter;
use super::shared::Shared;
use crate::cluster::call::{Failure, Line, Reply};
use crate::cluster::watch::agrees;
use crate::cluster::{Lost, Role};
use crate::pair::{Pair, Side};
use crate::statement::{Class, Statement, Verb};
use crate::wire::{Opcode, Version, code};

/// Between two looks at whether the nodes of a cluster agree.
const AGREEMENT_EVERY: Duration = Duration::from_millis(100);
/// What the second side gets even when the first took all the time: better late than apart.
const LEAST: Duration = Duration::from_secs(1);
/// For a cluster to let a client's role in.
const LET_IN_WITHIN: Duration = Duration::from_secs(5);
/// How long agreement may take; drivers wait as long.
const AGREEMENT_WITHIN: Duration = Duration::from_secs(10);

/// One schema change that a client asked for.
#[derive(Debug)]
pub struct Job {
    /// The protocol version of the client; the answer is in it.
    pub version: Version,
    /// A QUERY's body.
    pub body: Vec<u8>,
    /// The client's header flags.
    pub flags: u8,
    /// The keyspace that the connection must be in, if any.
    pub keyspace: Option<String>,
    /// What the text means.
    pub statement: Arc<Statement>,
    /// As whom it is run, if not as the service account.
    pub role: Option<Role>,
    /// When the client must have its answer, waiting for other changes and for agreement included.
    pub until: Instant,
    /// Where the answer goes.
    pub done: oneshot::Sender<Result<Reply, Error>>,
}

/// The one who runs them.
#[derive(Debug)]
pub struct Changer {
    shared: Arc<Shared>,
    lines: Pair<Option<Line>>,
    reporter: Rc<Reporter>,
    connected: watch::Receiver<Pair<bool>>,
}

fn truncates(job: &Job) -> bool {
    matches!(&job.statement.class, Class::Schema(change) if change.verb == Verb::Truncate)
}

fn is_secret(job: &Job) -> bool {
    matches!(&job.statement.class, Class::Schema(change) if change.is_secret())
}

/// The lines that one change goes over: the client's own, which end with it, or the service account's.
struct Lines {
    lines: Pair<Option<Line>>,
    are_own: bool,
}

impl Lines {
    fn of(service: &Pair<Option<Line>>, job: &Job) -> Self {
        let lines = service.as_ref().map(|_, line| {
            let line = line.as_ref()?;
            Some(match &job.role {
                Some(role) => line.under(role.clone()),
                None => line.clone(),
            })
        });
        Self {
            lines,
            are_own: job.role.is_some(),
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.are_own {
            let lines = self.lines.iter().filter_map(|(_, it)| it.as_ref());
            lines.for_each(Line::close);
        }
    }
}

impl Changer {
    /// Runs changes over these lines.
    #[must_use]
    pub const fn new(
        shared: Arc<Shared>,
        lines: Pair<Option<Line>>,
        reporter: Rc<Reporter>,
        connected: watch::Receiver<Pair<bool>>,
    ) -> Self {
        Self {
            shared,
            lines,
            reporter,
            connected,
        }
    }

    /// Takes jobs until nobody is left to send one.
    pub async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let outcome = self.change(&job).await;
            self.shared.changes.send_modify(|count| *count += 1);
            if job.done.send(outcome).is_err() {
                tracing::debug!("the client of a schema change has left");
            }
        }
    }

    async fn change(&self, job: &Job) -> Result<Reply, Error> {
        self.admit(job)?;
        if truncates(job) && self.shared.policy.is_dual() {
            // A write that is still under way may be owed yet, and would come back behind it (S7).
            tokio::time::sleep(self.shared.config.deadlines.write + LEAST).await;
            self.admit(job)?;
        }
        if job.until <= Instant::now() {
            let late = "it waited too long behind other schema changes; nothing was applied";
            return Err(Error::SchemaRefused(late.to_owned()));
        }
        let home = self.shared.policy.home();
        let lines = Lines::of(&self.lines, job);
        self.let_in(&lines, job).await?;
        let first = self.apply(&lines, home, job).await?;
        let Some(other) = &self.lines[!home] else {
            self.settle(home, job.until).await;
            return Ok(first);
        };
        // What home has already, the other may lack: only then do both have it.
        let refused = first
            .error()
            .filter(|(code, _)| *code != code::ALREADY_EXISTS);
        if refused.is_some() {
            return Ok(first);
        }
        let second = self
            .apply(&lines, other.side(), job)
            .await
            .map_err(|error| self.one_sided(home, job, &error.to_string()))?;
        for side in Side::ALL {
            self.settle(side, job.until).await;
        }
        match second.error() {
            None => Ok(first),
            Some((code, _)) if code == code::ALREADY_EXISTS => Ok(first),
            Some((_, message)) if first.error().is_none() => {
                Err(self.one_sided(home, job, &message))
            }
            Some(_) => Ok(first),
        }
    }

    /// Refuses up front what would leave the clusters apart (S24, S7).
    fn admit(&self, job: &Job) -> Result<(), Error> {
        let view = *self.shared.view.borrow();
        let connected = *self.connected.borrow();
        for side in self.shared.policy.sides().iter() {
            if view.out.contains(side) || !connected[side] {
                let name = &self.shared.names[side];
                return Err(Error::SchemaRefused(format!(
                    "cluster {name} is away; a schema change now would leave the schemas apart"
                )));
            }
        }
        let removes = match &job.statement.class {
            Class::Schema(change) => matches!(change.verb, Verb::Drop | Verb::Truncate),
            _ => false,
        };
        match self
            .shared
            .policy
            .sides()
            .iter()
            .find(|side| self.shared.is_behind(*side))
        {
            // Owed older writes would come back behind a TRUNCATE, which leaves no tombstone.
            Some(side) if removes => Err(Error::SchemaRefused(format!(
                "cluster {} still owes older writes; try again when the replay queue is empty",
                self.shared.names[side]
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// A role that one of the clusters does not let in must not change the other's schema.
    async fn let_in(&self, lines: &Lines, job: &Job) -> Result<(), Error> {
        let Some(role) = &job.role else { return Ok(()) };
        for (side, line) in lines.lines.iter() {
            let Some(line) = line else { continue };
            let way = (job.version, None);
            let asked = line.call(way, (0, Opcode::Options), |_body| {}, LET_IN_WITHIN);
            match asked.await {
                Ok(_supported) => {}
                Err(Failure::Lost(Lost::Role(sentence))) => {
                    let (cluster, role) = (&self.shared.names[side], role.name());
                    return Err(Error::Node {
                        code: code::UNAUTHORIZED,
                        message: format!(
                            "cluster {cluster} does not let {role} log in: {sentence}"
                        ),
                    });
                }
                Err(failure) => {
                    tracing::warn!(%side, %failure, "no connection for a schema change");
                    let name = &self.shared.names[side];
                    return Err(Error::SchemaRefused(format!(
                        "cluster {name} cannot be reached"
                    )));
                }
            }
        }
        Ok(())
    }

    async fn apply(&self, lines: &Lines, side: Side, job: &Job) -> Result<Reply, Error> {
        let Some(line) = &lines.lines[side] else {
            return Err(Error::Unreachable);
        };
        let way = (job.version, job.keyspace.as_deref());
        let body = |out: &mut Vec<u8>| out.extend_from_slice(&job.body);
        let left = job.until.saturating_duration_since(Instant::now());
        let within = left.max(LEAST);
        let answer = line
            .call(way, (job.flags, Opcode::Query), body, within)
            .await;
        let reply = answer.map_err(|failure| self.failed(side, &failure))?;
        of_a_text(reply, &self.shared.names[side])
    }

    fn failed(&self, side: Side, failure: &Failure) -> Error {
        let name = &self.shared.names[side];
        tracing::warn!(%side, %failure, "schema change without an answer");
        match failure.may_have_applied() {
            true => Error::SchemaRefused(format!(
                "cluster {name} gave no answer to the schema change; it may have it"
            )),
            false => Error::SchemaRefused(format!("cluster {name} cannot be reached")),
        }
    }

    fn one_sided(&self, has: Side, job: &Job, why: &str) -> Error {
        let (has, lacks) = (&self.shared.names[has], &self.shared.names[!has]);
        // What a node says of a role may quote its password.
        let shown = match is_secret(job) {
            true => "not shown",
            false => why,
        };
        tracing::error!(%has, %lacks, why = shown, "the schemas are apart");
        Error::SchemaRefused(format!(
            "cluster {has} has the schema change, cluster {lacks} does not: {why}"
        ))
    }

    /// Waits until a cluster's nodes agree, and until the desks know its new columns.
    async fn settle(&self, side: Side, until: Instant) {
        let Some(line) = &self.lines[side] else {
            return;
        };
        let until = until.min(Instant::now() + AGREEMENT_WITHIN);
        let agreement = async {
            while !agrees(line).await.unwrap_or(false) {
                tokio::time::sleep(AGREEMENT_EVERY).await;
            }
        };
        if tokio::time::timeout_at(until.into(), agreement)
            .await
            .is_err()
        {
            tracing::warn!(%side, "the nodes do not agree on the schema yet");
        }
        if let Err(failure) = self.reporter.look(line).await {
            tracing::debug!(%side, %failure, "the new schema cannot be read");
        }
    }
}

/// What a node said to a text: of an id that only it knows the client must not hear (I14).
fn of_a_text(reply: Reply, name: &str) -> Result<Reply, Error> {
    match reply.error() {
        Some((code::UNPREPARED, _)) => Err(Error::SchemaRefused(format!(
            "cluster {name} took the schema change for a prepared statement; it does not have it"
        ))),
        Some(_) | None => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::response::error;

    fn reply(body: Vec<u8>) -> Reply {
        Reply {
            flags: 0,
            opcode: Opcode::Error,
            body,
        }
    }

    #[test]
    fn an_id_of_a_node_is_none_of_the_clients_affair() {
        let mut body = Vec::new();
        error::put_unprepared(&mut body, "who?", &[7; 16]);
        let told = of_a_text(reply(body), "A").unwrap_err();
        assert!(matches!(told, Error::SchemaRefused(text) if text.starts_with("cluster A ")));
    }

    #[test]
    fn other_errors_of_a_node_are_passed_as_they_are() {
        let mut body = Vec::new();
        error::put(&mut body, code::INVALID, "no such keyspace");
        assert_eq!(of_a_text(reply(body.clone()), "A").unwrap().body, body);
    }
}
