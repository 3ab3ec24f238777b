//! helix-proxy, the binary.

fn main() {}
