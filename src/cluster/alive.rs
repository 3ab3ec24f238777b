//! Signs of life: connections that are silent are asked for one, and closed where none comes.

use std::rc::Rc;

use tokio::time::MissedTickBehavior;

use super::connection::Owner;
use super::{Asked, Cluster, Connection, Held, Refused, Sink};
use crate::wire::{NodeStream, Opcode};

impl<S: Sink> Cluster<S> {
    /// Asks silent connections for a sign of life and closes those that give none, for ever.
    pub async fn keep_alive(&self) {
        let mut pulse = tokio::time::interval(self.config.heartbeat);
        // After a pause of our own a node has a whole period to answer, too.
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pulse.tick().await;
            self.hosts.borrow_mut().reap();
            let hosts: Vec<_> = self.hosts.borrow().iter().map(Rc::clone).collect();
            for host in hosts {
                host.bound.borrow_mut().shrink();
                let within = self.config.connect_timeout;
                host.waiting.borrow().abort_overdue(within);
                for connection in host.connections() {
                    self.check(&connection);
                }
            }
            let listed = self.hosts.borrow().listed().to_vec();
            listed.iter().for_each(|host| self.fill(host));
        }
    }

    /// Leaves a node alone that does not answer, if there are others, and asks it for a sign of life. If
    /// none comes its connections end; until then its other requests may still be answered.
    pub fn suspect(&self, asked: Asked) {
        let host = self.hosts.borrow().find(asked.host).map(Rc::clone);
        let Some(host) = host.filter(|it| self.has_choice() && it.suspect()) else {
            return;
        };
        for connection in host.connections() {
            self.ask_for_life(&connection);
        }
        self.redial(&host);
        let within = self.config.connect_timeout;
        self.spawn(async move {
            tokio::time::sleep(within).await;
            host.convict();
        });
    }

    /// Asks for a sign of life on a connection that was silent for a request's whole time, while its node
    /// answers on others. If none comes it ends.
    pub fn question(&self, connection: &Held<S>) {
        if !connection.is_ready() || connection.is_asked.get() {
            return;
        }
        self.ask_for_life(connection);
        let (connection, answered) = (Rc::clone(connection), connection.answered());
        let within = self.config.connect_timeout;
        self.spawn(async move {
            tokio::time::sleep(within).await;
            if connection.answered() == answered {
                connection.outbox.abort();
            }
        });
    }

    /// Silent for one period: asked. Silent for another: dead.
    fn check(&self, connection: &Connection<S::Ticket>) {
        let answered = connection.answered();
        if connection.answered_before.replace(answered) != answered {
            connection.is_asked.set(false);
            return;
        }
        match connection.is_asked.get() {
            true => connection.outbox.abort(),
            false => self.ask_for_life(connection),
        }
    }

    pub(super) fn ask_for_life(&self, connection: &Connection<S::Ticket>) {
        connection.is_asked.set(true);
        if self.ask_options(connection, Owner::Heartbeat).is_err() {
            connection.outbox.abort();
        }
    }

    pub(super) fn ask_options(
        &self,
        connection: &Connection<S::Ticket>,
        owner: Owner<S::Ticket>,
    ) -> Result<NodeStream, Refused> {
        let nothing = |_body: &mut Vec<u8>| {};
        connection.send(owner, &self.buffers, 0, Opcode::Options, nothing)
    }
}
