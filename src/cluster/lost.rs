//! What can go wrong on the way to a node.

use std::io;

use rustix::io::Errno;

/// Why a connection, and what waited on it, is lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lost {
    /// It was closed or broke after it had been ready.
    #[error("the connection was lost: {0}")]
    Broken(String),
    /// It never became ready.
    #[error("no connection: {0}")]
    Dial(String),
    /// There was no file descriptor left for it, which says nothing about the node.
    #[error("no connection: {0}")]
    Files(String),
    /// The node does not speak the version.
    #[error("no connection: {0}")]
    Version(String),
    /// The cluster does not let the client's role in.
    #[error("the role is not let in: {0}")]
    Role(String),
    /// A client's role said who it is, and the node did not come to say whether it lets it in. Whoever has
    /// many passwords hashed can bring that about, so that it says nothing about the node.
    #[error("nobody knows whether the role is let in: {0}")]
    Unsure(String),
    /// The node refused the keyspace that the connection was for.
    #[error("the node refused the keyspace: {message}")]
    Keyspace {
        /// Its error code.
        code: i32,
        /// Its sentence.
        message: String,
    },
}

impl Lost {
    /// Why there is no stream to a node.
    pub(super) fn unreached(error: &io::Error) -> Self {
        let errno = Errno::from_io_error(error);
        match matches!(errno, Some(Errno::MFILE | Errno::NFILE)) {
            true => Self::Files(error.to_string()),
            false => Self::Dial(error.to_string()),
        }
    }

    /// Whether the node may have applied what waited on the connection.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Dial(_)
            | Self::Files(_)
            | Self::Keyspace { .. }
            | Self::Role(_)
            | Self::Unsure(_)
            | Self::Version(_) => false,
        }
    }
}

/// What a thread may give one cluster to do; sentences that follow the cluster's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Limit {
    /// Each keyspace has a connection of its own where messages cannot name it.
    #[error("as many keyspaces as there may be connections for are in use")]
    Keyspaces,
    /// They wait for one PREPARE.
    #[error("32,768 requests wait until the same statement is prepared")]
    Lessons,
    /// Of one connection.
    #[error("all 32,768 stream ids of a connection are in use")]
    Streams,
    /// What waits for a node that does not read is memory of ours.
    #[error("64 MiB of requests are not read yet")]
    Unread,
}

/// Why a request was not even put on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The cluster has as much to do as one thread may give it.
    #[error("too many requests in flight to the cluster: {0}")]
    Busy(Limit),
    /// There is no connection, and the last attempt is too recent for another.
    #[error("no connection to the cluster")]
    Down,
    /// The cluster did not let the client's role in, too recently to ask again.
    #[error("the cluster does not let the role in")]
    Role,
    /// It could not tell whether it does, too recently to ask again.
    #[error("the cluster could not tell whether it lets the role in")]
    Unsure,
}
