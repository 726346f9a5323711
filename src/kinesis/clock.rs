//! What time it is by the service's clock: the `Date` of a reply. This machine's clock may be hours off.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// Takes part in one call, and keeps the time that its reply tells.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceClock(Arc<OnceLock<SystemTime>>);

impl ServiceClock {
    /// Cut to a second. Nothing where there was no reply, or it told no time.
    pub fn time(&self) -> Option<SystemTime> {
        self.0.get().copied()
    }
}

#[dyn_dispatch_hint]
impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let time = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if let Some(time) = time.and_then(|time| SystemTime::try_from(time).ok()) {
            self.0.get_or_init(|| time);
        }
        Ok(())
    }
}
