//! Says who may ask the embedded stream: programs of this machine, and pages that this machine
//! serves itself.
//!
//! A browser sends any page's requests to loopback. Their `Origin` tells the page; a name that
//! leads here by DNS (rebinding) stands in their `Host`, or in HTTP/2's `:authority`. What is asked
//! is never read.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Passes on what comes from this machine, and refuses the rest, preflights included.
pub(super) async fn refuse_foreign(request: Request, next: Next) -> Response {
    let foreign = foreign(request.uri(), request.headers());
    match foreign {
        None => next.run(request).await,
        Some(what) => {
            let told = format!(
                "{{\"__type\":\"AccessDeniedException\",\"message\":\"the embedded stream is for \
                 programs of this machine: {what} names another host\"}}"
            );
            (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], told)
                .into_response()
        }
    }
}

/// The header that names another host; `None` if none does. A program sends no `Origin`, and always
/// a `Host` or, over HTTP/2, an authority, which stands in the request's URI.
fn foreign(uri: &Uri, headers: &HeaderMap) -> Option<HeaderName> {
    let all = |name: HeaderName, is_ours: fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(is_ours))
    };
    let is_own_page = |origin: &str| {
        origin.parse::<Uri>().is_ok_and(|page| page.authority().is_some_and(is_loopback))
    };
    let is_own_host = |host: &str| host.parse::<Authority>().is_ok_and(|host| is_loopback(&host));
    let names_a_host = headers.contains_key(header::HOST) || uri.authority().is_some();
    if !names_a_host || !all(header::HOST, is_own_host) || !uri.authority().is_none_or(is_loopback)
    {
        Some(header::HOST)
    } else if !all(header::ORIGIN, is_own_page) {
        Some(header::ORIGIN)
    } else {
        None
    }
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_by_name_and_by_address_and_nothing_else_is() {
        let refused = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            if let Some(origin) = origin {
                headers.append(header::ORIGIN, origin.parse().expect("a header"));
            }
            foreign(&Uri::from_static("/"), &headers)
        };
        for host in ["127.0.0.1:4567", "localhost:4567", "LOCALHOST", "[::1]:4567", "127.0.0.2"] {
            assert_eq!(refused(host, None), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "",
            "a b",
        ] {
            assert_eq!(refused(host, None), Some(header::HOST), "{host}");
        }
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000"] {
            assert_eq!(refused("localhost:4567", Some(origin)), None, "{origin}");
        }
        for origin in
            ["https://evil.example", "null", "http://localhost.evil.example", "file://", ""]
        {
            assert_eq!(refused("localhost:4567", Some(origin)), Some(header::ORIGIN), "{origin}");
        }
        assert_eq!(foreign(&Uri::from_static("/"), &HeaderMap::new()), Some(header::HOST));
        // HTTP/2 has no `Host`.
        let over_http2 = |uri| foreign(&Uri::from_static(uri), &HeaderMap::new());
        assert_eq!(over_http2("http://127.0.0.1:4567/"), None);
        assert_eq!(over_http2("http://evil.example/"), Some(header::HOST));
    }
}
