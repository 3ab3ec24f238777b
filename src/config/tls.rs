//! Certificates: which files, and whether they can be used.

use std::sync::Arc;

use crate::socket::tls::{Client, ClientFiles, Identity, Server, ServerFiles};

use super::build::path;
use super::read::Reader;

/// Encryption to clients; `None` where there is none, or a fault was noted.
pub(super) fn server(r: &mut Reader) -> Option<Arc<Server>> {
    let identity = identity(r, "tls");
    let client_ca = r.text("tls.client_ca", path);
    if !r.has("tls") {
        return None;
    }
    let Some(identity) = identity else {
        missing(r, "tls", "cert and key are needed");
        return None;
    };
    let files = ServerFiles {
        identity,
        client_ca,
    };
    load(r, "tls", Server::load(files))
}

/// Encryption to the nodes of a cluster with contact points on these hosts; `None` where there is none, or a fault was noted.
pub(super) fn client(r: &mut Reader, section: &str, names: Vec<String>) -> Option<Arc<Client>> {
    let identity = identity(r, section);
    let ca = r.text(&format!("{section}.ca"), path);
    let verify_hostname = r.flag(&format!("{section}.verify_hostname"), true);
    if !r.has(section) {
        return None;
    }
    let Some(ca) = ca else {
        missing(
            r,
            section,
            "ca is needed: the file of whoever signed the nodes' certificates",
        );
        return None;
    };
    let files = ClientFiles {
        ca,
        identity,
        verify_hostname,
        names,
    };
    load(r, section, Client::load(files))
}

/// A certificate and its key: both or none.
fn identity(r: &mut Reader, section: &str) -> Option<Identity> {
    let cert = r.text(&format!("{section}.cert"), path);
    let key = r.text(&format!("{section}.key"), path);
    if cert.is_some() != key.is_some() {
        missing(r, section, "cert and key belong together");
    }
    Some(Identity {
        cert: cert?,
        key: key?,
    })
}

/// One sentence a section: the first that says what is wrong.
fn missing(r: &mut Reader, section: &str, text: &str) {
    if r.is_sound(section) {
        r.fault(section, text);
    }
}

fn load<T>(
    r: &mut Reader,
    section: &str,
    loaded: Result<T, crate::socket::tls::Fault>,
) -> Option<Arc<T>> {
    let sound = r.is_sound(section);
    match loaded {
        Ok(it) => Some(Arc::new(it)).filter(|_| sound),
        Err(fault) => {
            missing(r, section, &fault.to_string());
            None
        }
    }
}
