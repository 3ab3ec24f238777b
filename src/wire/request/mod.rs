//! What clients send, and what we send to nodes.

pub mod batch;
pub mod credentials;
pub mod execute;
pub mod parameters;
pub mod prepare;
pub mod query;
pub mod register;
pub mod startup;

pub use batch::{Batch, Child, What};
pub use credentials::Credentials;
pub use execute::Execute;
pub use parameters::{Parameters, Values};
pub use prepare::Prepare;
pub use query::Query;
