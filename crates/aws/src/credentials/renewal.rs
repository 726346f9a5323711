//! Decides which credentials are used, and when their source is asked for others. Pure: both clocks
//! are arguments.
//!
//! The source is never asked again within a second, unless an operator wants it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::config::Credentials;

/// How long before credentials expire new ones are asked for. The old ones serve until then.
const BEFORE_EXPIRY: Duration = Duration::from_secs(10);
/// The least time between two questions to the source: callers that waited for the first one have
/// its answer.
const AGAIN: Duration = Duration::from_secs(1);
/// The most that [`AGAIN`] is doubled to while the service refuses what the source gives. It is
/// half of the longest wait of a blocked lane, so that each attempt of a lane finds the source
/// asked again.
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// Credentials that were not refused for so long have served: the doubling begins anew.
const SERVED: Duration = Duration::from_secs(60);

/// What is known of the credentials and of their source.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    held: Option<Held>,
    /// Why the source gave none when it was asked last; `None` if it gave some.
    failed: Option<Arc<CredentialsError>>,
    not_before: Option<Instant>,
    /// Whether the source must read everything again: what it has read is wrong, or may be.
    anew: bool,
    /// How many times in a row the source gave credentials that were refused.
    refusals: u32,
}

#[derive(Debug)]
struct Held {
    credentials: Credentials,
    since: Instant,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// An operator wants new ones; these go on serving if the source has none.
    Old,
    /// The service refused them.
    Refused,
}

/// What to do for a request that needs credentials.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Use(Credentials),
    /// The source was asked a moment ago and gave none.
    Fail(Arc<CredentialsError>),
    Load {
        /// Whether the source is to read everything again.
        anew: bool,
    },
}

impl Renewal {
    pub(super) fn held(&self) -> Option<&Credentials> {
        self.held.as_ref().map(|held| &held.credentials)
    }

    pub(super) fn ask(&self, now: Instant, wall: SystemTime) -> Ask {
        let waits = self.not_before.is_some_and(|at| now < at);
        match (&self.held, &self.failed) {
            (Some(held), _)
                if waits
                    || (held.fate == Fate::Good
                        && !expires_by(&held.credentials, wall + BEFORE_EXPIRY)) =>
            {
                Ask::Use(held.credentials.clone())
            }
            (None, Some(error)) if waits => Ask::Fail(Arc::clone(error)),
            _ => Ask::Load { anew: self.anew },
        }
    }

    /// Takes in what the source answered. Returns what is used now.
    pub(super) fn loaded(
        &mut self,
        outcome: Result<Credentials, CredentialsError>,
        now: Instant,
        wall: SystemTime,
    ) -> Ask {
        self.not_before = Some(now + AGAIN);
        self.anew = outcome.is_err();
        match outcome {
            Ok(credentials) => {
                self.held = Some(Held { credentials, since: now, fate: Fate::Good });
                self.failed = None;
            }
            Err(error) => {
                // What the source gave before serves on through an outage, while it is valid.
                self.held.take_if(|held| {
                    held.fate == Fate::Refused || expires_by(&held.credentials, wall)
                });
                self.failed = Some(Arc::new(error));
            }
        }
        self.ask(now, wall)
    }

    /// Takes note that the service refused exactly these. That says nothing of others that are held
    /// meanwhile.
    pub(super) fn refused(&mut self, credentials: &Credentials, now: Instant) {
        let is_news =
            |held: &&mut Held| held.credentials == *credentials && held.fate != Fate::Refused;
        let Some(held) = self.held.as_mut().filter(is_news) else { return };
        (held.fate, self.anew) = (Fate::Refused, true);
        if now.saturating_duration_since(held.since) >= SERVED {
            self.refusals = 0;
        }
        let wait = AGAIN
            .saturating_mul(1u32.checked_shl(self.refusals).unwrap_or(u32::MAX))
            .min(AGAIN_MAX);
        self.not_before = Some(held.since + wait);
        self.refusals = self.refusals.saturating_add(1);
    }

    /// Takes note that an operator wants what the source has now.
    pub(super) fn forget(&mut self) {
        self.held.take_if(|held| held.fate == Fate::Refused);
        if let Some(held) = &mut self.held {
            held.fate = Fate::Old;
        }
        (self.failed, self.not_before, self.refusals, self.anew) = (None, None, 0, true);
    }
}

