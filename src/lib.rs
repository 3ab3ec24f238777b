//! helix-proxy: a CQL sidecar that keeps two independent clusters alive with the same data.
//!
//! # Layout
//! The rooms, lowest first; each reaches only downward (`integration/architecture.rs` proves it):
//! [`pair`], [`telemetry`], [`wire`], [`socket`], [`statement`], [`policy`], [`cluster`],
//! [`replay`], [`dispatch`], [`session`], [`control`], [`config`], [`cli`], [`app`].
//! `docs/ARCHITECTURE.md` is the map, `docs/A_REQUEST.md` walks one request through the files.

pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod dispatch;
pub mod pair;
pub mod policy;
pub mod replay;
pub mod session;
pub mod socket;
pub mod statement;
pub mod telemetry;
pub mod wire;
