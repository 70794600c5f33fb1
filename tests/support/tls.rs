//! TLS before a server that has none.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::wait;

/// What does the work behind TLS.
#[derive(Clone, Debug)]
pub(crate) enum Upstream {
    /// `HOST:PORT`.
    Address(String),
    /// A socket of Unix.
    Socket(PathBuf),
}

/// The certificates of a PEM file.
pub(crate) fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(file).expect("certificates can be read");
    let read: Result<Vec<_>, _> = read.collect();
    read.expect("they are certificates")
}

/// A server with a certificate and its key in PEM files; with authorities, only for clients that they know.
pub(crate) fn config(certificate: &Path, key: &Path, clients_of: Option<&Path>) -> ServerConfig {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_file(key).expect("it is a key");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("there are versions");
    let builder = match clients_of {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut known = rustls::RootCertStore::empty();
            known.add_parsable_certificates(certificates(authorities));
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(known), provider);
            builder.with_client_cert_verifier(clients.build().expect("clients can be asked"))
        }
    };
    builder
        .with_single_cert(certificates(certificate), key)
        .expect("certificate and key fit")
}

/// Starts it on loopback, for as long as the test lives.
pub(crate) fn serve(config: ServerConfig, upstream: Upstream) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a port is free");
            let address = listener.local_addr().expect("it has an address");
            tell.send(address).expect("the test waits");
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(acceptor.clone(), client, upstream.clone()));
            }
        });
    });
    wait::within("an address", move || {
        address.recv().expect("the server begins")
    })
}

async fn connect(
    acceptor: TlsAcceptor,
    client: TcpStream,
    upstream: Upstream,
) -> std::io::Result<(u64, u64)> {
    let mut client = acceptor.accept(client).await?;
    match upstream {
        Upstream::Address(address) => {
            let mut server = TcpStream::connect(address).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        }
        Upstream::Socket(path) => {
            let mut server = UnixStream::connect(path).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        }
    }
}
