//! One backend cluster: connections, balance, prepared ids.
