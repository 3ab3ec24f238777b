//! Certificates and users that are replaced while the proxy runs.

use std::fmt::Display;
use std::time::Duration;

use crate::config::Config;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks for ever. Connections that exist go on; the next ones are shown the new certificates and
/// checked against the new users.
pub(super) async fn follow(config: Config) {
    let mut nodes: Vec<_> = config
        .clusters
        .iter()
        .filter_map(|(_, cluster)| Some((cluster.name.to_string(), cluster.tls.clone()?, None)))
        .collect();
    let (mut told_of_clients, mut told_of_users) = (None, None);
    if config.tls.is_none() && config.door.users().is_none() && nodes.is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(tls) = &config.tls {
            tell("clients", tls.reload(), &mut told_of_clients);
        }
        if let Some(users) = config.door.users() {
            tell("users", users.reload(), &mut told_of_users);
        }
        for (name, tls, told) in &mut nodes {
            tell(name, tls.reload(), told);
        }
    }
}

/// Says what is new; a fault that stays is `told` once.
fn tell(whose: &str, reloaded: Result<bool, impl Display>, told: &mut Option<String>) {
    let fault = match reloaded {
        Ok(is_new) => {
            if is_new {
                tracing::info!(whose, "files were read anew");
            }
            *told = None;
            return;
        }
        Err(fault) => fault.to_string(),
    };
    if told.as_ref() != Some(&fault) {
        tracing::error!(whose, %fault, "new files cannot be used; what was read before stays");
        *told = Some(fault);
    }
}
