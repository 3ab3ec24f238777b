//! Who the proxy is at a cluster: its service account, or a client's role.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::wire::request::Credentials;

/// A role and its password.
#[derive(Clone, Eq, PartialEq)]
pub struct Account {
    /// The name of the role.
    pub username: String,
    /// In clear, as it goes to the nodes.
    pub password: String,
    /// Where the password was found.
    pub kept: Kept,
}

/// Where a password is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kept {
    /// In an environment variable of this name.
    Variable(String),
    /// In a file.
    File(PathBuf),
}

impl Account {
    pub(super) fn credentials(&self) -> Credentials<'_> {
        Credentials {
            username: &self.username,
            password: &self.password,
        }
    }
}

/// A client's role, as it said itself. It is in memory as long as somebody holds it.
#[derive(Clone, Eq, PartialEq)]
pub struct Role {
    name: Arc<str>,
    password: Arc<str>,
}

impl Role {
    /// Whoever says this.
    #[must_use]
    pub fn new(said: Credentials<'_>) -> Self {
        Self {
            name: said.username.into(),
            password: said.password.into(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says at a cluster.
    pub(super) fn credentials(&self) -> Credentials<'_> {
        Credentials {
            username: &self.name,
            password: &self.password,
        }
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("username", &self.username)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}
