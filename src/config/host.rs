//! What the machine says where the file says nothing.

use std::num::NonZeroUsize;

const NAME_FILES: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/hostname"];
const NAME_VARIABLE: &str = "HOSTNAME";

/// What the defaults depend on.
#[derive(Clone, Debug)]
pub struct Host {
    /// The host's name.
    pub name: String,
    /// Cores that this process may use, by affinity and control group.
    pub cores: NonZeroUsize,
    /// Looks an environment variable up.
    pub variable: fn(&str) -> Option<String>,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            name: name(),
            cores,
            variable: |name| std::env::var(name).ok(),
        }
    }
}

fn name() -> String {
    NAME_FILES
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .chain(std::env::var(NAME_VARIABLE))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
