//! Trust in an authority, with some leeway as to the host that its certificates are for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Checks all but the name, and that as far as the leeway says.
#[derive(Debug)]
pub(super) struct Lenient {
    strict: Arc<WebPkiServerVerifier>,
    leeway: Leeway,
}

/// Which certificates do that are not for the host that was dialled.
#[derive(Debug)]
pub(super) enum Leeway {
    /// Any: `verify_hostname: false`.
    Any,
    /// Where an address was dialled, which a node told: those for one of these DNS names.
    Names {
        names: Vec<ServerName<'static>>,
        /// Contact points themselves: each must show what it was called.
        addresses: Vec<ServerName<'static>>,
    },
}

impl Lenient {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        leeway: Leeway,
    ) -> Result<Self, VerifierBuilderError> {
        let strict = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self { strict, leeway })
    }
}

impl Leeway {
    /// What `verify_hostname` and the contact points' hosts mean. One that is an address gives no leeway.
    pub(super) fn of(verify_hostname: bool, hosts: &[String]) -> Self {
        if !verify_hostname {
            return Self::Any;
        }
        let hosts = hosts.iter().cloned().filter_map(|it| it.try_into().ok());
        let (addresses, names) = hosts.partition(is_address);
        Self::Names { names, addresses }
    }

    /// Whether another name does in place of the one that was dialled.
    fn admits(&self, dialled: &ServerName<'_>, does: impl Fn(&ServerName<'_>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Names { names, addresses } => {
                let was_told = is_address(dialled) && !addresses.contains(dialled);
                was_told && names.iter().any(does)
            }
        }
    }
}

const fn is_address(name: &ServerName<'_>) -> bool {
    matches!(name, ServerName::IpAddress(_))
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |name: &ServerName<'_>| {
            let strict = &self.strict;
            strict.verify_server_cert(certificate, intermediates, name, ocsp, now)
        };
        match verify(name) {
            // The chain is checked before the name: it is sound.
            Err(Error::InvalidCertificate(
                misnamed @ (CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }),
            )) => match self.leeway.admits(name, |it| verify(it).is_ok()) {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(Error::InvalidCertificate(misnamed)),
            },
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
