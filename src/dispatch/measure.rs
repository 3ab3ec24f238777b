//! What is counted of a request: how each side ended, and what that says of the two together.

use super::flow::{Action, Actions, Input, Reply};
use super::request::{Flow, Request};
use super::{Client, Desk};
use crate::pair::{Side, Sides};
use crate::policy::Verdict;

impl<C: Client> Desk<C> {
    /// Counts what an input led to; `waited` are the sides whose answer was waited for before it.
    #[inline]
    pub(super) fn measure(
        &self,
        request: &mut Request<C>,
        waited: Sides,
        input: Input,
        actions: &Actions,
    ) {
        for side in waited.iter() {
            if let Some(ok) = ended(request, side, input) {
                self.count_end(request, side, ok);
            }
        }
        match (input, &request.flow) {
            (Input::Answered(side, verdict), Flow::Chain(_) | Flow::Write(_)) => {
                if waited.contains(side) {
                    self.compare(request, side, verdict);
                }
            }
            (Input::Answered(side, _) | Input::Out { side, .. }, Flow::Read(_)) => {
                self.count_failover(side, actions);
            }
            (Input::Slow, Flow::Read(_)) => waited
                .iter()
                .for_each(|side| self.count_failover(side, actions)),
            (Input::Kept(false), Flow::Write(_)) => self.count_unqueued(actions),
            (Input::Deadline { .. }, Flow::Write(write)) if write.is_hanging() => {
                self.count_unqueued(actions);
            }
            (Input::Kept(_), _)
            | (Input::Deadline { .. }, _)
            | (Input::Out { .. } | Input::Slow, Flow::Chain(_) | Flow::Write(_)) => {}
        }
    }

    #[inline]
    fn count_end(&self, request: &Request<C>, side: Side, ok: bool) {
        let since = request.legs[side].since.unwrap_or(request.since);
        let elapsed = self.now.get().saturating_duration_since(since);
        match request.flow {
            Flow::Write(_) => self.metrics.write_done(side, elapsed, ok),
            Flow::Chain(_) | Flow::Read(_) => self.metrics.read_done(side, elapsed, ok),
        }
    }

    /// Whether this answer is the opposite of the other side's.
    #[inline]
    fn compare(&self, request: &mut Request<C>, side: Side, verdict: Verdict) {
        request.legs[side].verdict = Some(verdict);
        let said = |of: Side, verdict| request.legs[of].verdict == Some(verdict);
        for refuser in Side::ALL {
            if said(refuser, Verdict::Definite) && said(!refuser, Verdict::Ok) {
                self.metrics.diverged(refuser);
            }
        }
    }

    fn count_failover(&self, from: Side, actions: &Actions) {
        if actions.iter().any(|it| it == Action::Send(!from)) {
            self.metrics.failed_over(from);
            self.count_behind(!from);
        }
    }

    /// A read goes to this side, fresh or not (S20).
    pub(super) fn count_behind(&self, side: Side) {
        if self.shared.is_behind(side) {
            self.metrics.read_behind(side);
        }
    }

    /// The queue refused the record, or says nothing; the client may get its answer all the same (`ack_anyway`).
    fn count_unqueued(&self, actions: &Actions) {
        if actions
            .iter()
            .any(|it| matches!(it, Action::Reply(Reply::Of(_))))
        {
            self.metrics.acked_unqueued();
        }
    }
}

/// Whether a side that was waited for has ended with this input, and if so whether well. A read's
/// first side that was so slow that the other answered before it has failed.
#[inline]
fn ended<C: Client>(request: &Request<C>, side: Side, input: Input) -> Option<bool> {
    match input {
        Input::Answered(of, verdict) if of == side => Some(!verdict.is_sick()),
        Input::Answered(of, _) => {
            let overtaken = request.legs[side].since < request.legs[of].since;
            (request.flow.is_over() && overtaken).then_some(false)
        }
        Input::Deadline { .. } => Some(false),
        Input::Out { side: of, .. } => (of == side).then_some(false),
        Input::Kept(_) | Input::Slow => None,
    }
}
