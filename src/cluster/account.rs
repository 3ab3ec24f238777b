//! Who the proxy is at a cluster: its service account.

use std::fmt;
use std::path::PathBuf;

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

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("username", &self.username)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}
