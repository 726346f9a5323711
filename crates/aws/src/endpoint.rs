//! Where requests go: the endpoint that the SDK's rules lead to, and whether it is AWS's own.
//!
//! The endpoint is found by building a request and intercepting it before it is signed or sent. So
//! no setting can change it between the look and the request, and nothing is sent to find it.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::config::http::HttpRequest;
use dispatchd_core::model::StreamId;
use dispatchd_transport::Origin;
use hyper::Uri;
use hyper::header::HeaderValue;

use super::connection::named;
use super::error::{causes, chain};

/// What the names of AWS's hosts end in, in every partition (the SDK's partitions, 2026-09).
const AWS_SUFFIXES: [&str; 10] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".csp.hci.ic.gov",
    ".cloud.adc-e.uk",
];

/// The URL that PutRecords requests are posted to, in the forms in which a request needs it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) origin: Origin,
    pub(super) uri: Uri,
    pub(super) host: HeaderValue,
    /// The URL as it was given, without a path that says nothing.
    shown: String,
}

/// A request that was stopped before it was signed. It names the URL that it would have gone to.
#[derive(Debug, thiserror::Error)]
#[error("stopped before it was sent to {endpoint}")]
pub(super) struct Intercepted {
    endpoint: String,
}

impl Endpoint {
    /// The endpoint at this URL; `None` if that is not an HTTP URL with a host.
    pub(super) fn at(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let origin = Origin::of(&uri)?;
        let host = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
        let shown = url.trim_end_matches('/').to_owned();
        Some(Self { origin, uri, host, shown })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.shown
    }
}

/// The URL that PutRecords requests for this stream go to, by the SDK's rules. Sends nothing and
/// needs no credentials.
///
/// # Errors
/// Why there is no such URL, in the SDK's words.
pub(super) async fn resolve(client: &Client, stream: &StreamId) -> Result<String, String> {
    let (name, arn) = named(stream);
    let call = client
        .put_records()
        .set_stream_name(name)
        .set_stream_arn(arn)
        .set_records(Some(Vec::new()));
    let unsigned = aws_sdk_kinesis::Config::builder().credentials_provider(nobody());
    let sent = call.customize().config_override(unsigned).map_request(intercept).send().await;
    let error = sent.expect_err("the request is intercepted");
    Intercepted::endpoint(&error).ok_or_else(|| chain(&error))
}

impl Intercepted {
    /// The URL that the request would have gone to; `None` if the call failed for another reason.
    pub(super) fn endpoint(error: &(dyn Error + 'static)) -> Option<String> {
        causes(error)
            .find_map(|cause| cause.downcast_ref::<Self>())
            .map(|intercepted| intercepted.endpoint.clone())
    }
}

/// Lets no request pass.
pub(super) fn intercept(request: HttpRequest) -> Result<HttpRequest, Intercepted> {
    Err(Intercepted { endpoint: request.uri().to_owned() })
}

/// Lets requests pass that go to Kinesis' own endpoints, and no others.
pub(super) fn intercept_unless_aws(request: HttpRequest) -> Result<HttpRequest, Intercepted> {
    if is_kinesis_of_aws(request.uri()) { Ok(request) } else { intercept(request) }
}

/// Credentials for requests that are intercepted before they are signed.
pub(super) fn nobody() -> Credentials {
    Credentials::new("nobody", "nobody", None, None, "never sent")
}

/// Whether the host of a URL is one of AWS's, whichever service it belongs to.
pub fn is_on_aws(url: &str) -> bool {
    aws_labels(url).is_some()
}

/// Whether a URL is one of AWS's own endpoints of Kinesis: `kinesis`, its variants (`kinesis-fips`,
/// `data-kinesis`) or a VPC endpoint, over https. A load balancer, or any other host that somebody
/// runs on AWS, is not one.
fn is_kinesis_of_aws(url: &str) -> bool {
    let Some(labels) = aws_labels(url) else { return false };
    let mut labels = labels.rsplit('.').peekable();
    labels.next_if_eq(&"vpce");
    let (_region, service) = (labels.next(), labels.next());
    url.starts_with("https://")
        && service.is_some_and(|service| service.split('-').any(|part| part == "kinesis"))
}

/// The labels in front of the suffix, if the host of this URL is one of AWS's.
fn aws_labels(url: &str) -> Option<String> {
    let host = url.parse::<Uri>().ok()?.host()?.to_ascii_lowercase();
    AWS_SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix)).map(str::to_owned)
}

