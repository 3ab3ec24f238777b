//! The commands that talk to the admin address.
