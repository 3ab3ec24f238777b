//! Encryption of a socket by rustls, on either side, from files that may be replaced while it runs.
//!
//! Files are PEM. What is loaded is one immutable configuration; [`End::reload`]
//! replaces it when a file has changed, for the connections that begin afterwards.

mod files;
mod names;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Stream;
use files::{authorities, identity, provider, stamp};
use names::{Leeway, Lenient};

pub use files::{Fault, Identity, Stamp};

/// The files of the end that clients connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFiles {
    /// What it shows.
    pub identity: Identity,
    /// Who must have signed the certificate that a client shows; without it clients show none.
    pub client_ca: Option<std::path::PathBuf>,
}

/// The files of the end that connects to a cluster's nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientFiles {
    /// Who must have signed the certificates of the nodes.
    pub ca: std::path::PathBuf,
    /// What it shows to nodes that ask.
    pub identity: Option<Identity>,
    /// Whether a node's certificate must be for the host that was dialled.
    pub verify_hostname: bool,
    /// The hosts of the contact points: where an address is dialled a certificate for one of their names does, too.
    pub names: Vec<String>,
}

/// A configuration and the state of the files that it was made of.
#[derive(Debug)]
pub struct Loaded<C> {
    config: Arc<C>,
    stamp: Stamp,
}

/// Files that make up a configuration of rustls.
pub trait Files: Sized {
    /// What they make up.
    type Config;

    /// The state that the files are in.
    fn stamp(&self) -> Stamp;

    /// Reads them.
    ///
    /// # Errors
    /// A [`Fault`] that names the file.
    fn load(&self) -> Result<Loaded<Self::Config>, Fault>;
}

/// One end of encrypted connections.
#[derive(Debug)]
pub struct End<F: Files> {
    files: F,
    loaded: ArcSwap<Loaded<F::Config>>,
}

/// The end that clients connect to.
pub type Server = End<ServerFiles>;

/// The end that connects to a cluster's nodes.
pub type Client = End<ClientFiles>;

impl<F: Files + PartialEq> PartialEq for End<F> {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl<F: Files + Eq> Eq for End<F> {}

impl<F: Files> End<F> {
    /// Reads the files.
    ///
    /// # Errors
    /// A [`Fault`] that names the file.
    pub fn load(files: F) -> Result<Self, Fault> {
        let loaded = ArcSwap::from_pointee(files.load()?);
        Ok(Self { files, loaded })
    }

    /// Which files.
    #[must_use]
    pub const fn files(&self) -> &F {
        &self.files
    }

    /// Reads the files again if they changed; whether they did. After an error all is as before, and
    /// the next call tries again: a file may become readable without a change to see.
    ///
    /// # Errors
    /// A [`Fault`] that names the file.
    pub fn reload(&self) -> Result<bool, Fault> {
        if self.loaded.load().stamp == self.files.stamp() {
            return Ok(false);
        }
        self.loaded.store(Arc::new(self.files.load()?));
        Ok(true)
    }
}

impl Server {
    /// Shakes hands with a client.
    ///
    /// # Errors
    /// If the client leaves, or does not agree; the error says why.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let config = Arc::clone(&self.loaded.load().config);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl Client {
    /// What its certificates make up now.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.loaded.load().config)
    }

    /// Shakes hands with the node that was dialled under this name or address.
    ///
    /// # Errors
    /// If the node is not who it should be, leaves, or does not agree; the error says why.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(self.config())
            .connect(name, stream)
            .await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl Files for ServerFiles {
    type Config = ServerConfig;

    fn stamp(&self) -> Stamp {
        stamp(
            self.identity
                .paths()
                .into_iter()
                .chain(self.client_ca.as_deref()),
        )
    }

    fn load(&self) -> Result<Loaded<ServerConfig>, Fault> {
        // Before the content: a file that is replaced meanwhile is read once more.
        let stamp = self.stamp();
        let (chain, key) = identity(&self.identity)?;
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Fault::Refused)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| Fault::of(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key);
        let config = config.map_err(|error| Fault::of(&self.identity.key, error))?;
        let config = Arc::new(config);
        Ok(Loaded { config, stamp })
    }
}

impl Files for ClientFiles {
    type Config = ClientConfig;

    fn stamp(&self) -> Stamp {
        let identity = self.identity.iter().flat_map(Identity::paths);
        stamp(identity.chain([&*self.ca]))
    }

    fn load(&self) -> Result<Loaded<ClientConfig>, Fault> {
        let stamp = self.stamp();
        let roots: Arc<RootCertStore> = Arc::new(authorities(&self.ca)?);
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Fault::Refused)?;
        let leeway = Leeway::of(self.verify_hostname, &self.names);
        let verifier = Lenient::new(roots, provider, leeway).map_err(|e| Fault::of(&self.ca, e))?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = identity(files)?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| Fault::of(&files.key, error))?
            }
        };
        let config = Arc::new(config);
        Ok(Loaded { config, stamp })
    }
}
