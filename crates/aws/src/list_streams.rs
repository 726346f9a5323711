//! Lists the names of an account's streams in one region. Nothing here reads or writes a record.

use dispatchd_core::model::CallError;

use super::client::Kinesis;
use super::error::odd_reply;

/// The name of the call.
const LIST_STREAMS: &str = "ListStreams";

/// The most streams of a list: an account has fifty provisioned ones and as many on demand until it
/// asks for more.
const STREAMS_MAX: usize = 100_000;

impl Kinesis {
    /// The names of all streams, in the service's order. The stream of this client is not asked
    /// for.
    ///
    /// # Errors
    /// Any failed call, or a list that does not end.
    pub async fn all_streams(&self) -> Result<Vec<String>, CallError> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let last = names.last().cloned();
            let call = self.sdk.list_streams().set_exclusive_start_stream_name(last);
            let page = self.call(LIST_STREAMS, call.send()).await?;
            let listed_before = names.len();
            names.extend_from_slice(page.stream_names());
            if !page.has_more_streams() {
                return Ok(names);
            }
            if names.len() == listed_before || names.len() > STREAMS_MAX {
                return Err(odd_reply(LIST_STREAMS, "the list does not end: it is given up"));
            }
        }
    }
}
