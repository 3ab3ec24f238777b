//! The file and the environment become the rooms' own configurations.
//!
//! ```text
//! text --raw--> tree with places --read--> values or faults --build--> Config, every value valid
//! ```
//! All faults are reported at once, each with its line and key. A key that is designed but not
//! built is a fault as well: a configuration that loads does all that it says.

mod auth;
mod build;
mod clusters;
mod fault;
mod host;
mod keys;
mod raw;
mod read;
mod redact;
mod routing;
mod summary;
mod tls;
mod value;

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::pair::Side;
use crate::socket::tls::Server;
use crate::telemetry::log;
use crate::{cluster, control, dispatch, policy, replay, session};

pub use fault::{Fault, Faults, Place};
pub use host::Host;

use raw::{Entry, Node, Value};
use read::Reader;

/// Everything that the process is told at start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where clients connect, and their limits.
    pub session: session::Config,
    /// The admin side.
    pub admin: control::Config,
    /// Threads of the data plane. Default: two, or the one core that there is.
    pub workers: NonZeroUsize,
    /// What this process is called among others. Default: host name and listen address.
    pub instance: String,
    /// The clusters.
    pub clusters: Clusters,
    /// Strategies, acknowledgement, journal, breaker.
    pub policy: policy::Config,
    /// Deadlines, and the node that drivers see.
    pub dispatch: dispatch::Config,
    /// The queue and its worker.
    pub replay: replay::Config,
    /// How the log is written.
    pub log: log::Config,
    /// Encryption to clients. Default none.
    pub tls: Option<Arc<Server>>,
    /// Who may log in, and as whom. Default whoever connects.
    pub door: session::Door,
}

/// The clusters: A always, B unless this is a plain pass-through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clusters {
    /// `clusters.a`.
    pub a: cluster::Config,
    /// `clusters.b`; without it the proxy runs in single-cluster mode.
    pub b: Option<cluster::Config>,
}

impl Clusters {
    /// This side's cluster, if it is configured.
    #[must_use]
    pub const fn get(&self, side: Side) -> Option<&cluster::Config> {
        match side {
            Side::A => Some(&self.a),
            Side::B => self.b.as_ref(),
        }
    }

    /// The configured clusters, A first.
    pub fn iter(&self) -> impl Iterator<Item = (Side, &cluster::Config)> {
        Side::ALL
            .into_iter()
            .filter_map(|side| Some((side, self.get(side)?)))
    }
}

/// What the command line may say instead of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Flags {
    /// `--cluster-a HOST:PORT`.
    pub cluster_a: String,
    /// `--cluster-b HOST:PORT`.
    pub cluster_b: Option<String>,
    /// `--listen ADDRESS:PORT`.
    pub listen: Option<String>,
    /// `--admin ADDRESS:PORT`.
    pub admin: Option<String>,
}

/// The dotted keys that the options of the command line stand for.
const FLAGS: [(&str, &str); 4] = [
    ("clusters.a", "--cluster-a"),
    ("clusters.b", "--cluster-b"),
    ("listen", "--listen"),
    ("admin.listen", "--admin"),
];

/// The configuration in this file.
///
/// # Errors
/// All faults of the file at once, or why it cannot be read.
pub fn load_file(path: &Path) -> Result<Config, Faults> {
    let name = path.display().to_string();
    match text(path) {
        Ok(text) => load(&text, &name),
        Err(error) => {
            let fault = Fault::of_file(None, format!("cannot be read: {error}"));
            Err(Faults::new(&name, vec![fault]))
        }
    }
}

/// The file as text, and not more of it than [`raw::parse`] would take.
fn text(path: &Path) -> io::Result<String> {
    let most = u64::try_from(raw::BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not UTF-8 text in line {line}"),
        )
    })
}

/// The configuration in this text; `file_name` is what its faults say.
///
/// # Errors
/// All faults of the text at once, in its order.
pub fn load(text: &str, file_name: &str) -> Result<Config, Faults> {
    load_on(&Host::here(), text, file_name)
}

/// [`load`] as on this host.
///
/// # Errors
/// All faults of the text at once, in its order.
pub fn load_on(host: &Host, text: &str, file_name: &str) -> Result<Config, Faults> {
    let tree = raw::parse(text).map_err(|fault| Faults::new(file_name, vec![fault]))?;
    build::build(Reader::new(tree), host).map_err(|faults| Faults::new(file_name, faults))
}

/// The configuration of these options, everything else by default.
///
/// # Errors
/// All faults of the options at once.
pub fn from_flags(flags: &Flags) -> Result<Config, Faults> {
    build::build(Reader::new(tree(flags)), &Host::here()).map_err(|mut faults| {
        for fault in &mut faults {
            let option = FLAGS.iter().find(|(key, _)| fault.key.starts_with(key));
            fault.key = option.map_or_else(|| fault.key.clone(), |(_, flag)| (*flag).to_owned());
        }
        Faults::new("", faults)
    })
}

/// The tree of a file that would say the same.
fn tree(flags: &Flags) -> Node {
    let text = |text: &String| node(Value::Text(text.clone()));
    let cluster = |nodes: &String| map([("contact_points", node(Value::List(vec![text(nodes)])))]);
    let b = flags.cluster_b.as_ref().map(|nodes| ("b", cluster(nodes)));
    let clusters = map([("a", cluster(&flags.cluster_a))].into_iter().chain(b));
    let listen = flags
        .listen
        .as_ref()
        .map(|address| ("listen", text(address)));
    let admin = flags
        .admin
        .as_ref()
        .map(|at| ("admin", map([("listen", text(at))])));
    map([("clusters", clusters)]
        .into_iter()
        .chain(listen)
        .chain(admin))
}

fn map(entries: impl IntoIterator<Item = (&'static str, Node)>) -> Node {
    let entry = |(key, node): (&str, Node)| Entry {
        key: key.to_owned(),
        place: None,
        node,
    };
    node(Value::Map(entries.into_iter().map(entry).collect()))
}

const fn node(value: Value) -> Node {
    Node { place: None, value }
}

#[cfg(test)]
mod tests;
