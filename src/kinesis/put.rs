//! PutRecords, the one call of an event's path. The SDK resolves the endpoint, signs, connects, keeps the time and reads
//! errors, as for every other call; the body that it sends and the records of the reply are `wire`'s.
//!
//! Decides nothing about what to do next.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_sdk_kinesis::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::{BoxError, ErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::aws::{Kinesis, describe, named, never_connected, status};
use super::{Entries, PutError, PutRecords, Verdict, wire};
use crate::config::Wire;
use crate::event::{Class, Reason};

impl PutRecords for Kinesis {
    async fn put(&self, entries: Entries<'_>) -> Result<Vec<Verdict>, PutError> {
        let credentials = self.identity.credentials().await;
        let verdicts = self.send(&entries).await.map_err(|error| put_error(&error));
        // A session that was revoked is denied, and a new one is not.
        if let (
            Ok(credentials),
            Err(PutError { class: Class::Blocked(Reason::Credentials | Reason::AccessDenied), .. }),
        ) = (credentials, &verdicts)
        {
            self.identity.refused(&credentials);
        }
        let verdicts = verdicts?;
        if verdicts.len() != entries.len() {
            return Err(PutError {
                class: Class::Transient,
                code: "BadReply".into(),
                message: format!("{} records were sent, the reply speaks of {}", entries.len(), verdicts.len()),
                maybe_stored: true,
            });
        }
        Ok(verdicts)
    }
}

impl Kinesis {
    /// The verdicts of the reply, as many as it has.
    pub(super) async fn send(&self, entries: &Entries<'_>) -> Result<Vec<Verdict>, SdkError<PutRecordsError>> {
        let swap = Swap {
            wire: self.wire,
            body: wire::request(self.wire, &self.stream, entries).into(),
            verdicts: Arc::default(),
        };
        let verdicts = Arc::clone(&swap.verdicts);
        // The endpoint may depend on the stream; the rest of what the SDK writes is swapped.
        let (name, arn) = named(&self.stream);
        let call = self.client.put_records().set_stream_name(name).set_stream_arn(arn).set_records(Some(Vec::new()));
        call.customize().interceptor(swap).send().await?;
        Ok(std::mem::take(&mut *verdicts.lock().expect("nobody panics with it in hand")))
    }
}

/// Puts our body in the place of the SDK's, and our reader in the place of its.
struct Swap {
    wire: Wire,
    body: Bytes,
    verdicts: Verdicts,
}

/// What one reply says. A lock because the SDK shares whatever takes part in a call; it is set once, by the reader, and
/// taken once, when the call is over. Nobody waits for it.
type Verdicts = Arc<Mutex<Vec<Verdict>>>;

#[dyn_dispatch_hint]
impl Intercept for Swap {
    fn name(&self) -> &'static str {
        "Swap"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        *request.body_mut() = SdkBody::from(self.body.clone());
        request.headers_mut().insert("content-length", self.body.len().to_string());
        request.headers_mut().insert("content-type", wire::content_type(self.wire));
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let reply = context.response();
        let wire = wire::wire(reply.headers().get("content-type"));
        if reply.status().is_success() {
            let reader = Reader { wire, verdicts: Arc::clone(&self.verdicts) };
            config.interceptor_state().store_put(SharedResponseDeserializer::new(reader));
        } else if wire == Wire::Cbor {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(CborErrors));
        }
        Ok(())
    }
}

/// Without the events, which are no one's business in a trace.
impl fmt::Debug for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swap").field("wire", &self.wire).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Reads a reply that is a success as a whole.
#[derive(Debug)]
struct Reader {
    wire: Wire,
    verdicts: Verdicts,
}

impl DeserializeResponse for Reader {
    fn deserialize_nonstreaming_with_config(
        &self,
        reply: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let verdicts = wire::reply(self.wire, bytes(reply)).map_err(OrchestratorError::other)?;
        *self.verdicts.lock().expect("nobody panics with it in hand") = verdicts;
        let output = PutRecordsOutput::builder().set_records(Some(Vec::new())).build();
        Ok(Output::erase(output.expect("records, the one required field, are set")))
    }
}

/// Reads an error in CBOR, which the SDK cannot.
#[derive(Debug)]
struct CborErrors;

impl DeserializeResponse for CborErrors {
    fn deserialize_nonstreaming_with_config(
        &self,
        reply: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let wire::Told { code, message } = wire::error(bytes(reply)).map_err(OrchestratorError::other)?;
        let code = reply.headers().get("x-amzn-errortype").or(code.as_deref()).map(bare_code);
        // As the SDK has it: an error without a code is none of the service's.
        let Some(code) = code else { return Err(OrchestratorError::other("it has no code")) };
        let mut error = ErrorMetadata::builder().code(code);
        if let Some(message) = message {
            error = error.message(message);
        }
        Err(OrchestratorError::operation(Error::erase(PutRecordsError::generic(error.build()))))
    }
}

/// A code may have a namespace before it and the address of its page behind it.
fn bare_code(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default()
}

fn bytes(reply: &HttpResponse) -> &[u8] {
    reply.body().bytes().expect("the SDK has read all of it")
}

fn put_error(error: &SdkError<PutRecordsError>) -> PutError {
    let (class, code, message) = describe(error);
    let maybe_stored = match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::DispatchFailure(_) => !(matches!(class, Class::Blocked(_)) || never_connected(error)),
        _ => match status(error) {
            // A gateway gave up waiting, for us or for what is behind it: nobody knows.
            Some(408) => true,
            Some(400..=499) => false,
            // 5xx, a success that could not be read, or no reply at all.
            _ => true,
        },
    };
    PutError { class, code, message, maybe_stored }
}
