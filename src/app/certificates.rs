//! Certificates that are replaced while the proxy runs.

use std::time::Duration;

use crate::config::Config;
use crate::socket::tls::Fault;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks for ever. Connections that exist go on; the next ones are shown the new certificates.
pub(super) async fn follow(config: Config) {
    let nodes: Vec<_> = config
        .clusters
        .iter()
        .filter_map(|(_, cluster)| Some((cluster.name.to_string(), cluster.tls.clone()?)))
        .collect();
    if config.tls.is_none() && nodes.is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(tls) = &config.tls {
            tell("clients", tls.reload());
        }
        for (name, tls) in &nodes {
            tell(name, tls.reload());
        }
    }
}

fn tell(whose: &str, reloaded: Result<bool, Fault>) {
    match reloaded {
        Ok(false) => {}
        Ok(true) => tracing::info!(whose, "certificates were read anew"),
        Err(fault) => {
            tracing::error!(whose, %fault, "new certificates cannot be used; those before stay");
        }
    }
}
