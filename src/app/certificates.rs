//! Certificates that are replaced while the proxy runs.

use std::time::Duration;

use crate::config::Config;
use crate::socket::tls::Fault;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks for ever. Connections that exist go on; the next ones are shown the new certificates.
pub(super) async fn follow(config: Config) {
    let mut nodes: Vec<_> = config
        .clusters
        .iter()
        .filter_map(|(_, cluster)| Some((cluster.name.to_string(), cluster.tls.clone()?, None)))
        .collect();
    let mut told = None;
    if config.tls.is_none() && nodes.is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(tls) = &config.tls {
            tell("clients", tls.reload(), &mut told);
        }
        for (name, tls, told) in &mut nodes {
            tell(name, tls.reload(), told);
        }
    }
}

/// Says what is new; a fault that stays is `told` once.
fn tell(whose: &str, reloaded: Result<bool, Fault>, told: &mut Option<String>) {
    let fault = match reloaded {
        Ok(is_new) => {
            if is_new {
                tracing::info!(whose, "certificates were read anew");
            }
            *told = None;
            return;
        }
        Err(fault) => fault.to_string(),
    };
    if told.as_ref() != Some(&fault) {
        tracing::error!(whose, %fault, "new certificates cannot be used; those before stay");
        *told = Some(fault);
    }
}
