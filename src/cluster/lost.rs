//! What can go wrong on the way to a node.

/// Why a connection, and what waited on it, is lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lost {
    /// It was closed or broke after it had been ready.
    #[error("the connection was lost: {0}")]
    Broken(String),
    /// It never became ready.
    #[error("no connection: {0}")]
    Dial(String),
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
    /// Whether the node may have applied what waited on the connection.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Dial(_)
            | Self::Keyspace { .. }
            | Self::Role(_)
            | Self::Unsure(_)
            | Self::Version(_) => false,
        }
    }
}

/// Why a request was not even put on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// All stream ids are in use, or the node does not read.
    #[error("too many requests in flight to the cluster")]
    Busy,
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
