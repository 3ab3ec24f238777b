//! Certificates and keys out of PEM files.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// A certificate and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The certificate, and behind it those that lead to the authority.
    pub cert: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

impl Identity {
    pub(super) fn paths(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// One of them.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// All of them together.
    #[error("{0}")]
    Refused(rustls::Error),
}

impl Fault {
    pub(super) fn of(path: &Path, why: impl Display) -> Self {
        Self::File {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// When files were last written, and how long they were; `None` for one that cannot be seen.
pub type Stamp = Vec<Option<(SystemTime, u64)>>;

pub(super) fn stamp<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Stamp {
    let look = |path: &Path| {
        let seen = fs::metadata(path).ok()?;
        Some((seen.modified().ok()?, seen.len()))
    };
    paths.into_iter().map(look).collect()
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(Fault::of(path, "no certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(Fault::of(path, error)),
    }
}

/// The authorities that are trusted.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| Fault::of(path, error))?;
    }
    Ok(roots)
}

/// A certificate chain and its key.
pub(super) fn identity(
    files: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
    let chain = certificates(&files.cert)?;
    let bytes = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes);
    Ok((chain, key.map_err(|error| Fault::of(&files.key, error))?))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let size = fs::metadata(path).map_err(|error| Fault::of(path, error))?;
    if BYTES_MAX < size.len() {
        return Err(Fault::of(path, "longer than 1 MiB: no certificate file"));
    }
    fs::read(path).map_err(|error| Fault::of(path, error))
}
