//! Where a request goes: the policy is asked, and the machine made that takes it there.

use super::flow::{Actions, Chain, Read, Rules, Write};
use super::intake::Intake;
use super::request::{Flow, What};
use super::table::Term;
use super::{Client, Desk, Login};
use crate::pair::Side;
use crate::policy::ReadPlan;
use crate::replay::record::Repeat;
use crate::statement::Class;
use crate::telemetry::RequestKind;

impl<C: Client> Desk<C> {
    /// Asks the policy where it goes, and makes the machine that takes it there.
    #[inline]
    pub(super) fn plan(&self, intake: &Intake, login: Option<&Login<C>>) -> (Flow, Actions, Term) {
        let (class, known) = match &intake.what {
            What::Batch(batch) if batch.conditional => return self.at_home_only(),
            What::Batch(batch) => {
                self.count_per_server(batch.per_server);
                return self.plan_write(batch.repeat, intake, login);
            }
            What::Prepare(known) => {
                self.metrics.client_request(RequestKind::Prepare);
                let home = !matches!(known.statement.class, Class::Read);
                return self.plan_read(home, false);
            }
            What::Execute(entry) => (&entry.known.statement.class, &entry.known),
            What::Query(known) => (&known.statement.class, &**known),
        };
        match class {
            Class::Read if intake.consistency.is_serial() => {
                self.metrics.client_request(RequestKind::Read);
                let home = self.shared.policy.home();
                match intake.pinned {
                    // Only home answers at a serial consistency, and it cannot go on with this page.
                    Some(side) if side != home => unsent(side),
                    Some(_) | None => self.only(home),
                }
            }
            Class::Read => {
                self.metrics.client_request(RequestKind::Read);
                match intake.pinned {
                    Some(first) => self.only(first),
                    None => self.plan_read(false, known.point),
                }
            }
            Class::Write => {
                self.count_per_server(known.statement.per_server);
                self.plan_write(known.repeat, intake, login)
            }
            Class::Conditional => self.at_home_only(),
            Class::Unknown => {
                self.metrics.client_request(RequestKind::Unknown);
                self.metrics.unknown_statement();
                let home = self.shared.policy.home();
                let other = Some(!home).filter(|_| self.shared.policy.is_dual());
                let (chain, actions) = Chain::new(home, other, self.view.get().out);
                (Flow::Chain(chain), actions, Term::Read)
            }
            Class::Describe
            | Class::System
            | Class::Traces
            | Class::Use(_)
            | Class::Schema(_)
            | Class::Topology(_) => {
                self.metrics.client_request(known.kind);
                match intake.pinned.or(intake.traced) {
                    Some(first) => self.only(first),
                    None => self.plan_read(true, false),
                }
            }
        }
    }

    fn plan_read(&self, at_home: bool, point: bool) -> (Flow, Actions, Term) {
        let view = self.view.get();
        let plan = if at_home {
            self.shared.policy.at_home(view)
        } else {
            let plan = (self.shared.policy).read(view, |side| self.shared.is_behind(side));
            self.count_behind(plan.first);
            plan
        };
        if let Some(side) = plan.avoided {
            self.metrics.stale_avoided(side);
        }
        let (read, actions) = Read::new(plan);
        let term = if point && plan.then.is_some() {
            Term::ReadFirst
        } else {
            Term::Read
        };
        (Flow::Read(read), actions, term)
    }

    fn plan_write(
        &self,
        repeat: Repeat,
        intake: &Intake,
        login: Option<&Login<C>>,
    ) -> (Flow, Actions, Term) {
        let kind = match repeat {
            Repeat::No => RequestKind::NotRepeatable,
            Repeat::Shifted | Repeat::Yes => RequestKind::Write,
        };
        self.metrics.client_request(kind);
        let writes = &self.shared.policy.config().writes;
        let keyspace = intake.keyspace.as_deref();
        let may = |it: &Login<C>| it.may(&intake.what, keyspace, self.now.get());
        let rules = Rules {
            ack: writes.ack,
            on_queue_failure: writes.on_queue_failure,
            repeatable: repeat != Repeat::No,
            recorded: self.shared.policy.is_dual(),
            allowed: login.is_none_or(may),
        };
        let accepts = self
            .shared
            .queue
            .as_ref()
            .is_some_and(|queue| queue.accepts());
        let plan = self.shared.policy.write(self.view.get());
        let term = match plan.first {
            Some(_) => Term::WriteFirst,
            None => Term::Write,
        };
        let (write, actions) = Write::new(plan, rules, accepts);
        (Flow::Write(write), actions, term)
    }

    #[inline]
    fn count_per_server(&self, per_server: bool) {
        if per_server {
            self.metrics.per_server_value();
        }
    }

    fn at_home_only(&self) -> (Flow, Actions, Term) {
        self.metrics.client_request(RequestKind::Conditional);
        if self.shared.policy.is_dual() {
            self.metrics.conditional_not_copied();
        }
        let (flow, actions, _) = self.only(self.shared.policy.home());
        (flow, actions, Term::Write)
    }

    /// What only this side can answer.
    fn only(&self, first: Side) -> (Flow, Actions, Term) {
        if self.shared.policy.is_dual() && self.view.get().out.contains(first) {
            return unsent(first);
        }
        let (read, actions) = Read::new(alone(first));
        (Flow::Read(read), actions, Term::Read)
    }
}

/// Answered without asking anybody: this side could, and is away.
fn unsent(side: Side) -> (Flow, Actions, Term) {
    let (read, actions) = Read::unsent(alone(side));
    (Flow::Read(read), actions, Term::Read)
}

const fn alone(first: Side) -> ReadPlan {
    ReadPlan {
        first,
        then: None,
        avoided: None,
    }
}