/// Whether a URL leads to this host.
pub fn is_loopback_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|url| url.host().is_some_and(is_loopback))
}

/// Whether requests to a URL come to this address of loopback.
pub fn leads_to(url: &str, address: SocketAddr) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let leads_to_ip = |host: &str| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|ip: IpAddr| ip == address.ip())
    };
    port == address.port() && url.host().is_some_and(leads_to_ip)
}

/// Whether requests to a URL can be read on the network: plain HTTP, and not to this host.
pub fn is_plain_off_host(url: &str) -> bool {
    url.parse::<Uri>()
        .is_ok_and(|url| url.scheme_str() == Some("http") && !url.host().is_some_and(is_loopback))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endpoints_of_aws_are_sent_a_dry_run() {
        for url in [
            "https://kinesis.us-east-1.amazonaws.com/",
            "https://KINESIS.us-east-1.amazonaws.com:443/",
            "https://kinesis-fips.us-gov-west-1.amazonaws.com/",
            "https://kinesis.cn-north-1.amazonaws.com.cn/",
            "https://kinesis.eu-west-1.api.aws/",
            "https://123456789012.data-kinesis.eu-west-1.amazonaws.com/",
            "https://kinesis-pod1-fips.us-east-1.api.aws/",
            "https://vpce-0a1b-2c3d.kinesis.eu-central-1.vpce.amazonaws.com/",
            "https://kinesis.us-iso-east-1.c2s.ic.gov/",
        ] {
            assert!(is_kinesis_of_aws(url) && is_on_aws(url), "{url}");
        }
        for url in [
            "http://kinesis.us-east-1.amazonaws.com/",
            "http://127.0.0.1:4567/",
            "https://localhost:4566/",
            "https://kinesis.us-east-1.localhost.localstack.cloud:4566/",
            "https://kinesis.us-east-1.amazonaws.com.example/",
            "https://kinesis.us-east-1.notamazonaws.com/",
            "https://amazonaws.com/",
            "https://kinesis-123456.us-east-1.elb.amazonaws.com/",
            "https://kinesis-0a1b2c.elb.us-east-1.amazonaws.com/",
            "https://ec2-1-2-3-4.compute-1.amazonaws.com/",
            "https://firehose.us-east-1.amazonaws.com/",
            "https://kinesisvideo.us-east-1.amazonaws.com/",
        ] {
            assert!(!is_kinesis_of_aws(url), "{url}");
        }
    }

    #[test]
    fn loopback_is_told_from_a_name_that_looks_like_it() {
        for url in
            ["http://localhost:1", "http://127.0.0.1", "https://[::1]:4567", "http://127.9.9.9:1"]
        {
            assert!(is_loopback_url(url), "{url}");
        }
        for url in [
            "https://kinesis.eu-central-1.amazonaws.com",
            "http://localhost.a.example",
            "http://0.0.0.0:1",
            "",
        ] {
            assert!(!is_loopback_url(url), "{url}");
        }
    }

    #[test]
    fn an_address_of_our_own_is_known_by_each_of_its_names() {
        let ours = "127.0.0.1:4568".parse().expect("an address");
        for url in ["http://127.0.0.1:4568", "http://localhost:4568/", "https://LOCALHOST:4568/a"] {
            assert!(leads_to(url, ours), "{url}");
        }
        for url in [
            "http://127.0.0.1:4567",
            "http://127.0.0.2:4568",
            "http://[::1]:4568",
            "https://kinesis.us-east-1.amazonaws.com:4568",
            "http://localhost",
            "",
        ] {
            assert!(!leads_to(url, ours), "{url}");
        }
        assert!(leads_to("http://[::1]", "[::1]:80".parse().expect("an address")));
    }

    #[test]
    fn plain_http_stays_on_the_host() {
        for url in [
            "http://localhost:4567",
            "http://127.0.0.1",
            "http://127.9.9.9:1",
            "http://[::1]:4567/",
            "https://a.example",
        ] {
            assert!(!is_plain_off_host(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://localhost.a.example",
            "http://10.0.0.1:4567",
            "http://[2001:db8::1]",
        ] {
            assert!(is_plain_off_host(url), "{url}");
        }
    }
}
