//! Which certificates TLS believes: those of the authorities that this host knows, or of
//! `AWS_CA_BUNDLE` alone, as with AWS's own tools.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::proxy::BadVariable;

const BUNDLE: &str = "AWS_CA_BUNDLE";

/// The configuration of every TLS connection. It offers HTTP/1.1 and nothing else.
///
/// # Errors
/// The bundle cannot be read, or has no certificate.
pub(super) fn tls(
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Arc<ClientConfig>, BadVariable> {
    let bundle = variable(BUNDLE).filter(|path| !path.trim().is_empty());
    let roots = bundle.map_or_else(|| Ok(known_to_the_host()), |path| bundled(path.trim()))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions of TLS that are safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn known_to_the_host() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A host may have a few odd certificates among many. If it has none at all, connecting fails
    // with an unknown issuer.
    let (_, odd) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() || odd > 0 || !found.errors.is_empty() {
        let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        tracing::warn!(
            usable = roots.len(),
            unusable = odd,
            errors,
            "not all certificates of this host's authorities can be used: TLS to whom they vouch \
             for fails. Install ca-certificates, or set AWS_CA_BUNDLE or SSL_CERT_FILE"
        );
    }
    roots
}

fn bundled(path: &str) -> Result<RootCertStore, BadVariable> {
    let bad = |what: String| BadVariable { name: BUNDLE.to_owned(), what };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| bad(format!("{path}: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(format!("{path}: {error}")))?;
        roots.add(certificate).map_err(|error| bad(format!("{path}: {error}")))?;
    }
    if roots.is_empty() { Err(bad(format!("{path} holds no certificate"))) } else { Ok(roots) }
}
