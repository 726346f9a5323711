//! Whom a loopback port serves. A page in a browser on the same host can send requests there, and
//! to its own name if it points that name at loopback (DNS rebinding); it cannot hide its `Origin`,
//! nor send a `Host` that is not the page's.

use std::net::IpAddr;

use super::problem::Problem;

/// Whether a loopback port serves a request: not one that a browser sent, nor one that was meant
/// for another host's name.
///
/// # Errors
/// What it is refused with.
pub fn admit(has_origin: bool, host: Option<&[u8]>) -> Result<(), Problem> {
    if has_origin {
        return Err(Problem::new(
            403,
            "a request with an Origin comes from a browser: it is not served",
        ));
    }
    match host {
        Some(host) if !is_loopback(host) => {
            Err(Problem::new(403, "Host is no name of loopback: use localhost, 127.0.0.1 or [::1]"))
        }
        _ => Ok(()),
    }
}

/// Whether a `Host` is `localhost` or an address of loopback, with or without a port.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_and_a_name_that_was_pointed_at_loopback_are_not_served() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:4567", "127.9.9.9", "[::1]", "[::1]:1"]
        {
            assert_eq!(admit(false, Some(host.as_bytes())), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]", "::1", "\u{e9}"]
        {
            let refused = admit(false, Some(host.as_bytes())).expect_err(host);
            assert_eq!(refused.status, 403, "{host}");
        }
        assert_eq!(
            admit(false, None),
            Ok(()),
            "HTTP/1.0 has no Host, and browsers do not speak it"
        );
        assert!(admit(true, Some(b"localhost")).is_err());
    }
}
