//! Whose request it is, and where its answer goes.

use std::net::SocketAddr;
use std::rc::Rc;

use super::{Error, Login};
use crate::wire::{ClientStream, Opcode, Version};

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

    /// Answers a request with a RESULT that ends with `rest`, a node's bytes as they were read: they
    /// need not be copied.
    fn pass(
        &self,
        to: (Version, ClientStream),
        flags: u8,
        head: impl FnOnce(&mut Vec<u8>),
        rest: &[u8],
    );

    /// Answers a request with an error of our own.
    fn refuse(&self, to: (Version, ClientStream), error: &Error);

    /// The client's USE was accepted (the name as the server stores it). Called before the answer.
    fn use_keyspace(&self, keyspace: &str);
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Origin<C: Client> {
    /// Where the answer goes.
    pub client: C,
    /// The version that the connection speaks.
    pub version: Version,
    /// The keyspace it uses.
    pub keyspace: Option<Rc<str>>,
    /// The address that the client dialled: what `system.local` says.
    pub dialled: SocketAddr,
    /// Who it is, where clients act as roles of their own.
    pub login: Option<Rc<Login<C>>>,
}

impl<C: Client> Origin<C> {
    /// The keyspace of a request, which may name its own.
    pub(super) fn keyspace_of(&self, own: Option<&str>) -> Option<Rc<str>> {
        own.map(Rc::from).or_else(|| self.keyspace.clone())
    }
}
