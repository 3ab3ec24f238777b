//! What operators decide about one cluster: its name, its nodes, how to reach them.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::Account;
use super::keyspaces::KEPT_MAX;
use crate::socket::tls;
use crate::wire::{Compression, Version};

/// One cluster, as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// What logs and `/status` call it. Default A or B.
    pub name: Name,
    /// The nodes that are asked for the others, and used until those are known.
    pub contact_points: ContactPoints,
    /// Whose nodes are used. Default that of the first contact point that answers.
    pub local_datacenter: Option<String>,
    /// How long one connection may take to be ready. Default 2 s; more waits longer for a dead node.
    pub connect_timeout: Duration,
    /// How long a connection may be idle before it is probed. Default 10 s; more finds a dead node later.
    pub heartbeat: Duration,
    /// The highest native protocol version to speak with it. Default what it has.
    pub protocol_max: ProtocolMax,
    /// How bodies are compressed on the way to it and back. Default not at all.
    pub compression: Option<Compression>,
    /// Encryption to its nodes. Default none.
    pub tls: Option<Arc<tls::Client>>,
    /// Who the proxy is there. Default nobody, for clusters that ask nobody.
    pub account: Option<Account>,
    /// Plain connections of one thread to a node that has shards. Default 8; more fit more shards.
    pub seats_max: usize,
}

impl Config {
    /// The default of [`Config::connect_timeout`].
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
    /// The default of [`Config::heartbeat`].
    pub const HEARTBEAT: Duration = Duration::from_secs(10);

    /// The default of the connections of all threads to the shards of one node (S26).
    pub const SEATS_MAX: NonZeroUsize = NonZeroUsize::new(16).unwrap();

    /// A cluster of this name and these nodes, everything else by default.
    #[must_use]
    pub const fn new(name: Name, contact_points: ContactPoints) -> Self {
        Self {
            name,
            contact_points,
            local_datacenter: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
            heartbeat: Self::HEARTBEAT,
            protocol_max: ProtocolMax::Auto,
            compression: None,
            tls: None,
            account: None,
            seats_max: Self::SEATS_MAX.get() / 2,
        }
    }

    /// Connections that one thread keeps to one node in one protocol version: to its shards and the
    /// first beside those, and for keyspaces.
    #[must_use]
    pub const fn connections_max(&self) -> usize {
        let for_shards = if self.seats_max < 2 {
            0
        } else {
            self.seats_max
        };
        1 + for_shards + KEPT_MAX
    }
}

/// What a cluster is called: a letter or `_`, then at most 31 letters, digits and `_`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(String);

impl Name {
    /// The most characters of a name.
    pub const LENGTH_MAX: usize = 32;

    /// The name, if it is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let rest = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        (starts && rest && text.len() <= Self::LENGTH_MAX).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One node that may be used. A host name is resolved at every connect, not at start.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContactPoint {
    /// A host name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The port. Default 9042.
    pub port: u16,
}

impl ContactPoint {
    /// The port where none is given.
    pub const PORT: u16 = 9042;
}

impl fmt::Display for ContactPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One contact point or more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContactPoints(Vec<ContactPoint>);

impl ContactPoints {
    /// This one and the rest.
    #[must_use]
    pub fn new(first: ContactPoint, rest: impl IntoIterator<Item = ContactPoint>) -> Self {
        Self(std::iter::once(first).chain(rest).collect())
    }

    /// All of them in the order of the file; never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[ContactPoint] {
        &self.0
    }

    /// All of them in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ContactPoint> {
        self.0.iter()
    }
}

/// The highest native protocol version that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProtocolMax {
    /// The highest that all clusters speak; 4 while one was never seen (S21).
    #[default]
    Auto,
    /// Version 3.
    V3,
    /// Version 4.
    V4,
    /// Version 5.
    V5,
}

impl ProtocolMax {
    /// The version as frames say it.
    #[must_use]
    pub const fn version(self) -> Version {
        match self {
            Self::V3 => Version::V3,
            Self::V4 => Version::V4,
            Self::Auto | Self::V5 => Version::V5,
        }
    }

    /// What a cluster that was never seen counts as.
    #[must_use]
    pub const fn unseen(self) -> Version {
        match self {
            Self::Auto => Version::V4,
            Self::V3 | Self::V4 | Self::V5 => self.version(),
        }
    }
}
