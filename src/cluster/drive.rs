//! One connection from dialling to its end.

use std::rc::Rc;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

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
        None => {
            let _turn = match turn(host, connection, purpose).await {
                Ok(turn) => turn,
                Err(lost) => return lost,
            };
            dial::dial(wish, &cluster.buffers).await
        }
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

/// Waits until the node may be dialled: for keyspaces that is so a few at a time, in order.
///
/// # Errors
/// Why it need not be dialled any more.
async fn turn<'a, T: Copy>(
    host: &'a Host<T>,
    connection: &Connection<T>,
    purpose: &Purpose,
) -> Result<Option<SemaphorePermit<'a>>, Lost> {
    if !matches!(purpose, Purpose::Keyspace(_)) {
        return Ok(None);
    }
    if let Ok(turn) = host.turns.try_acquire() {
        return Ok(Some(turn));
    }
    connection.asked_from.set(None);
    let turn = host.turns.acquire().await;
    connection.asked_from.set(Some(Instant::now()));
    // Whoever came before may have found that nobody is there.
    host.may_dial()
        .map_err(|refused| Lost::Dial(refused.to_string()))?;
    if connection.inflight.borrow().waiting() == 0 {
        return Err(Lost::Broken("nobody waits for it any more".to_owned()));
    }
    turn.map(Some)
        .map_err(|closed| Lost::Dial(closed.to_string()))
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
            Lost::Files(_)
                | Lost::Keyspace { .. }
                | Lost::Role(_)
                | Lost::Unsure(_)
                | Lost::Version(_)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::call::Line;
    use crate::cluster::{Config, ContactPoint, ContactPoints, HostId, Name};
    use crate::pair::Side;
    use crate::wire::Version;

    #[tokio::test]
    async fn whoever_waits_to_be_dialled_is_told_when_that_is_of_no_use_any_more() {
        let host = Host::<u8>::new(HostId(0), "a:1", Rc::default());
        let purpose = Purpose::Keyspace("ks".to_owned());
        let connection = |waits: bool| {
            let connection = Connection::new(Version::V4, host.id, &host.tally);
            if waits {
                connection.inflight.borrow_mut().take(Owner::Request(0));
            }
            connection
        };
        let (wanted, left) = (connection(true), connection(false));
        let taken = host.turns.acquire_many(16).await.unwrap();
        let turns = async {
            let turns = (turn(&host, &wanted, &purpose), turn(&host, &left, &purpose));
            let (wanted, left) = tokio::join!(turns.0, turns.1);
            (wanted.map(drop), left.map(drop))
        };
        let give_way = async {
            tokio::task::yield_now().await;
            drop(taken);
        };
        let ((to_wanted, to_left), ()) = tokio::join!(turns, give_way);
        assert_eq!(to_wanted, Ok(()));
        assert!(matches!(to_left, Err(Lost::Broken(_))), "{to_left:?}");

        let taken = host.turns.acquire_many(16).await.unwrap();
        let dial_fails = async {
            tokio::task::yield_now().await;
            host.failed();
            drop(taken);
        };
        let (of_no_use, ()) = tokio::join!(turn(&host, &wanted, &purpose), dial_fails);
        assert!(matches!(of_no_use, Err(Lost::Dial(_))), "{of_no_use:?}");
    }

    #[test]
    fn a_process_without_descriptors_says_nothing_about_the_node() {
        let point = ContactPoint {
            host: "127.0.0.1".to_owned(),
            port: 1,
        };
        let points = ContactPoints::new(point, []);
        let config = Config::new(Name::new("b").unwrap(), points);
        let line = Line::new(Side::B, Arc::new(config), Rc::default());
        let cluster = line.cluster();
        let host = Rc::clone(&cluster.hosts.borrow().listed()[0]);
        host.answered();
        let fails_with = |errno: i32| {
            let lost = Lost::unreached(&std::io::Error::from_raw_os_error(errno));
            cluster.failed(&host, (Version::V4, &Purpose::Any), &lost);
            (host.is_up(), host.may_dial().is_ok())
        };
        let (no_more_files, no_more_files_anywhere, refused) = (24, 23, 111);
        assert_eq!(fails_with(no_more_files), (true, true));
        assert_eq!(fails_with(no_more_files_anywhere), (true, true));
        assert_eq!(fails_with(refused), (false, false));
    }
}
