//! Which certificates TLS believes: those of the authorities that this host knows, or those of one
//! file alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The authorities whose certificates are believed.
#[derive(Debug)]
pub struct Roots(RootCertStore);

/// A file of certificates that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", .path.display())]
pub struct BadBundle {
    path: PathBuf,
    what: String,
}

impl Roots {
    /// The roots that this host knows.
    pub fn of_host() -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        // A host may have a few odd certificates among many. If it has none at all, connecting
        // fails with an unknown issuer.
        let (_, odd) = roots.add_parsable_certificates(found.certs);
        if roots.is_empty() || odd > 0 || !found.errors.is_empty() {
            let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
            tracing::warn!(
                usable = roots.len(),
                unusable = odd,
                errors = errors.join("; "),
                "not all certificates of this host's authorities can be used: TLS to whom they \
                 vouch for fails. Install ca-certificates, set SSL_CERT_FILE, or name a file of \
                 your own (AWS_CA_BUNDLE for AWS, ca_file for a target)"
            );
        }
        Self(roots)
    }

    /// The roots of a PEM file, and no others.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn of_file(path: &Path) -> Result<Self, BadBundle> {
        let bad = |what: String| BadBundle { path: path.to_owned(), what };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| bad(format!(": {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| bad(format!(": {error}")))?;
            roots.add(certificate).map_err(|error| bad(format!(": {error}")))?;
        }
        if roots.is_empty() {
            return Err(bad(" holds no certificate".to_owned()));
        }
        Ok(Self(roots))
    }

    /// The configuration of every TLS connection. It offers HTTP/1.1 and nothing else.
    pub(super) fn tls(self) -> Arc<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions of TLS that are safe")
            .with_root_certificates(self.0)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
