//! Signs PutRecords requests (Signature Version 4).
//!
//! The service refuses a signature that is five minutes off its own clock. If this host's clock is
//! wrong, the caller gives the time that `clock` tells. Never shows a secret.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

/// Why a request cannot be signed. It does not say with which credentials.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub(crate) struct NotSigned(String);

/// Adds the headers of the signature. It covers every header that is set by then: the service asks
/// that of `Host` and of its own headers.
///
/// # Errors
/// A header is not text, or the credentials cannot stand in one.
pub(super) fn sign_request(
    request: &mut Request<Full<Bytes>>,
    body: &[u8],
    credentials: Credentials,
    region: &str,
    time: SystemTime,
) -> Result<(), NotSigned> {
    let failed = |error: &dyn std::fmt::Display| NotSigned(error.to_string());
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kinesis")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?;
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)));
    let headers = headers.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    let url = request.uri().to_string();
    let signable =
        SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body));
    let signable = signable.map_err(|error| failed(&error))?;
    let (signed, _) =
        sign(signable, &parameters.into()).map_err(|error| failed(&error))?.into_parts();
    for header in signed.into_parts().0 {
        let mut value =
            hyper::header::HeaderValue::from_str(header.value()).map_err(|error| failed(&error))?;
        value.set_sensitive(header.sensitive());
        request.headers_mut().insert(header.name(), value);
    }
    Ok(())
}