fn expires_by(credentials: &Credentials, wall: SystemTime) -> bool {
    credentials.expiry().is_some_and(|expiry| expiry <= wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renewal and its two clocks, which begin together.
    struct Kit {
        renewal: Renewal,
        began: Instant,
        epoch: SystemTime,
    }

    impl Kit {
        fn new() -> Self {
            Self {
                renewal: Renewal::default(),
                began: Instant::now(),
                epoch: SystemTime::UNIX_EPOCH,
            }
        }

        /// Credentials that expire `seconds` after the beginning.
        fn until(&self, key: &str, seconds: u64) -> Credentials {
            Credentials::new(
                key,
                "s",
                None,
                Some(self.epoch + Duration::from_secs(seconds)),
                "a test",
            )
        }

        fn times(&self, ms: u64) -> (Instant, SystemTime) {
            (self.began + Duration::from_millis(ms), self.epoch + Duration::from_millis(ms))
        }

        /// What is done for a request at this time: `use KEY`, `fail` or `load`, `load anew`.
        fn ask(&self, ms: u64) -> String {
            let (now, wall) = self.times(ms);
            said(self.renewal.ask(now, wall))
        }

        fn loads(&mut self, ms: u64, credentials: Credentials) -> String {
            let (now, wall) = self.times(ms);
            said(self.renewal.loaded(Ok(credentials), now, wall))
        }

        fn fails(&mut self, ms: u64) -> String {
            let (now, wall) = self.times(ms);
            said(self.renewal.loaded(Err(CredentialsError::not_loaded("away")), now, wall))
        }

        fn refused(&mut self, ms: u64, credentials: &Credentials) {
            self.renewal.refused(credentials, self.began + Duration::from_millis(ms));
        }
    }

    fn said(ask: Ask) -> String {
        match ask {
            Ask::Use(credentials) => format!("use {}", credentials.access_key_id()),
            Ask::Fail(_) => "fail".to_owned(),
            Ask::Load { anew: false } => "load".to_owned(),
            Ask::Load { anew: true } => "load anew".to_owned(),
        }
    }

    #[test]
    fn credentials_are_asked_for_once_and_again_before_they_expire() {
        let mut kit = Kit::new();
        assert_eq!(kit.ask(0), "load");
        assert_eq!(kit.loads(5, kit.until("a", 3_600)), "use a");
        assert_eq!(kit.ask(3_589_999), "use a");
        assert_eq!(kit.ask(3_590_000), "load");
        assert_eq!(kit.loads(3_590_100, kit.until("b", 7_200)), "use b");
    }

    #[test]
    fn credentials_outlive_an_outage_of_their_source_and_no_longer_than_they_last() {
        let mut kit = Kit::new();
        kit.loads(0, kit.until("a", 60));
        assert_eq!(kit.fails(50_000), "use a");
        assert_eq!(kit.ask(50_999), "use a", "the source is not asked for every request");
        assert_eq!(kit.ask(51_000), "load anew", "what it has read before may be why it fails");
        assert_eq!(kit.fails(60_000), "fail");
        assert_eq!(kit.ask(60_999), "fail");
        assert_eq!(kit.ask(61_000), "load anew");
    }

    #[test]
    fn expired_credentials_are_used_where_the_source_has_no_others() {
        // Whose clock is wrong is for the service to say.
        let mut kit = Kit::new();
        assert_eq!(kit.loads(7_000, kit.until("a", 1)), "use a");
        assert_eq!(kit.ask(7_999), "use a");
        assert_eq!(kit.ask(8_000), "load");
    }

    #[test]
    fn refused_credentials_are_asked_for_anew_at_once_and_ever_less_often_while_that_goes_on() {
        let mut kit = Kit::new();
        let old = kit.until("old", 36_000);
        kit.loads(0, old.clone());
        kit.refused(100_000, &old);
        let (mut at, mut waits) = (100_000, Vec::new());
        for _ in 0..7 {
            let asked = (at..).find(|ms| kit.ask(*ms) == "load anew").expect("some time");
            waits.push(asked - at);
            at = asked;
            kit.loads(at, old.clone());
            kit.refused(at, &old);
        }
        assert_eq!(waits, [0, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
        kit.loads(at, old.clone());
        kit.refused(at + 60_000, &old);
        assert_eq!(kit.ask(at + 60_000), "load anew", "those had served");
    }

    #[test]
    fn many_refusals_of_the_same_credentials_are_one_and_say_nothing_of_newer_ones() {
        let mut kit = Kit::new();
        let (old, new) = (kit.until("old", 3_600), kit.until("new", 3_600));
        kit.loads(0, old.clone());
        for _ in 0..16 {
            kit.refused(90_000, &old);
        }
        assert_eq!(kit.ask(90_000), "load anew");
        assert_eq!(kit.loads(90_000, new), "use new");
        kit.refused(90_010, &old);
        assert_eq!(kit.ask(99_000), "use new");
    }

    #[test]
    fn refused_credentials_are_tried_again_while_the_source_rests_and_not_when_it_is_gone() {
        // A key that was made a moment ago is refused until every host of the service knows it.
        let mut kit = Kit::new();
        let young = kit.until("young", 3_600);
        kit.loads(0, young.clone());
        kit.refused(10, &young);
        assert_eq!(kit.ask(999), "use young");
        assert_eq!(kit.ask(1_000), "load anew");
        assert_eq!(kit.fails(1_000), "fail");
    }

    #[test]
    fn an_operator_has_the_source_asked_at_once_and_loses_nothing_by_it() {
        let mut kit = Kit::new();
        let old = kit.until("old", 3_600);
        kit.loads(0, old.clone());
        kit.renewal.forget();
        assert_eq!(kit.ask(1), "load anew");
        assert_eq!(kit.fails(1), "use old");
        for _ in 0..9 {
            kit.loads(2, old.clone());
            kit.refused(2, &old);
        }
        kit.renewal.forget();
        assert_eq!(kit.ask(3), "load anew");
        assert_eq!(kit.fails(3), "fail", "those were refused");
    }
}
