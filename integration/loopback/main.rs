//! Over fake nodes on loopback addresses: the data plane of one thread, and the whole process.
#![allow(clippy::unwrap_used, reason = "a test")]

mod check;
mod counted;
mod data_plane;
mod events;
mod faithful;
mod limits;
mod logins;
mod moving;
mod nodes;
mod process;
mod queue_crash;
mod queue_full;
mod site;
mod stop;
mod versions;
mod wire;
