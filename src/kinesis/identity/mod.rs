//! Whose requests they are: the one cache of credentials, for PutRecords and for every call of the
//! SDK's.
//!
//! - The SDK's chain of providers is the source. It keeps what it has read: where that is not to be
//!   believed any more, it is built anew, and reads files and variables anew.
//! - Credentials are dropped when the service refuses them (`refused`) and when an operator wants
//!   it (`forget`), and asked for again before they expire. When, is `cache`'s to say.
//! - One asks at a time, the others wait for it. Asking is bounded: a metadata service or an STS
//!   that hangs is not waited for longer than half an attempt.
//! - What cannot stand in a header never leaves here: the SDK would panic on it.
//!
//! Never shows a secret.

mod cache;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kinesis::config::Credentials;
use tokio::time::Instant;

use super::aws::{Connection, chain, loader};
use super::metrics::CredentialsExpiry;
use super::transport::Transport;
use crate::config::unfit;
use cache::{Ask, Cache};

/// Characters of an access key's id that are shown: enough to tell two keys apart.
const KEY_ID_CHARS_SHOWN: usize = 4;

/// For a provider that looks nothing up.
const FIXED_WITHIN: Duration = Duration::from_secs(1);

/// Credentials, kept and renewed. Clones share them.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// How long the source may take.
    within: Duration,
    /// Guards a few fields for a few instructions, once a request and not once an event; never held
    /// over a wait. No channel: whoever asks needs the answer before anything else.
    cache: Mutex<Cache>,
    /// The chain that was asked last, held by the one who asks: others wait for it here.
    chain: tokio::sync::Mutex<Option<SharedCredentialsProvider>>,
    expiry: Arc<CredentialsExpiry>,
}

/// Where credentials come from.
#[derive(Debug)]
enum Source {
    /// This provider, for ever.
    Fixed(SharedCredentialsProvider),
    /// The SDK's chain, as this connection makes it, over this transport.
    Chain(Box<(Connection, Transport)>),
}

/// What may be shown of the credentials in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// In words, e.g. `environment variables`; where one provider led to another, both.
    pub provider: String,
    /// The last characters of the access key's id.
    pub key_id_end: String,
    /// The account, where the provider tells it.
    pub account: Option<String>,
    /// Nothing: they do not expire.
    pub expiry: Option<SystemTime>,
}

impl Identity {
    /// What the chain gives that this connection makes; `first` is the one that is there already.
    pub(super) fn of_chain(
        first: SharedCredentialsProvider,
        connection: Connection,
        transport: Transport,
    ) -> Self {
        // Half of the attempt, so that what is late shows as what it is, and not as a request that
        // was lost.
        let within = connection.attempt_timeout / 2;
        Self::new(Source::Chain(Box::new((connection, transport))), Some(first), within)
    }

    fn new(source: Source, first: Option<SharedCredentialsProvider>, within: Duration) -> Self {
        let (cache, chain) = (Mutex::default(), tokio::sync::Mutex::new(first));
        Self(Arc::new(Inner { source, within, cache, chain, expiry: Arc::default() }))
    }

    /// What this provider gives, which answers at once.
    pub fn fixed(provider: SharedCredentialsProvider) -> Self {
        Self::new(Source::Fixed(provider), None, FIXED_WITHIN)
    }

    /// The credentials to sign a request with now.
    ///
    /// # Errors
    /// No provider has any that can be used, or the one that should did not answer in time.
    pub async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        if let Some(settled) = settled(self.ask()) {
            return settled;
        }
        let mut chain = self.0.chain.lock().await;
        // Whoever had it before may have asked meanwhile.
        let anew = match self.ask() {
            Ask::Load { anew } => anew,
            ask => return settled(ask).expect("it is no load"),
        };
        if anew {
            *chain = None;
        }
        let outcome = self.load(&mut chain).await;
        drop(chain);
        settled(self.loaded(outcome)).expect("a load that just ended is not followed by another")
    }

    /// The service refused exactly these: the source is asked for others, unless it gave others
    /// already. Ever less often while they are refused too, and until then these are tried again.
    pub fn refused(&self, credentials: &Credentials) {
        self.cache().refused(credentials, now());
    }

    /// Has the source asked at the next request, whatever was refused before. If it has none then,
    /// those that were not refused serve on.
    pub fn forget(&self) {
        self.cache().forget();
    }

    /// What may be shown of those in use; nothing while there are none.
    pub fn known(&self) -> Option<Known> {
        self.cache().held().map(Known::of)
    }

    /// When the credentials that were provided last expire.
    pub fn expiry(&self) -> &Arc<CredentialsExpiry> {
        &self.0.expiry
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().expect("nobody panics with it in hand")
    }

    fn ask(&self) -> Ask {
        self.cache().ask(now(), SystemTime::now())
    }

    /// Asks the chain, which is made if it is not there.
    async fn load(
        &self,
        chain: &mut Option<SharedCredentialsProvider>,
    ) -> Result<Credentials, CredentialsError> {
        let asked = async {
            let chain = match chain {
                Some(chain) => chain,
                None => chain.insert(self.0.source.chain().await?),
            };
            chain.provide_credentials().await
        };
        let provided = tokio::time::timeout(self.0.within, asked).await.unwrap_or_else(|_| {
            // As the SDK does: old credentials of the instance outlive an outage of its metadata
            // service.
            let old = chain.as_ref().and_then(ProvideCredentials::fallback_on_interrupt);
            old.ok_or(CredentialsError::provider_timed_out(self.0.within))
        });
        provided.map_err(with_advice).and_then(fit)
    }

    fn loaded(&self, outcome: Result<Credentials, CredentialsError>) -> Ask {
        let provided = outcome.as_ref().ok().map(Known::of);
        let (before, ask) = {
            let mut cache = self.cache();
            let before = cache.held().map(Known::of);
            (before, cache.loaded(outcome, now(), SystemTime::now()))
        };
        if let Some(provided) = provided {
            self.0.expiry.set(provided.expiry);
            if before.as_ref() != Some(&provided) && matches!(self.0.source, Source::Chain(_)) {
                tracing::info!(identity = %provided, "credentials");
            }
        }
        ask
    }
}

