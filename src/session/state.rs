//! What is known of one client.

use std::rc::Rc;

use crate::wire::Version;
use crate::wire::request::register::Events;

/// One client connection, as far as its requests and events need it.
#[derive(Debug)]
pub(super) struct State {
    /// The version that it speaks, from STARTUP on.
    pub(super) version: Option<Version>,
    /// The keyspace of its last USE that was accepted.
    pub(super) keyspace: Option<Rc<str>>,
    /// What it registered for.
    pub(super) events: Events,
    /// Requests handed to dispatch and not answered yet.
    in_flight: usize,
    /// No request is taken any more; it closes once those in flight are answered.
    pub(super) is_draining: bool,
}

impl State {
    pub(super) const fn new() -> Self {
        let events = Events {
            schema: false,
            status: false,
            topology: false,
        };
        Self {
            version: None,
            keyspace: None,
            events,
            in_flight: 0,
            is_draining: false,
        }
    }

    /// A request goes to dispatch.
    pub(super) const fn handle_request(&mut self) {
        self.in_flight += 1;
    }

    /// A request was answered. Whether the connection has nothing left to wait for.
    pub(super) fn handle_answer(&mut self) -> bool {
        debug_assert!(0 < self.in_flight, "a request was answered twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.is_drained()
    }

    /// REGISTER was accepted: a later one adds to an earlier one.
    pub(super) const fn handle_register(&mut self, events: Events) {
        self.events.schema |= events.schema;
        self.events.status |= events.status;
        self.events.topology |= events.topology;
    }

    /// Nothing more is taken. Whether the connection has nothing left to wait for.
    pub(super) const fn handle_drain(&mut self) -> bool {
        self.is_draining = true;
        self.is_drained()
    }

    /// Requests handed to dispatch and not answered yet.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    const fn is_drained(&self) -> bool {
        self.is_draining && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_client_is_done_with_its_last_answer() {
        let mut state = State::new();
        state.handle_request();
        state.handle_request();
        assert!(!state.handle_answer());
        assert!(!state.handle_drain());
        assert!(state.handle_answer());
        assert_eq!(state.in_flight(), 0);
    }

    #[test]
    fn a_second_register_adds_to_the_first() {
        let mut state = State::new();
        let schema = Events {
            schema: true,
            ..Events::default()
        };
        let status = Events {
            status: true,
            ..Events::default()
        };
        state.handle_register(schema);
        state.handle_register(status);
        let both = Events {
            schema: true,
            status: true,
            topology: false,
        };
        assert_eq!(state.events, both);
    }
}
