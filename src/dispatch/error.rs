//! Why a request gets an answer of our own. `session` turns it into a CQL error.

use std::borrow::Cow;

use crate::wire::{Consistency, Malformed};

/// What a client is told when no node's answer can be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// A node refused it in words; passed on.
    #[error("{message}")]
    Node {
        /// The node's error code.
        code: i32,
        /// The node's sentence.
        message: String,
    },
    /// A write that may have been applied.
    #[error("no cluster confirmed the write in time; it may have been applied")]
    WriteUnknown {
        /// The consistency asked for.
        consistency: Consistency,
        /// `SIMPLE`, `BATCH`, `UNLOGGED_BATCH`, `COUNTER` or `CAS`; never `BATCH_LOG`.
        write_type: &'static str,
    },
    /// A read that no side answered.
    #[error("no cluster answered the read in time")]
    ReadTimeout {
        /// The consistency asked for.
        consistency: Consistency,
    },
    /// Nothing was sent anywhere.
    #[error("no cluster can be reached; nothing was applied")]
    Unreachable,
    /// Nothing was sent anywhere: only this cluster could have done it, or it goes to both.
    #[error("cluster {0} is away, and this needs it; nothing was applied")]
    Away(String),
    /// Nothing was sent anywhere: only this cluster could have done it, and could not be asked.
    #[error("cluster {0} cannot be reached, and this needs it; nothing was applied")]
    Unreached(String),
    /// Nothing was sent anywhere: there is too much to do.
    #[error("cluster {cluster} takes no more requests now: {limit}; nothing was applied")]
    Full {
        /// Its name.
        cluster: String,
        /// What was reached.
        limit: String,
    },
    /// The replay queue takes no records, and nothing was sent.
    #[error("the replay queue cannot take the write, and has to; nothing was applied")]
    QueueRefused,
    /// Too much is going on in the proxy itself.
    #[error("too many requests in flight: {0}; nothing was applied")]
    Busy(&'static str),
    /// A prepared id that this proxy does not know, or has forgotten.
    #[error("this prepared statement is not known here; prepare it again")]
    Unprepared(Vec<u8>),
    /// The message is not what its opcode says.
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
    /// A paging state that this proxy did not make, or whose cluster cannot go on with it.
    #[error("{0}")]
    Paging(Cow<'static, str>),
    /// A schema change that was refused, as while a cluster is away (S24), or that one cluster has, or
    /// may have, and the other has not.
    #[error("{0}")]
    SchemaRefused(String),
    /// The statement cannot be answered here.
    #[error("{0}")]
    Invalid(String),
}
