//! A record: one write with everything that replaying it needs. Versioned, checksummed bytes.
