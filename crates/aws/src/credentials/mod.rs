//! The one cache of credentials, for PutRecords and for every call that the SDK makes.
//!
//! - The source is the SDK's chain of providers. The chain keeps what it has read, so it is built
//!   anew where that cannot be relied on any more, and then reads files and variables again.
//! - Credentials are dropped when the service refuses them (`refused`) or an operator wants new
//!   ones (`forget`), and are renewed before they expire. `renewal` decides when.
//! - One caller asks the source at a time, and the others wait for its answer. Asking is bounded: a
//!   metadata service or an STS that hangs is given up after half an attempt timeout.
//! - Credentials that cannot stand in a header never leave this file: the SDK would panic on them.
//!
//! Never shows a secret.

mod expiry;
mod renewal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kinesis::config::Credentials;
use dispatchd_transport::Transport;
use tokio::time::Instant;

use self::renewal::{Ask, Renewal};
use super::connection::{Connection, emulator_credentials, loader};
use super::error::chain;
use crate::sdk_env::unfit_for_a_header;

pub use self::expiry::CredentialsExpiry;

/// Characters that are shown of an access key's id: enough to tell two keys apart.
const KEY_ID_CHARS_SHOWN: usize = 4;

/// How long a provider may take that looks nothing up.
const FIXED_WITHIN: Duration = Duration::from_secs(1);

/// Credentials that are kept and renewed. Clones share them.
#[derive(Debug, Clone)]
pub struct CredentialsCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// How long the source may take.
    within: Duration,
    /// A lock for a few fields and a few instructions, taken once a request and not once an event,
    /// and never held over a wait. Not a channel: a caller needs the answer before anything else.
    renewal: Mutex<Renewal>,
    /// The chain that was asked last. Its lock is held by the caller that asks, and the others wait
    /// for it here.
    chain: tokio::sync::Mutex<Option<SharedCredentialsProvider>>,
    expiry: Arc<CredentialsExpiry>,
}

/// Where credentials come from.
#[derive(Debug)]
enum Source {
    /// Always this provider.
    Fixed(SharedCredentialsProvider),
    /// The SDK's chain of providers, as these settings make it, over this transport.
    Chain(Box<(Connection, Transport)>),
}

/// What may be shown of the credentials in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsInfo {
    /// The provider in words, e.g. `environment variables`. Where one provider led to another, both
    /// are named.
    pub provider: String,
    /// The last characters of the access key's id.
    pub key_id_end: String,
    /// The account; `None` if the provider does not tell it.
    pub account: Option<String>,
    /// When they expire; `None` if they do not.
    pub expiry: Option<SystemTime>,
}

impl CredentialsCache {
    /// A cache of what the chain gives that this connection makes. `first` is the chain that was
    /// made already.
    pub(super) fn of_chain(
        first: SharedCredentialsProvider,
        connection: Connection,
        transport: Transport,
    ) -> Self {
        // Half of the attempt, so that a source that is late is reported as such, and not as a
        // request that was lost.
        let within = connection.settings.attempt_timeout / 2;
        let source = Source::Chain(Box::new((connection, transport)));
        Self::new(source, Some(first), within)
    }

    fn new(source: Source, first: Option<SharedCredentialsProvider>, within: Duration) -> Self {
        let (renewal, chain) = (Mutex::default(), tokio::sync::Mutex::new(first));
        Self(Arc::new(Inner { source, within, renewal, chain, expiry: Arc::default() }))
    }

    /// A cache of what this provider gives, which answers at once.
    pub(super) fn fixed(provider: SharedCredentialsProvider) -> Self {
        Self::new(Source::Fixed(provider), None, FIXED_WITHIN)
    }

    /// A cache of credentials that open nothing but an emulator.
    pub fn for_an_emulator() -> Self {
        let provider = SharedCredentialsProvider::new(emulator_credentials());
        Self::fixed(provider)
    }

