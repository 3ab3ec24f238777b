//! One request's journey, from statement to answer.
//!
//! A [`Desk`] is one data-plane thread's world: its connections to both clusters, its requests in
//! flight, its caches. `session` hands frames in with [`Desk::request`]; answers leave through the
//! session's [`Client`]. The decisions are [`flow`]'s; the desk only obeys.

mod answers;
mod client;
pub mod clock;
mod config;
mod desk;
mod error;
pub mod flow;
mod intake;
pub mod intercept;
mod journal;
mod known;
mod logins;
mod measure;
pub mod news;
mod paging;
mod plan;
pub mod pulse;
mod registry;
mod reply;
mod request;
mod route;
pub mod schema;
mod shared;
pub mod table;
mod traces;
mod verdict;
pub mod versions;

pub use client::{Client, Origin};
pub use config::{Advertise, Config, Deadlines};
pub use desk::Desk;
pub use error::Error;
pub use logins::{Admission, Login};
pub use registry::Registry;
pub use shared::{News, Shared, Untold};
pub use traces::Traces;
