//! Where requests will go: the endpoint by the SDK's rules, without the network, and then the
//! addresses of its name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use dispatchd_aws::{ConnectError, Connection, Kinesis};
use hyper::Uri;
use tokio::time::timeout;

use super::finding::Finding;
use crate::config::Config;

/// How many addresses are printed; an endpoint of AWS's has fewer.
const ADDRESSES_SHOWN_MAX: usize = 8;

/// What `run` would send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The stream that `run --local` starts.
    Embedded,
    At {
        endpoint: String,
        region: String,
    },
    /// No region is named, and the instance's metadata service may know one.
    AskedAtStart,
}

impl Target {
    /// Where requests go, if that is known before the start.
    pub(super) fn url(&self) -> Option<&str> {
        match self {
            Self::At { endpoint, .. } => Some(endpoint),
            Self::Embedded | Self::AskedAtStart => None,
        }
    }
}

/// Finds the target without the network, in the way that `run` does.
///
/// # Errors
/// If `run` would not start.
pub(crate) async fn target(config: &Config) -> Result<Target, ConnectError> {
    if config.local.is_some() {
        return Ok(Target::Embedded);
    }
    let connection = config.connection(None);
    let offline = Connection { sdk_env: connection.sdk_env.clone().offline(), ..connection };
    match Kinesis::connect(offline).await {
        Ok(kinesis) => Ok(Target::At {
            endpoint: kinesis.endpoint().to_owned(),
            region: kinesis.region().to_owned(),
        }),
        Err(ConnectError::NoRegion) if config.sdk_env.may_ask_metadata() => {
            Ok(Target::AskedAtStart)
        }
        Err(error) => Err(error),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded stream"),
            Self::At { endpoint, region } => write!(f, "{endpoint}, region {region}"),
            Self::AskedAtStart => f.write_str(
                "not known, no region is named: the instance's metadata service is asked for one \
                 at the start",
            ),
        }
    }
}

/// Looks up the endpoint's addresses with this host's resolver, and says whether they are this
/// network's own.
pub(super) async fn addresses(endpoint: &str, within: Duration) -> Finding {
    const NAME: &str = "addresses";
    const FIX: &str = "let this host's resolver know the name (a VPC endpoint: its private DNS); \
                       where a proxy is used, that resolves it";
    let Some((host, port)) = endpoint.parse::<Uri>().ok().and_then(|url| host_and_port(&url))
    else {
        return Finding::warn(NAME, format!("{endpoint} has no host"), "correct the endpoint");
    };
    let found = match timeout(within, tokio::net::lookup_host((&*host, port))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Finding::warn(NAME, format!("{host} has none: {error}"), FIX),
        Err(_) => {
            return Finding::warn(
                NAME,
                format!("{host}: the resolver did not answer within {within:?}"),
                FIX,
            );
        }
    };
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Finding::warn(NAME, format!("{host} has none"), FIX);
    }
    Finding::ok(NAME, format!("{host}: {}", told(&addresses)))
}

fn host_and_port(url: &Uri) -> Option<(String, u16)> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    Some((host, port))
}

fn told(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> =
        addresses.iter().take(ADDRESSES_SHOWN_MAX).map(IpAddr::to_string).collect();
    let more = addresses.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let private = addresses.iter().filter(|address| is_private(address)).count();
    let whose = match private {
        0 => "public",
        _ if addresses.iter().all(is_loopback) => "this host",
        _ if private == addresses.len() => "private: a VPC endpoint, or a server in this network",
        _ => "some private, some public",
    };
    format!("{}{more} ({whose})", shown.join(", "))
}

fn is_loopback(address: &IpAddr) -> bool {
    address.is_loopback()
}

/// Whether an address is not routed on the internet.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b); // RFC 6598; VPCs use it too
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => {
            *v6 == Ipv6Addr::LOCALHOST || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_whose_they_are() {
        for (addresses, said) in [
            (
                "10.0.1.5 10.0.2.9",
                "10.0.1.5, 10.0.2.9 (private: a VPC endpoint, or a server in this network)",
            ),
            ("100.64.3.2", "100.64.3.2 (private: a VPC endpoint, or a server in this network)"),
            ("fd00::1", "fd00::1 (private: a VPC endpoint, or a server in this network)"),
            ("3.5.7.9 2600:1f18::1", "3.5.7.9, 2600:1f18::1 (public)"),
            ("100.128.3.2", "100.128.3.2 (public)"),
            ("10.0.1.5 3.5.7.9", "10.0.1.5, 3.5.7.9 (some private, some public)"),
            ("127.0.0.1 ::1", "127.0.0.1, ::1 (this host)"),
            (
                "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9",
                "1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4, 1.1.1.5, 1.1.1.6, 1.1.1.7, 1.1.1.8 and 1 \
                 more (public)",
            ),
        ] {
            let addresses: Vec<IpAddr> =
                addresses.split(' ').map(|text| text.parse().expect("an address")).collect();
            assert_eq!(told(&addresses), said);
        }
    }

    #[test]
    fn the_port_is_the_schemes_unless_it_is_said() {
        for (url, host, port) in [
            ("https://kinesis.us-east-1.amazonaws.com", "kinesis.us-east-1.amazonaws.com", 443),
            ("http://[::1]:4567", "::1", 4567),
            ("http://localhost", "localhost", 80),
        ] {
            assert_eq!(host_and_port(&url.parse().expect("a URL")), Some((host.to_owned(), port)));
        }
    }
}
