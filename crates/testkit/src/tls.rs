//! TLS as AWS's endpoints speak it, with a certificate that a daemon can be told to trust.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// HTTP/2 on offer, and first, as AWS has it.
pub const HTTP2_FIRST: &[&str] = &["h2", "http/1.1"];
/// Nothing on offer: HTTP/1.1.
pub const HTTP1: &[&str] = &[];

/// A self-signed certificate, in a file for those who are to trust it.
pub struct Certificate {
    file: NamedTempFile,
    tls: ServerConfig,
}

impl Certificate {
    /// For these names and addresses.
    pub fn of<const N: usize>(names: [&str; N]) -> Self {
        let made = rcgen::generate_simple_self_signed(names.map(str::to_owned))
            .expect("the names can be certified");
        let file = NamedTempFile::new().expect("a temporary file");
        let der = BASE64_STANDARD.encode(made.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        std::fs::write(file.path(), pem).expect("it is writable");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|tls| tls.with_no_client_auth().with_single_cert(vec![made.cert.into()], key))
            .expect("the certificate is whole");
        Self { file, tls }
    }

    /// In PEM.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A server's side that offers these protocols by ALPN.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut tls = self.tls.clone();
        tls.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(tls))
    }
}
