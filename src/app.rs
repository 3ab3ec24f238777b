//! Builds everything, owns the threads and root tasks, shuts down in order.
