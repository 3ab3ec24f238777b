//! What operators decide about a request's journey: its deadlines, and the node that drivers see.

use std::time::Duration;

use uuid::Uuid;

use crate::cluster::ProtocolMax;

/// Everything that dispatch is told at start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// How long requests may take.
    pub deadlines: Deadlines,
    /// The one node that drivers see.
    pub advertise: Advertise,
    /// The highest protocol version offered to clients. Default what both clusters have.
    pub protocol_max: ProtocolMax,
    /// Clients act at the clusters as roles of their own (`auth.mode: passthrough`). Default as the service account.
    pub passthrough: bool,
}

/// How long requests may take, counted from their arrival.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadlines {
    /// A read, both attempts together. Default 10 s.
    pub read: Duration,
    /// A point read on its first cluster before the other is asked. Default 1 s; more waits longer on a silent one.
    pub failover_after: Duration,
    /// A write, the record of a missed side not counted. Default 1500 ms, below the drivers' own 2 s.
    pub write: Duration,
    /// A schema change or TRUNCATE, agreement included. Default 60 s.
    pub schema: Duration,
}

/// What `system.local` says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Advertise {
    /// The datacenter. Default: that of home.
    pub datacenter: Option<String>,
    /// The rack. Default: that of home.
    pub rack: Option<String>,
    /// The cluster's name. Default: that of home.
    pub cluster_name: Option<String>,
    /// The node's id, the same after a restart. Default: UUIDv5 of `instance`.
    pub host_id: Uuid,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(10),
            failover_after: Duration::from_secs(1),
            write: Duration::from_millis(1_500),
            schema: Duration::from_secs(60),
        }
    }
}
