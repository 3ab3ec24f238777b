//! One connection from dialling to its end.

use std::rc::Rc;

use super::connection::{Answers, Owner, State};
use super::dial::{Dialled, Purpose};
use super::host::Host;
use super::prepare::Taught;
use super::{Cluster, Connection, Lost, Sink, dial};
use crate::socket::End;

/// Drives one connection from dialling to its end.
pub(super) async fn run<S: Sink>(
    cluster: Rc<Cluster<S>>,
    host: Rc<Host<S::Ticket>>,
    connection: Rc<Connection<S::Ticket>>,
    purpose: Purpose,
    dialled: Option<Dialled>,
) {
    let mut ending = Ending {
        cluster: &cluster,
        host: &host,
        connection: &connection,
        lost: None,
    };
    let lost = serve(&cluster, &host, &connection, (&purpose, dialled)).await;
    tracing::debug!(side = %cluster.side, %lost, "connection ended");
    ending.lost = Some(lost);
}

async fn serve<S: Sink>(
    cluster: &Rc<Cluster<S>>,
    host: &Rc<Host<S::Ticket>>,
    connection: &Rc<Connection<S::Ticket>>,
    (purpose, dialled): (&Purpose, Option<Dialled>),
) -> Lost {
    let wish = cluster.wish(host, connection.version, purpose);
    let coding = wish.coding();
    let dialled = match dialled {
        Some(dialled) => Ok(dialled),
        None => dial::dial(wish, &cluster.buffers).await,
    };
    let Dialled {
        mut socket, peer, ..
    } = match dialled {
        Ok(dialled) => dialled,
        Err(lost) => {
            cluster.failed(host, (connection.version, purpose), &lost);
            return lost;
        }
    };
    connection.peer.set(Some(peer));
    connection.outbox.change(coding);
    connection.ready(&cluster.buffers);
    cluster.opened(host, connection, purpose);
    host.bound.borrow_mut().shrink();
    let Some(sink) = cluster.sink.upgrade() else {
        return Lost::Broken("shutting down".to_owned());
    };
    let side = cluster.side;
    sink.opened(side);
    let mut answers = Answers {
        side,
        connection,
        cluster,
        host,
        sink: &*sink,
        fault: None,
    };
    let end = {
        // The socket may stay blocked on a node that reads nothing; a closed outbox ends it.
        socket
            .drive(&connection.outbox, &cluster.buffers, &mut answers)
            .await
    };
    answers.fault.take().unwrap_or_else(|| match end {
        End::Lost(error) => Lost::Broken(error.to_string()),
        End::Closed | End::Returned => Lost::Broken("closed by us".to_owned()),
    })
}

/// Tells everybody who waited that the connection is gone, also when its task panicked.
struct Ending<'a, S: Sink> {
    cluster: &'a Rc<Cluster<S>>,
    host: &'a Rc<Host<S::Ticket>>,
    connection: &'a Rc<Connection<S::Ticket>>,
    lost: Option<Lost>,
}

impl<S: Sink> Drop for Ending<'_, S> {
    fn drop(&mut self) {
        let was_ready = self.connection.state.replace(State::Gone) == State::Ready;
        let Some(sink) = self.cluster.sink.upgrade() else {
            return;
        };
        if was_ready {
            self.cluster.broken(self.host, self.connection);
        }
        let lost = self
            .lost
            .take()
            .unwrap_or_else(|| Lost::Broken("its task failed".to_owned()));
        let owners: Vec<_> = self.connection.inflight.borrow_mut().drain().collect();
        let is_fault = !matches!(
            lost,
            Lost::Keyspace { .. } | Lost::Role(_) | Lost::Unsure(_) | Lost::Version(_)
        );
        let is_used = |owner: &Owner<_>| matches!(owner, Owner::Prepare(_) | Owner::Request(_));
        let is_spare = self.host.is_spare(self.connection);
        let is_outage = !is_spare && !self.cluster.is_served_without(self.host.id);
        let failed = is_fault && is_outage && owners.iter().any(is_used);
        for owner in owners {
            match owner {
                Owner::Request(ticket) => sink.lost(self.cluster.side, ticket, &lost),
                Owner::Prepare(id) => {
                    let taught = Taught::Lost(&lost);
                    self.cluster.tell_taught(self.host, id, &*sink, &taught);
                }
                Owner::Heartbeat | Owner::Identity | Owner::Introduction => {}
            }
        }
        if failed {
            sink.failed(self.cluster.side);
        }
        if was_ready {
            sink.gone(self.cluster.side);
        }
    }
}
