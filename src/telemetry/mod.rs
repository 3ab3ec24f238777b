//! Metrics registry, log setup, log throttle.