/// By the runtime's clock.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// What was decided, if it was.
fn settled(ask: Ask) -> Option<Result<Credentials, CredentialsError>> {
    match ask {
        Ask::Use(credentials) => Some(Ok(credentials)),
        Ask::Fail(error) => Some(Err(CredentialsError::provider_error(Shared(error)))),
        Ask::Load { .. } => None,
    }
}

impl Source {
    async fn chain(&self) -> Result<SharedCredentialsProvider, CredentialsError> {
        match self {
            Self::Fixed(provider) => Ok(provider.clone()),
            Self::Chain(made_from) => {
                loader(&made_from.0, &made_from.1).load().await.credentials_provider().ok_or_else(
                    || CredentialsError::not_loaded("the SDK has no chain of providers"),
                )
            }
        }
    }
}

impl ProvideCredentials for Identity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// One error for all who waited for it.
#[derive(Debug)]
struct Shared(Arc<CredentialsError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Says what to use instead of a login that is not built in. The SDK's words for it are about a
/// build, and they are all that is left of its error here.
fn with_advice(error: CredentialsError) -> CredentialsError {
    let text = chain(&error);
    let Some((_, feature)) = text.split_once("cargo feature(s) enabled: ") else { return error };
    let login =
        if feature.starts_with("sso") { "IAM Identity Center (SSO)" } else { "`aws login`" };
    CredentialsError::invalid_configuration(format!(
        "the profile is one of {login}, which dispatchd does not speak: let a profile have \
         `credential_process = aws configure export-credentials --profile NAME --format process`, and name that one in \
         AWS_PROFILE"
    ))
}

/// Lets those pass that can be sent.
fn fit(credentials: Credentials) -> Result<Credentials, CredentialsError> {
    let parts = [
        ("access key id", Some(credentials.access_key_id())),
        ("secret access key", Some(credentials.secret_access_key())),
        ("session token", credentials.session_token()),
    ];
    let odd = parts.into_iter().find_map(|(part, value)| Some((part, unfit(value?)?)));
    match odd {
        None => Ok(credentials),
        Some((part, what)) => Err(CredentialsError::invalid_configuration(format!(
            "the {part} from {} holds {what}: correct it there",
            provider(&credentials)
        ))),
    }
}

impl Known {
    pub(super) fn of(credentials: &Credentials) -> Self {
        let id = credentials.access_key_id();
        Self {
            provider: provider(credentials),
            key_id_end: id
                .get(id.len().saturating_sub(KEY_ID_CHARS_SHOWN)..)
                .unwrap_or_default()
                .to_owned(),
            account: credentials.account_id().map(|account| account.as_str().to_owned()),
            expiry: credentials.expiry(),
        }
    }
}

/// Without the time when they expire: `environment variables, access key …MPLE, account
/// 123456789012`.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, access key …{}", self.provider, self.key_id_end)?;
        self.account.as_ref().map_or(Ok(()), |account| write!(f, ", account {account}"))
    }
}

/// The providers that had a part in it, first to last.
fn provider(credentials: &Credentials) -> String {
    let features =
        credentials.get_property::<Vec<AwsCredentialFeature>>().map_or(&[][..], Vec::as_slice);
    if features.is_empty() {
        return "fixed credentials".to_owned();
    }
    features.iter().map(in_words).collect::<Vec<_>>().join(", ")
}

fn in_words(feature: &AwsCredentialFeature) -> String {
    let words = match feature {
        AwsCredentialFeature::CredentialsEnvVars => "environment variables",
        AwsCredentialFeature::CredentialsEnvVarsStsWebIdToken => "a web identity token (IRSA)",
        AwsCredentialFeature::CredentialsProfileStsWebIdToken => "a web identity token",
        AwsCredentialFeature::CredentialsStsAssumeRole
        | AwsCredentialFeature::CredentialsStsAssumeRoleWebId => "a role assumed at STS",
        AwsCredentialFeature::CredentialsProfile => "a profile",
        AwsCredentialFeature::CredentialsProfileSourceProfile => "a profile's source profile",
        AwsCredentialFeature::CredentialsProfileNamedProvider => "a profile's credential source",
        AwsCredentialFeature::CredentialsProfileSso | AwsCredentialFeature::CredentialsSso => {
            "IAM Identity Center (SSO)"
        }
        AwsCredentialFeature::CredentialsProfileProcess
        | AwsCredentialFeature::CredentialsProcess => "a process",
        AwsCredentialFeature::CredentialsHttp => {
            "the container's endpoint (ECS or EKS Pod Identity)"
        }
        AwsCredentialFeature::CredentialsImds => "the instance's metadata service (IMDS)",
        // The SDK may add more, and has some that cannot happen here.
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
