//! Teaching a node a statement: one PREPARE at a time for each, whoever waits for it.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::inflight::STREAMS_MAX;
use super::{Connection, Limit, Lost, Refused};
use crate::wire::response::result::Prepared;
use crate::wire::{Frame, Version};

/// The proxy's own id of a prepared statement.
pub type Id = [u8; 16];

/// What came of a PREPARE that a request needed.
#[derive(Debug)]
pub enum Taught<'a> {
    /// The node knows the statement under this id now, and said so in this version.
    Known(Prepared<'a>, Version),
    /// The node refused it: the answer is its ERROR.
    Refused(Frame<'a>),
    /// The node is gone, refused the keyspace or the version, or answered nonsense: nothing was applied.
    Lost(&'a Lost),
}

/// Who waits for one PREPARE; no more than could be sent on the connection afterwards.
#[derive(Debug)]
struct Lesson<T> {
    sent_at: Instant,
    connection: Rc<Connection<T>>,
    tickets: Vec<T>,
}

impl<T> Lesson<T> {
    fn is_overdue(&self, within: Duration) -> bool {
        let from = self.connection.asked_from.get();
        from.is_some_and(|from| within <= from.max(self.sent_at).elapsed())
    }
}

/// What came of joining those who wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Joined {
    /// A PREPARE is on its way.
    Others,
    /// None is: send one.
    Nobody,
}

/// Who waits for which statement.
#[derive(Debug)]
pub(super) struct Waiting<T>(HashMap<Id, Lesson<T>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Waiting<T> {
    /// Adds one who waits, if a PREPARE is on its way.
    ///
    /// # Errors
    /// [`Refused::Down`] if the node has left it without an answer for so long that its connection
    /// is given up, which tells all who wait; [`Refused::Busy`] if too many wait.
    pub(super) fn join(&mut self, id: Id, ticket: T, within: Duration) -> Result<Joined, Refused> {
        let Some(lesson) = self.0.get_mut(&id) else {
            return Ok(Joined::Nobody);
        };
        if lesson.is_overdue(within) {
            lesson.connection.outbox.abort();
            return Err(Refused::Down);
        }
        if STREAMS_MAX <= lesson.tickets.len() {
            return Err(Refused::Busy(Limit::Lessons));
        }
        lesson.tickets.push(ticket);
        Ok(Joined::Others)
    }

    /// A PREPARE was sent for this one.
    pub(super) fn first(&mut self, id: Id, ticket: T, connection: Rc<Connection<T>>) {
        let lesson = Lesson {
            sent_at: Instant::now(),
            connection,
            tickets: vec![ticket],
        };
        self.0.insert(id, lesson);
    }

    /// Gives up the connections that owe an answer for too long, where nobody new comes to see it.
    pub(super) fn abort_overdue(&self, within: Duration) {
        for lesson in self.0.values().filter(|it| it.is_overdue(within)) {
            lesson.connection.outbox.abort();
        }
    }

    /// Everybody who waited for this statement.
    pub(super) fn leave(&mut self, id: Id) -> Vec<T> {
        self.0.remove(&id).map_or_else(Vec::new, |it| it.tickets)
    }
}

#[cfg(test)]
mod tests {
    use super::super::HostId;
    use std::cell::Cell;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{JoinSet, LocalSet};

    use super::*;
    use crate::cluster::call::Line;
    use crate::cluster::{Config, ContactPoint, ContactPoints, Name};
    use crate::pair::Side;
    use crate::wire::header::Direction;
    use crate::wire::{Opcode, put};

    const WITHIN: Duration = Duration::from_secs(5);
    const ID: Id = [7; 16];

    fn begun() -> (Waiting<usize>, Rc<Connection<usize>>) {
        let (mut waiting, connection) = (
            Waiting::default(),
            Connection::new(Version::V4, HostId(0), &Rc::default()),
        );
        assert_eq!(waiting.join(ID, 0, WITHIN), Ok(Joined::Nobody));
        waiting.first(ID, 0, Rc::clone(&connection));
        (waiting, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_prepare_without_an_answer_costs_the_connection() {
        let (mut waiting, connection) = begun();
        tokio::time::advance(WITHIN / 2).await;
        assert_eq!(waiting.join(ID, 1, WITHIN), Ok(Joined::Others));
        waiting.abort_overdue(WITHIN);
        assert!(!connection.outbox.is_closed());

        tokio::time::advance(WITHIN / 2).await;
        assert_eq!(waiting.join(ID, 2, WITHIN), Err(Refused::Down));
        assert!(connection.outbox.is_closed());
        assert_eq!(waiting.leave(ID), [0, 1]);
        assert_eq!(waiting.join(ID, 3, WITHIN), Ok(Joined::Nobody));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_to_come_for_a_prepare_to_be_given_up() {
        let (waiting, connection) = begun();
        tokio::time::advance(WITHIN).await;
        waiting.abort_overdue(WITHIN);
        assert!(connection.outbox.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_prepare_on_a_connection_that_waits_to_be_dialled_has_its_time_from_then_on() {
        let (mut waiting, connection) = begun();
        connection.asked_from.set(None);
        tokio::time::advance(2 * WITHIN).await;
        waiting.abort_overdue(WITHIN);
        assert_eq!(waiting.join(ID, 1, WITHIN), Ok(Joined::Others));
        connection.asked_from.set(Some(Instant::now()));
        waiting.abort_overdue(WITHIN);
        assert!(!connection.outbox.is_closed());

        tokio::time::advance(WITHIN).await;
        waiting.abort_overdue(WITHIN);
        assert!(connection.outbox.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_for_one_prepare_are_bounded() {
        let (mut waiting, _connection) = begun();
        for ticket in 1..STREAMS_MAX {
            assert_eq!(waiting.join(ID, ticket, WITHIN), Ok(Joined::Others));
        }
        let refused = waiting.join(ID, 0, WITHIN);
        assert_eq!(refused, Err(Refused::Busy(Limit::Lessons)));
        assert_eq!(waiting.leave(ID).len(), STREAMS_MAX);
    }

    /// A node that lets in and then counts what it leaves without an answer.
    async fn listen_only(mut stream: TcpStream, prepares: Rc<Cell<usize>>) {
        let mut read = Vec::new();
        while stream.read_buf(&mut read).await.is_ok_and(|n| n != 0) {
            let mut answers = Vec::new();
            let mut rest = &read[..];
            while let Some((frame, behind)) =
                Frame::scan(rest, Direction::Request, 1 << 20).unwrap()
            {
                if frame.header.opcode == Opcode::Startup {
                    let way = (frame.header.version, Direction::Response);
                    let begun =
                        put::begin(&mut answers, way, 0, frame.header.stream, Opcode::Ready);
                    put::end(&mut answers, begun);
                } else {
                    prepares.set(prepares.get() + 1);
                }
                rest = behind;
            }
            read = rest.to_vec();
            stream.write_all(&answers).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_statement_is_prepared_again_after_a_prepare_without_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = "127.0.0.1".to_owned();
        let points = ContactPoints::new(ContactPoint { host, port }, []);
        let mut config = Config::new(Name::new("b").unwrap(), points);
        config.connect_timeout = Duration::from_secs(1);
        let (config, prepares) = (Arc::new(config), Rc::new(Cell::new(0)));
        let seen = Rc::clone(&prepares);
        let talk = async move {
            let mut tasks = JoinSet::new();
            tasks.spawn_local(async move {
                let mut clients = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    clients.spawn_local(listen_only(stream, Rc::clone(&prepares)));
                }
            });
            let line = Line::new(Side::B, config, Rc::default());
            let teach = |within| line.teach((Version::V4, None), ID, "SELECT", within);
            // The first waits; the second comes after the deadline; the third is a fresh one.
            let mut counts = Vec::new();
            for within in [
                Duration::from_millis(1_100),
                WITHIN,
                Duration::from_millis(200),
            ] {
                teach(within).await.unwrap_err();
                counts.push(seen.get());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            counts
        };
        assert_eq!(LocalSet::new().run_until(talk).await, [1, 1, 2]);
    }
}
