//! Where the log goes: structured lines to standard error, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The environment variable that overrides [`Config::filter`]; whoever reads the environment
/// passes its value to [`install`].
pub const FILTER_VARIABLE: &str = "HELIX_LOG";

/// How the log is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Text for people or JSON for machines. Default text.
    pub format: Format,
    /// Level, or levels by module: `info`, `warn,helix_proxy::replay=debug`. Default `info`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::default(),
            filter: "info".to_owned(),
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Time, level, module, message, fields.
    #[default]
    Text,
}

/// Why the log cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("the log filter {filter:?} is not valid: {reason}")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else already writes the log of this process.
    #[error("the log of this process was set up before")]
    Installed,
}

/// Starts logging to standard error; `filter` (the value of [`FILTER_VARIABLE`]) goes before the
/// configured one.
///
/// # Errors
/// If the filter is not valid, or the log was set up before.
pub fn install(config: &Config, filter: Option<&str>) -> Result<(), Error> {
    let filter = parse(filter.unwrap_or(&config.filter))?;
    let log = subscriber(config.format, filter, std::io::stderr);
    tracing::subscriber::set_global_default(log).map_err(|_already| Error::Installed)
}

/// Whether a filter is one, for the check of a configuration.
///
/// # Errors
/// If it does not parse.
pub fn check(filter: &str) -> Result<(), Error> {
    parse(filter).map(|_filter| ())
}

/// The driver that learns the clusters' nodes speaks of each of its own connections: only where asked.
const QUIET: &str = "scylla=off";

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    // What stands later goes before.
    EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|error| Error::Filter {
            filter: filter.to_owned(),
            reason: error.to_string(),
        })
}

fn subscriber<W>(
    format: Format,
    filter: EnvFilter,
    out: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(out);
    match format {
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
        Format::Text => Box::new(lines.finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_json_line_carries_time_level_message_and_fields() {
        let out = written(Format::Json, "info");

        let line: serde_json::Value = serde_json::from_str(&out).expect("one JSON line");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "cannot reach the cluster");
        assert_eq!(line["side"], "B");
        assert!(line["timestamp"].as_str().expect("a time").ends_with('Z'));
    }

    #[test]
    fn a_text_line_carries_time_level_message_and_fields() {
        let out = written(Format::Text, "helix_proxy=warn");

        assert!(out.starts_with("20"), "{out}");
        assert!(out.contains(" WARN "), "{out}");
        assert!(out.contains("cannot reach the cluster side=\"B\""), "{out}");
    }

    #[test]
    fn a_filter_silences_what_is_below_it() {
        assert_eq!(written(Format::Text, "error"), "");
    }

    #[test]
    fn a_filter_that_is_none_is_named_in_the_error() {
        let error = check("helix_proxy=loud").expect_err("no such level");
        assert!(error.to_string().contains("helix_proxy=loud"), "{error}");
        check("warn,helix_proxy::replay=debug").expect("levels by module");
    }

    fn written(format: Format, filter: &str) -> String {
        let out = Paper::default();
        let (sheet, filter) = (out.clone(), parse(filter).expect("a filter"));
        let log = subscriber(format, filter, move || sheet.clone());
        tracing::subscriber::with_default(log, || {
            tracing::warn!(side = "B", "cannot reach the cluster");
        });
        let bytes = out.0.lock().expect("unbroken").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unbroken").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
