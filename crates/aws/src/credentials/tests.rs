use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;

/// A provider that takes a while, and counts how often it was asked.
#[derive(Debug)]
struct Slow {
    asked: Arc<AtomicUsize>,
    takes: Duration,
    gives: fn() -> Credentials,
}

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.asked.fetch_add(1, Ordering::Relaxed);
        future::ProvideCredentials::new(async {
            tokio::time::sleep(self.takes).await;
            Ok((self.gives)())
        })
    }
}

const WITHIN: Duration = Duration::from_secs(5);

fn cache(takes: Duration, gives: fn() -> Credentials) -> (CredentialsCache, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let slow = Slow { asked: Arc::clone(&asked), takes, gives };
    (
        CredentialsCache::new(Source::Fixed(SharedCredentialsProvider::new(slow)), None, WITHIN),
        asked,
    )
}

fn good() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "s", None, None, "a test")
}

/// The outcomes of sixteen callers that ask at once, and how long they took together.
async fn sixteen(
    cache: &CredentialsCache,
) -> (Vec<Result<Credentials, CredentialsError>>, Duration) {
    let began = tokio::time::Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let cache = cache.clone();
        asking.spawn(async move { cache.get().await });
    }
    (asking.join_all().await, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn one_asks_the_source_and_the_others_wait_for_it() {
    let (cache, asked) = cache(Duration::from_secs(2), good);
    let (outcomes, took) = sixteen(&cache).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok_and(|provided| provided == good())));
    assert_eq!((asked.load(Ordering::Relaxed), took.as_secs()), (1, 2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    cache.refused(&good());
    let (outcomes, _) = sixteen(&cache).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(asked.load(Ordering::Relaxed), 2, "one more, for all of them");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up_once_for_all_who_wait() {
    let (cache, asked) = cache(Duration::from_secs(3_600), good);
    let (outcomes, took) = sixteen(&cache).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!((asked.load(Ordering::Relaxed), took), (1, WITHIN), "not one wait behind the other");
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_holds_nobody_up() {
    let (cache, asked) = cache(Duration::from_secs(2), good);
    let gave_up = tokio::time::timeout(Duration::from_secs(1), cache.get()).await;
    assert!(gave_up.is_err());
    assert!(cache.get().await.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_no_header_can_hold_is_named_and_not_shown() {
    let with = |key, secret, token: Option<&str>| {
        Credentials::new(key, secret, token.map(str::to_owned), None, "a test")
    };
    for (credentials, said) in [
        (
            with("SHOWN\n", "s", None),
            "the access key id from fixed credentials holds a line end at its end",
        ),
        (
            with("k", "SHO\rWN", None),
            "the secret access key from fixed credentials holds a line end",
        ),
        (
            with("k", "s", Some("SHÖWN")),
            "the session token from fixed credentials holds a character that is not ASCII",
        ),
    ] {
        let error = fit(credentials).expect_err("it is unfit");
        let text = chain(&error);
        assert!(text.contains(said) && !text.contains("SHO") && !text.contains("WN"), "{text}");
    }
    assert!(fit(good()).is_ok());
}

#[test]
fn what_is_shown_is_the_end_of_the_key_and_no_secret() {
    let mut credentials = Credentials::builder()
        .access_key_id("AKIAIOSFODNN7EXAMPLE")
        .secret_access_key("sEcReT")
        .provider_name("a test");
    credentials.set_account_id(Some("123456789012".into()));
    let info = CredentialsInfo::of(&credentials.build());
    assert_eq!(info.to_string(), "fixed credentials, access key …MPLE, account 123456789012");
    assert!(!format!("{info:?}").contains("sEcReT"));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_shown_is_of_the_credentials_in_use_and_of_none_before() {
    let (cache, _) = cache(Duration::ZERO, good);
    assert_eq!(cache.info(), None);
    assert!(cache.get().await.is_ok());
    assert_eq!(cache.info(), Some(CredentialsInfo::of(&good())));
}
