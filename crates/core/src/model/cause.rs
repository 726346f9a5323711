//! Why a request stored nothing, in words for the person who has to act. A closed set: nothing of
//! what was sent can leak through it.
//!
//! A class says what the lanes do, a cause what a person does. The causes of a blocked stream are
//! the reasons, in `reason`. `dispatchd_aws::classify` decides which error has which cause.

use super::class::Class;
use super::reason::Reason;

/// Makes the enum of the causes, the list of all of them, and their words from one table, so that
/// none can be left out of any. The last cause has a value of its own for each reason of a block.
macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident = $name:literal, $says:literal, $advice:literal;)+) => {
        /// Why nothing was stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Cause {
            $($(#[$doc])* $cause,)+
            /// The stream is blocked: nothing can be written until an operator acts.
            Blocked(Reason),
        }

        impl Cause {
            const UNBLOCKED: &[Cause] = &[$(Cause::$cause),+];

            /// Name, meaning, advice.
            fn row(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Cause::$cause => ($name, $says, $advice),)+
                    Cause::Blocked(reason) => (reason.as_str(), reason.says(), reason.advice()),
                }
            }
        }
    };
}

causes! {
    /// The endpoint's name has no address.
    Lookup = "lookup_failed",
        "the endpoint's name cannot be resolved",
        "correct the region or the endpoint, or see to DNS on this host (in AWS: that the VPC \
         has DNS support)";
    /// Nobody listens at the endpoint.
    ConnectionRefused = "connection_refused",
        "the endpoint refuses connections",
        "see that something listens at the address in the reason, and correct the endpoint's \
         port or the proxy if it is another";
    /// No route leads to the endpoint.
    Unreachable = "unreachable",
        "no way leads to the endpoint",
        "see to this host's network: interface, routes, firewall; IPv6 without a route is one \
         cause";
    /// The endpoint does not answer a connection.
    ConnectTimeout = "connect_timeout",
        "the endpoint does not answer when it is connected to",
        "open the way to it: security group or firewall for port 443, a route (NAT or VPC \
         endpoint), or HTTPS_PROXY where only a proxy leads out";
    /// A proxy does not let the request through.
    Proxy = "proxy_refused",
        "the proxy makes no way to the endpoint",
        "let the proxy pass the endpoint's host, correct the credentials in HTTPS_PROXY, or name \
         the host in NO_PROXY";
    /// Nobody whom this host trusts has signed the certificate.
    TlsUnknownIssuer = "tls_unknown_issuer",
        "TLS: the certificate is signed by an unknown issuer",
        "if a proxy opens TLS here, give its CA in AWS_CA_BUNDLE; else install the system's CA \
         certificates, or correct the endpoint";
    /// The certificate is not valid at this host's time.
    TlsExpired = "tls_certificate_expired",
        "TLS: the certificate does not hold at this host's time",
        "see to this host's clock; if it is right, the certificate must be renewed";
    /// The certificate is for another host.
    TlsWrongName = "tls_wrong_name",
        "TLS: the certificate is another host's",
        "correct the endpoint's host name, or see where DNS or a proxy leads to";
    /// TLS failed for another reason.
    Tls = "tls_failed",
        "TLS fails",
        "see that the endpoint speaks TLS there (an http endpoint needs an http URL), and what \
         stands between";
    /// The connection broke before a reply.
    ConnectionLost = "connection_lost",
        "the connection is lost before a reply",
        "see what closes connections between this host and the endpoint: proxy, load balancer, \
         firewall; or whether it speaks HTTP there";
    /// Connected, but no reply came in time.
    ReplyTimeout = "reply_timeout",
        "no reply comes in time",
        "see to the way to the endpoint (loss, a full link, a proxy that hangs); raise \
         kinesis.attempt_timeout where it is only slow";
    /// A 404 that is not Kinesis' own.
    NotFound = "not_found",
        "what answers at the endpoint is not Kinesis, and answers 404",
        "correct the endpoint: Kinesis answers at the root of its own host, without a path";
    /// A reply that is not in Kinesis' form.
    NotKinesis = "not_kinesis",
        "what answers at the endpoint is not Kinesis",
        "see what answers at the endpoint, it does not speak as Kinesis does: a proxy, a \
         firewall's page, another service? Correct the endpoint if so";
    /// A 5xx that is not Kinesis' own.
    Gateway = "gateway_error",
        "what stands before the endpoint answers with an error of its own",
        "see to the proxy or load balancer in between, and to what it leads to";
    /// The service failed, or answered with a code that is not known.
    Service = "service_error",
        "Kinesis fails",
        "wait: it passes by itself; if it stays, see AWS's Health Dashboard for the region, or \
         the emulator's log";
    /// The service throttled every record.
    Throttled = "throttled",
        "Kinesis throttles every record",
        "if it stays: add shards or use on-demand mode, spread the keys, or see who else writes \
         to the stream";
    /// What was sent is refused; the callers are told.
    Records = "records_refused",
        "Kinesis refuses what is sent",
        "see the callers' answers, which have its words";
}

impl Cause {
    /// Every cause, in the order of the table in `docs/operations.md`.
    pub fn all() -> impl Iterator<Item = Cause> {
        Self::UNBLOCKED.iter().copied().chain(Reason::ALL.map(Cause::Blocked))
    }

    /// The name, as status and log have it.
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

    /// Whether only an operator can help.
    pub fn is_blocked(self) -> bool {
        matches!(self, Cause::Blocked(_))
    }
}

/// The cause of a class of errors, where nothing else is known.
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
