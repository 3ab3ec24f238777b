//! What operators see and do: the admin address.
//!
//! `http` is the routes, `access` who may use them, `listener` what one connection may cost,
//! `status` the shape of the answers, `letters` the dead letters. The proxy proxies without it.

mod access;
mod config;
#[cfg(test)]
pub(crate) mod fake;
pub mod http;
pub mod letters;
mod listener;
pub mod status;

pub use access::{Access, Error};
pub use config::Config;
pub use http::{Admin, serve};
pub use status::{Status, StatusSource};

#[cfg(test)]
mod tests;
