//! One request's journey, from statement to answer.
//!
//! A [`Desk`] is one data-plane thread's world: its connections to both clusters, its requests in
//! flight, its caches. `session` hands frames in with [`Desk::request`]; answers leave through the
//! session's [`Client`]. The decisions are [`flow`]'s; the desk only obeys.

pub mod clock;
mod config;
mod error;
pub mod flow;
pub mod intercept;
mod known;
mod paging;
mod registry;
mod request;
pub mod table;
mod verdict;

use std::rc::Rc;

use crate::wire::{ClientStream, Opcode, Version};

pub use config::{Advertise, Config, Deadlines};
pub use error::Error;
pub use registry::Registry;

/// A client connection as answers see it. Cloned once a request; cloning must be cheap (an `Rc`).
/// Answers to a client that went away are dropped by it.
pub trait Client: Clone + 'static {
    /// Answers a request: a whole frame but its header.
    fn answer(
        &self,
        to: (Version, ClientStream),
        flags: u8,
        opcode: Opcode,
        body: impl FnOnce(&mut Vec<u8>),
    );

    /// Answers a request with an error of our own.
    fn refuse(&self, to: (Version, ClientStream), error: &Error);

    /// The client's USE was accepted (the name as the server stores it). Called before the answer.
    fn use_keyspace(&self, keyspace: &str);
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Origin<C> {
    /// Where the answer goes.
    pub client: C,
    /// The version that the connection speaks.
    pub version: Version,
    /// The keyspace it uses.
    pub keyspace: Option<Rc<str>>,
    /// The address that the client dialled: what `system.local` says.
    pub dialled: std::net::SocketAddr,
}

/// One data-plane thread's world.
#[derive(Debug)]
pub struct Desk<C: Client> {
    client: std::marker::PhantomData<C>,
}

impl<C: Client> Desk<C> {
    /// Takes one QUERY, PREPARE, EXECUTE or BATCH. Exactly one answer follows, at once or later.
    pub fn request(&self, origin: &Origin<C>, frame: crate::wire::Frame<'_>) {
        let _ = (origin, frame);
    }

    /// Says that a socket of this thread was woken: the thread's idea of now is renewed.
    pub fn wake(&self) {}

    /// What the thread's sockets share.
    pub fn buffers(&self) -> &crate::socket::Buffers {
        todo!()
    }

    /// What the thread counts.
    pub fn metrics(&self) -> &crate::telemetry::WorkerMetrics {
        todo!()
    }
}
