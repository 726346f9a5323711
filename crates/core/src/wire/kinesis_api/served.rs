//! Which stream a call may be about: the one that the daemon is configured for.

use super::error::ApiError;
use crate::model::{StreamArn, StreamId};

/// How a call names its stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named<'a> {
    pub name: Option<&'a str>,
    pub arn: Option<&'a str>,
    /// Whether the call has a `StreamId`, which the service reserves.
    pub has_stream_id: bool,
}

/// Checks that a call is about the stream that is served.
///
/// # Errors
/// It names no stream, two of them, or another one.
pub fn check(named: Named<'_>, served: &StreamId) -> Result<(), ApiError> {
    if named.has_stream_id {
        return Err(ApiError::invalid("StreamId is not taken: name the stream by StreamName"));
    }
    let arn = named.arn.map(str::parse::<StreamArn>).transpose();
    let arn = arn.map_err(|error| ApiError::invalid(format!("StreamARN: {error}")))?;
    let name = match (named.name, &arn) {
        (Some(name), Some(arn)) if name != arn.name() => {
            return Err(ApiError::invalid("StreamName and StreamARN name two streams"));
        }
        (Some(name), _) => name,
        (None, Some(arn)) => arn.name(),
        (None, None) => {
            return Err(ApiError::invalid("StreamName is missing: it or StreamARN is required"));
        }
    };
    let served_arn = served.arn().map(str::parse::<StreamArn>).transpose();
    let served_arn = served_arn.expect("the configuration was checked");
    let served_name = served_arn.as_ref().map_or(served.as_str(), StreamArn::name);
    if name != served_name {
        return Err(ApiError::new(
            "ResourceNotFoundException",
            "the stream is not the one that this endpoint writes to: dispatchd is configured for \
             one stream",
        ));
    }
    if let (Some(arn), Some(served)) = (&arn, &served_arn)
        && arn != served
    {
        return Err(ApiError::denied(
            "StreamARN is of another account or region than the stream that is written to here",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    const OTHER_ACCOUNT: &str = "arn:aws:kinesis:eu-west-1:999999999999:stream/orders";

    fn told(name: Option<&str>, arn: Option<&str>, served: &StreamId) -> &'static str {
        check(Named { name, arn, has_stream_id: false }, served).map_or_else(|e| e.name, |()| "")
    }

    #[test]
    fn a_call_is_about_the_configured_stream_however_either_is_named() {
        let by_name = StreamId::Name("orders".into());
        let by_arn = StreamId::Arn(ARN.into());
        for (name, arn, to_name, to_arn) in [
            (Some("orders"), None, "", ""),
            (None, Some(ARN), "", ""),
            (Some("orders"), Some(ARN), "", ""),
            (None, Some(OTHER_ACCOUNT), "", "AccessDeniedException"),
            (Some("others"), None, "ResourceNotFoundException", "ResourceNotFoundException"),
            (Some("others"), Some(ARN), "ValidationException", "ValidationException"),
            (None, Some("orders"), "ValidationException", "ValidationException"),
            (None, None, "ValidationException", "ValidationException"),
            (Some(""), None, "ResourceNotFoundException", "ResourceNotFoundException"),
        ] {
            assert_eq!(told(name, arn, &by_name), to_name, "{name:?} {arn:?}");
            assert_eq!(told(name, arn, &by_arn), to_arn, "{name:?} {arn:?}");
        }
        let with_id = Named { name: Some("orders"), arn: None, has_stream_id: true };
        assert!(check(with_id, &by_name).is_err());
    }
}
