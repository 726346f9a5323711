//! Decides whether a host is reached through a proxy, by the variables of the environment that curl
//! and the SDKs know.
//!
//! A proxy is never used for this host, which it cannot reach and whose requests it should not see.
//! Nor is it used for link-local addresses, where instances and pods get their credentials.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;

use super::origin::Origin;

/// The variables with the proxy for http: the first that is set counts, here and in the next three.
pub const HTTP_PROXY: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
/// The proxy for https.
pub const HTTPS_PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
/// The proxy for both.
pub const ALL_PROXY: [&str; 2] = ["ALL_PROXY", "all_proxy"];
/// The hosts that are reached without a proxy.
pub const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A variable of the environment that cannot be used. Its value is not shown, since that of a proxy
/// may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct BadVariable {
    pub name: String,
    pub what: String,
}

/// A proxy that a request goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) at: Origin,
    pub(super) authorization: Option<HeaderValue>,
}

/// The proxies that the environment names.
#[derive(Debug)]
pub struct Proxies(Matcher);

impl Proxies {
    /// The proxies that these variables name.
    ///
    /// # Errors
    /// A variable is not the URL of a proxy with a host, or the proxy does not speak HTTP.
    pub fn new(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        // A blank variable counts as not set.
        let find = |names: [&'static str; 2]| {
            let set = |name| variable(name).map(|value| (name, value.trim().to_owned()));
            names.into_iter().filter_map(set).find(|(_, value)| !value.is_empty())
        };
        let proxy =
            |names| find(names).map_or(Ok(String::new()), |(name, value)| check(name, value));
        let matcher = Matcher::builder()
            .http(proxy(HTTP_PROXY)?)
            .https(proxy(HTTPS_PROXY)?)
            .all(proxy(ALL_PROXY)?)
            .no(find(NO_PROXY).map_or(String::new(), |(_, value)| value));
        Ok(Self(matcher.build()))
    }

    pub(super) fn proxy_of(&self, origin: &Origin) -> Option<Proxy> {
        if origin.socket.is_some() || is_near(&origin.host) {
            return None;
        }
        let proxy = self.0.intercept(&origin.uri())?;
        let at = Origin::of(proxy.uri()).expect("every proxy was looked at");
        Some(Proxy { at, authorization: proxy.basic_auth().cloned() })
    }
}

fn check(name: &str, value: String) -> Result<String, BadVariable> {
    let bad = |what: &str| Err(BadVariable { name: name.to_owned(), what: what.to_owned() });
    let with_scheme = if value.contains("://") { value } else { format!("http://{value}") };
    let Ok(uri) = with_scheme.parse::<Uri>() else {
        return bad("it is no URL of a proxy, e.g. http://proxy:3128");
    };
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return bad("a proxy is reached by http:// or https://, no other scheme is known"),
    }
    if Origin::of(&uri).is_none() {
        return bad("it names no host");
    }
    Ok(with_scheme)
}

/// Whether a host is this host itself, or on the same link.
fn is_near(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => {
            // EKS Pod Identity and IMDS of IPv6 have addresses that are unique-local:
            // fd00:ec2::/32.
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, BadVariable> {
        Proxies::new(&|name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn way(proxies: &Proxies, url: &str) -> Option<String> {
        let origin = Origin::of(&url.parse().expect("it is a URL")).expect("it has a host");
        proxies.proxy_of(&origin).map(|proxy| proxy.at.to_string())
    }

    #[test]
    fn a_host_goes_by_the_proxy_of_its_scheme_unless_it_is_excepted() {
        let both = proxies(&[
            ("HTTPS_PROXY", "http://p:3128"),
            ("http_proxy", "q"),
            ("NO_PROXY", "in.example, 10.0.0.0/8"),
        ]);
        let both = both.expect("both are proxies");
        assert_eq!(
            way(&both, "https://kinesis.us-east-1.amazonaws.com").as_deref(),
            Some("p:3128")
        );
        assert_eq!(way(&both, "http://elsewhere").as_deref(), Some("q:80"));
        assert_eq!(way(&both, "https://kinesis.in.example"), None);
        assert_eq!(way(&both, "https://10.1.2.3"), None);
    }

    #[test]
    fn neither_this_host_nor_its_link_is_reached_by_a_proxy() {
        let all = proxies(&[("ALL_PROXY", "http://u:p@p:1"), ("HTTP_PROXY", " ")])
            .expect("it is a proxy");
        for near in [
            "http://localhost:4566",
            "http://a.LOCALHOST",
            "http://127.9.9.9",
            "https://[::1]:1",
            "http://169.254.169.254",
            "http://169.254.170.23",
            "http://[fd00:ec2::23]",
        ] {
            assert_eq!(way(&all, near), None, "{near}");
        }
        assert_eq!(way(&all, "http://host").as_deref(), Some("p:1"));
    }

    #[test]
    fn a_proxy_that_cannot_be_one_is_refused_by_name_and_without_its_value() {
        for bad in [
            &[("HTTPS_PROXY", "socks5://secret:1")][..],
            &[("https_proxy", "http://sec ret")],
            &[("ALL_PROXY", "http://:80")],
        ] {
            let error = proxies(bad).expect_err("it is none").to_string();
            assert!(error.starts_with(bad[0].0) && !error.contains("sec"), "{error}");
        }
    }
}
