//! Schema changes: one at a time in the process, home first, then the other, agreement on each.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Error;
use crate::statement::Statement;
use crate::wire::{Opcode, Version};

/// One schema change that a client asked for.
#[derive(Debug)]
pub struct Job {
    /// The protocol version of the client; the answer is in it.
    pub version: Version,
    /// QUERY, or EXECUTE of a prepared one as the QUERY that it stands for.
    pub body: Vec<u8>,
    /// The client's header flags.
    pub flags: u8,
    /// The keyspace that the text needs.
    pub keyspace: Option<String>,
    /// What the text means.
    pub statement: Arc<Statement>,
    /// Where the answer goes.
    pub done: oneshot::Sender<Result<Outcome, Error>>,
}

/// An answer that crosses a thread: a whole frame but its header.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The header's flags.
    pub flags: u8,
    /// RESULT or ERROR.
    pub opcode: Opcode,
    /// The body.
    pub body: Vec<u8>,
}
