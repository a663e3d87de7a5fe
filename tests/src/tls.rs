//! A site over TLS, with a certificate of its own making.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertifiedKey, PublicKeyData as _, generate_simple_self_signed};
use ring::digest::{SHA256, digest};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// An HTTPS server on a free port of this machine, for `site.example.com`. It stops when
/// dropped.
#[derive(Debug)]
pub struct TlsSite {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The digest of its certificate's key, as a browser is told whom to believe.
    pub key_digest: String,
    task: JoinHandle<()>,
}

impl TlsSite {
    /// Serves a router.
    ///
    /// # Panics
    /// Where this machine has no free port, or no certificate can be made.
    pub async fn serve(router: Router) -> Self {
        let names = vec!["site.example.com".to_owned()];
        let made = generate_simple_self_signed(names).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        let spki = signing_key.subject_public_key_info();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![cert.der().clone()], key.into());
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a key of its certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let service = TowerToHyperService::new(router);
                        let http = hyper::server::conn::http1::Builder::new();
                        let served = http.serve_connection(TokioIo::new(stream), service);
                        // A browser closes as it likes.
                        let _ = served.await;
                    }
                });
            }
        });
        Self {
            addr,
            key_digest: STANDARD.encode(digest(&SHA256, &spki)),
            task,
        }
    }

    /// The address of a path of it, which starts with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://site.example.com:{}{path}", self.addr.port())
    }
}

impl Drop for TlsSite {
    fn drop(&mut self) {
        self.task.abort();
    }
}
