//! When a failing cluster is taken out.

pub mod circuit_breaker;
