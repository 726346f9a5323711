//! Why a request stored nothing, in words for whoever has to act: a closed set, from which nothing
//! leaks of what was sent.
//!
//! A class says what the lanes do; a cause says what a person does; the causes of a blocked stream
//! are the reasons (`reason`). Which error has which cause stands in `dispatchd_aws::classify`.

use super::class::Class;
use super::reason::Reason;

/// Why nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The endpoint's name has no address.
    Lookup,
    /// Nobody listens there.
    ConnectionRefused,
    Unreachable,
    ConnectTimeout,
    /// A proxy makes no way to the endpoint.
    Proxy,
    TlsUnknownIssuer,
    /// A certificate that does not hold at this host's time.
    TlsExpired,
    TlsWrongName,
    Tls,
    ConnectionLost,
    /// Connected, but no reply in time.
    ReplyTimeout,
    /// 404, and not by Kinesis.
    NotFound,
    NotKinesis,
    /// 5xx, and not by Kinesis.
    Gateway,
    /// The service's own failure, or a code of its that is not known.
    Service,
    Throttled,
    /// What was sent is refused; the callers are told.
    Records,
    Blocked(Reason),
}

impl Cause {
    /// Every cause but those of a blocked stream, whose list is [`Reason::ALL`].
    const PASSING: [Cause; 17] = [
        Cause::Lookup,
        Cause::ConnectionRefused,
        Cause::Unreachable,
        Cause::ConnectTimeout,
        Cause::Proxy,
        Cause::TlsUnknownIssuer,
        Cause::TlsExpired,
        Cause::TlsWrongName,
        Cause::Tls,
        Cause::ConnectionLost,
        Cause::ReplyTimeout,
        Cause::NotFound,
        Cause::NotKinesis,
        Cause::Gateway,
        Cause::Service,
        Cause::Throttled,
        Cause::Records,
    ];

    /// Every cause, in the order of the table in `docs/operations.md`.
    pub fn all() -> impl Iterator<Item = Cause> {
        Self::PASSING.into_iter().chain(Reason::ALL.map(Cause::Blocked))
    }

    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// What it means, to be read after "the last attempt:".
    pub fn says(self) -> &'static str {
        self.row().1
    }

    /// What the operator does about it.
    pub fn advice(self) -> &'static str {
        self.row().2
    }

    /// Whether nothing helps but an operator.
    pub fn is_blocked(self) -> bool {
        matches!(self, Cause::Blocked(_))
    }

    /// Name, meaning, advice.
    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Cause::Lookup => (
                "lookup_failed",
                "the endpoint's name cannot be resolved",
                "correct the region or the endpoint, or see to DNS on this host (in AWS: that the VPC has DNS support)",
            ),
            Cause::ConnectionRefused => (
                "connection_refused",
                "the endpoint refuses connections",
                "see that something listens at the address in the reason, and correct the endpoint's port or the proxy if it is another",
            ),
            Cause::Unreachable => (
                "unreachable",
                "no way leads to the endpoint",
                "see to this host's network: interface, routes, firewall; IPv6 without a route is one cause",
            ),
            Cause::ConnectTimeout => (
                "connect_timeout",
                "the endpoint does not answer when it is connected to",
                "open the way to it: security group or firewall for port 443, a route (NAT or VPC endpoint), or HTTPS_PROXY where only a proxy leads out",
            ),
            Cause::Proxy => (
                "proxy_refused",
                "the proxy makes no way to the endpoint",
                "let the proxy pass the endpoint's host, correct the credentials in HTTPS_PROXY, or name the host in NO_PROXY",
            ),
            Cause::TlsUnknownIssuer => (
                "tls_unknown_issuer",
                "TLS: the certificate is signed by an unknown issuer",
                "if a proxy opens TLS here, give its CA in AWS_CA_BUNDLE; else install the system's CA certificates, or correct the endpoint",
            ),
            Cause::TlsExpired => (
                "tls_certificate_expired",
                "TLS: the certificate does not hold at this host's time",
                "see to this host's clock; if it is right, the certificate must be renewed",
            ),
            Cause::TlsWrongName => (
                "tls_wrong_name",
                "TLS: the certificate is another host's",
                "correct the endpoint's host name, or see where DNS or a proxy leads to",
            ),
            Cause::Tls => (
                "tls_failed",
                "TLS fails",
                "see that the endpoint speaks TLS there (an http endpoint needs an http URL), and what stands between",
            ),
            Cause::ConnectionLost => (
                "connection_lost",
                "the connection is lost before a reply",
                "see what closes connections between this host and the endpoint: proxy, load balancer, firewall; or whether it speaks HTTP there",
            ),
            Cause::ReplyTimeout => (
                "reply_timeout",
                "no reply comes in time",
                "see to the way to the endpoint (loss, a full link, a proxy that hangs); raise kinesis.attempt_timeout where it is only slow",
            ),
            Cause::NotFound => (
                "not_found",
                "what answers at the endpoint is not Kinesis, and answers 404",
                "correct the endpoint: Kinesis answers at the root of its own host, without a path",
            ),
            Cause::NotKinesis => (
                "not_kinesis",
                "what answers at the endpoint is not Kinesis",
                "see what answers at the endpoint, it does not speak as Kinesis does: a proxy, a firewall's page, another service? Correct the endpoint if so",
            ),
            Cause::Gateway => (
                "gateway_error",
                "what stands before the endpoint answers with an error of its own",
                "see to the proxy or load balancer in between, and to what it leads to",
            ),
            Cause::Service => (
                "service_error",
                "Kinesis fails",
                "wait: it passes by itself; if it stays, see AWS's Health Dashboard for the region, or the emulator's log",
            ),
            Cause::Throttled => (
                "throttled",
                "Kinesis throttles every record",
                "if it stays: add shards or use on-demand mode, spread the keys, or see who else writes to the stream",
            ),
            Cause::Records => (
                "records_refused",
                "Kinesis refuses what is sent",
                "see the callers' answers, which have its words",
            ),
            Cause::Blocked(reason) => (reason.as_str(), reason.says(), reason.advice()),
        }
    }
}

/// The cause that a class has where nothing else is known.
impl From<Class> for Cause {
    fn from(class: Class) -> Self {
        match class {
            Class::Throttled => Cause::Throttled,
            Class::Transient => Cause::Service,
            Class::Blocked(reason) => Cause::Blocked(reason),
            Class::Poison => Cause::Records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_name_of_its_own_and_says_what_to_do() {
        let all: Vec<_> = Cause::all().collect();
        for (index, cause) in all.iter().enumerate() {
            assert!(
                all[..index].iter().all(|earlier| earlier.as_str() != cause.as_str()),
                "{cause:?}"
            );
            assert!(!cause.says().is_empty() && !cause.advice().is_empty(), "{cause:?}");
            if let Cause::Blocked(reason) = cause {
                assert!(cause.says().contains(&format!("({})", reason.as_str())), "{cause:?}");
            }
        }
    }

    #[test]
    fn the_page_has_every_cause_in_order() {
        let page = include_str!("../../../../docs/operations.md");
        let rows =
            page.lines().skip_while(|line| *line != "| cause | what it means | to do |").skip(2);
        let rows: Vec<_> =
            rows.take_while(|line| line.starts_with("| `")).map(str::to_owned).collect();
        let row = |cause: Cause| {
            format!("| `{}` | {} | {} |", cause.as_str(), cause.says(), cause.advice())
        };
        assert_eq!(rows, Cause::all().map(row).collect::<Vec<_>>());
    }
}
