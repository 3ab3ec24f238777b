//! The file and the environment become the rooms' own configurations.