    /// The credentials to sign a request with now.
    ///
    /// # Errors
    /// No provider has any that can be used, or the one that should have did not answer in time.
    pub(crate) async fn get(&self) -> Result<Credentials, CredentialsError> {
        if let Some(settled) = settled(self.ask()) {
            return settled;
        }
        let mut chain = self.0.chain.lock().await;
        // The caller that held the lock before may have asked meanwhile.
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

    /// Takes note that the service refused exactly these credentials. The source is asked for
    /// others, unless it gave others already: ever less often while those are refused too. Until
    /// then the refused ones are tried again.
    pub(crate) fn refused(&self, credentials: &Credentials) {
        self.renewal().refused(credentials, now());
    }

    /// Asks the source again at the next request, whatever was refused before. If it has none then,
    /// the credentials in use go on serving, unless they were refused.
    pub fn forget(&self) {
        self.renewal().forget();
    }

    /// What may be shown of the credentials in use; `None` while there are none.
    pub fn info(&self) -> Option<CredentialsInfo> {
        self.renewal().held().map(CredentialsInfo::of)
    }

    /// When the credentials that were provided last expire.
    pub fn expiry(&self) -> &Arc<CredentialsExpiry> {
        &self.0.expiry
    }

    fn renewal(&self) -> MutexGuard<'_, Renewal> {
        self.0.renewal.lock().expect("nobody panics with it in hand")
    }

    fn ask(&self) -> Ask {
        self.renewal().ask(now(), SystemTime::now())
    }

    /// Asks the chain, and makes it first if there is none.
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
            // As the SDK does: an instance's old credentials outlive an outage of its metadata
            // service.
            let old = chain.as_ref().and_then(ProvideCredentials::fallback_on_interrupt);
            old.ok_or(CredentialsError::provider_timed_out(self.0.within))
        });
        provided.map_err(with_advice).and_then(fit)
    }

    fn loaded(&self, outcome: Result<Credentials, CredentialsError>) -> Ask {
        let provided = outcome.as_ref().ok().map(CredentialsInfo::of);
        let (before, ask) = {
            let mut renewal = self.renewal();
            let before = renewal.held().map(CredentialsInfo::of);
            (before, renewal.loaded(outcome, now(), SystemTime::now()))
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

/// The time by the runtime's clock, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// The answer to give now; `None` if the source must be asked first.
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

impl ProvideCredentials for CredentialsCache {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

/// One error for all callers that waited for it.
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

/// This error, or advice what to use instead of a login that is not built in. The SDK's own words
/// are about cargo features, and its error holds nothing else to go by.
fn with_advice(error: CredentialsError) -> CredentialsError {
    let text = chain(&error);
    let Some((_, feature)) = text.split_once("cargo feature(s) enabled: ") else { return error };
    let login =
        if feature.starts_with("sso") { "IAM Identity Center (SSO)" } else { "`aws login`" };
    CredentialsError::invalid_configuration(format!(
        "the profile is one of {login}, which dispatchd does not speak: let a profile have \
         `credential_process = aws configure export-credentials --profile NAME --format process`, \
         and name that one in AWS_PROFILE"
    ))
}

/// Lets credentials pass that can stand in a header.
fn fit(credentials: Credentials) -> Result<Credentials, CredentialsError> {
    let parts = [
        ("access key id", Some(credentials.access_key_id())),
        ("secret access key", Some(credentials.secret_access_key())),
        ("session token", credentials.session_token()),
    ];
    let odd = parts.into_iter().find_map(|(part, value)| Some((part, unfit_for_a_header(value?)?)));
    match odd {
        None => Ok(credentials),
        Some((part, what)) => Err(CredentialsError::invalid_configuration(format!(
            "the {part} from {} holds {what}: correct it there",
            provider(&credentials)
        ))),
    }
}

impl CredentialsInfo {
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

/// Prints all but the time of expiry: `environment variables, access key …MPLE, account
/// 123456789012`.
impl fmt::Display for CredentialsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, access key …{}", self.provider, self.key_id_end)?;
        self.account.as_ref().map_or(Ok(()), |account| write!(f, ", account {account}"))
    }
}

/// The providers that had a part in these credentials, first to last.
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
        // The SDK may add more, and has some that are not built in here.
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
