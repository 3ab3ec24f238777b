//! What operators and fleets see: admin HTTP and probes.
