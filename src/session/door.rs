//! Who is let in.

use std::sync::Arc;

use super::Users;

/// Who may come in, and who they are then.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Door {
    /// Whoever the clusters let in, as who they are there (`auth.mode: passthrough`).
    Clusters,
    /// Everybody, as the service account or nobody.
    #[default]
    Open,
    /// Whoever the file lists, as the service account (`auth.mode: service`).
    Users(Arc<Users>),
}

impl Door {
    /// The file, if there is one.
    #[must_use]
    pub const fn users(&self) -> Option<&Arc<Users>> {
        match self {
            Self::Users(users) => Some(users),
            Self::Clusters | Self::Open => None,
        }
    }

    /// Whether clients have to say who they are.
    pub(super) const fn asks(&self) -> bool {
        match self {
            Self::Clusters | Self::Users(_) => true,
            Self::Open => false,
        }
    }
}
