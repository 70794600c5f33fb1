//! TLS to an engine: its authority, our certificate, and the name that it has to show (IMG-3).

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Error;

/// How TLS is spoken with one engine.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// What the files in a directory make of it: `ca.pem`, and `cert.pem` with `key.pem`.
    pub(super) fn new(address: &str, certificates: &Path, verify: bool) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(address, &error))?;
        let builder = if verify {
            builder.with_root_certificates(authorities(address, certificates)?)
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        };
        let config = match identity(certificates)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable(&certificates.join("cert.pem").display(), &error))?,
            None => builder.with_no_client_auth(),
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self {
            name: ServerName::try_from(host).map_err(|error| unusable(address, &error))?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Speaks TLS over a connection.
    pub(super) async fn connect(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), socket).await
    }
}

fn unusable(what: &(impl std::fmt::Display + ?Sized), error: &dyn std::fmt::Display) -> Error {
    Error::Settings {
        what: format!("TLS with {what}"),
        reason: error.to_string(),
    }
}

/// Who may vouch for the engine: `ca.pem`, or, where there is none, those that the system trusts.
fn authorities(address: &str, certificates: &Path) -> Result<RootCertStore, Error> {
    let mut authorities = RootCertStore::empty();
    let path = certificates.join("ca.pem");
    match read(&path)? {
        Some(own) => {
            for certificate in own {
                authorities
                    .add(certificate)
                    .map_err(|error| unusable(&path.display(), &error))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs().certs;
            authorities.add_parsable_certificates(system);
        }
    }
    if authorities.is_empty() {
        let reason = format!("there are no certificates in {}", path.display());
        return Err(unusable(address, &reason));
    }
    Ok(authorities)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Our own certificate, if there is one. One of both files alone is a mistake, as it is for Docker.
fn identity(certificates: &Path) -> Result<Option<Identity>, Error> {
    let (chain, key) = (certificates.join("cert.pem"), certificates.join("key.pem"));
    let chain_there = read(&chain)?;
    match (chain_there, key.is_file()) {
        (None, false) => Ok(None),
        (Some(_), false) => Err(unusable(
            &chain.display(),
            &format!("its key {} is missing", key.display()),
        )),
        (None, true) => Err(unusable(
            &key.display(),
            &format!("its certificate {} is missing", chain.display()),
        )),
        (Some(chain), true) => PrivateKeyDer::from_pem_file(&key)
            .map(|key| Some((chain, key)))
            .map_err(|error| unusable(&key.display(), &error)),
    }
}

/// Certificates of a file; nothing if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, Error> {
    let certificates =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) => Ok(Some(certificates)),
        Err(pem::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&path.display(), &error)),
    }
}

/// Believes whoever answers: what `DOCKER_TLS` without `DOCKER_TLS_VERIFY`, or a context with `SkipTLSVerify`, asks for.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
