//! One client connection: accept, handshake, loop.
//!
//! [`Acceptor`] deals sockets to the worker threads; [`serve()`] runs one task for each client of its
//! thread; [`Sessions`] knows which are open. A request goes to [`Requests`], its answer comes back
//! through the client's [`Outlet`], at once or later.
//!
//! ```text
//! Acceptor --socket--> serve --task--> Conversation --frame--> Requests
//!                                           ^                     |
//!                                         Outlet <----answer------/
//! ```

mod answer;
mod config;
mod connection;
mod door;
mod handshake;
mod listener;
mod outlet;
mod serve;
mod sessions;
mod state;
mod strangers;
#[cfg(test)]
mod tests;
mod users;

use std::pin::Pin;

use crate::dispatch::{Admission, Client, Desk, Origin};
use crate::socket::Buffers;
use crate::telemetry::WorkerMetrics;
use crate::wire::request::Credentials;
use crate::wire::{Frame, Version};

pub use config::Config;
pub use door::Door;
pub use listener::{Acceptor, Arrivals};
pub use outlet::Outlet;
pub use serve::serve;
pub use sessions::Sessions;
pub use users::{UserFault, Users};

/// What comes, in time, of a client that says who it is.
pub type Admitting<'a, C> = Pin<Box<dyn Future<Output = Admission<C>> + 'a>>;

/// Whoever answers requests on one thread.
pub trait Requests<C: Client>: 'static {
    /// Takes one QUERY, PREPARE, EXECUTE or BATCH. Exactly one answer follows, at once or later.
    fn request(&self, origin: &Origin<C>, frame: Frame<'_>);

    /// Has the clusters say whether a client of this version is let in. Others are served meanwhile.
    fn log_in<'a>(&'a self, said: Credentials<'a>, version: Version) -> Admitting<'a, C>;

    /// What a client sent, as it was read, before its frames are taken.
    fn ahead(&self, read: &[u8]);

    /// Says that a socket of this thread was woken.
    fn wake(&self);

    /// What the thread's sockets share.
    fn buffers(&self) -> &Buffers;

    /// What the thread counts.
    fn metrics(&self) -> &WorkerMetrics;
}

impl<C: Client> Requests<C> for Desk<C> {
    #[inline]
    fn request(&self, origin: &Origin<C>, frame: Frame<'_>) {
        Self::request(self, origin, frame);
    }

    fn log_in<'a>(&'a self, said: Credentials<'a>, version: Version) -> Admitting<'a, C> {
        Box::pin(Self::log_in(self, said, version))
    }

    #[inline]
    fn ahead(&self, read: &[u8]) {
        Self::ahead(self, read);
    }

    #[inline]
    fn wake(&self) {
        Self::wake(self);
    }

    #[inline]
    fn buffers(&self) -> &Buffers {
        Self::buffers(self)
    }

    fn metrics(&self) -> &WorkerMetrics {
        Self::metrics(self)
    }
}
