//! Makes the request of a batch: its body, its type and the headers that are its records' own.
//! Those of every request, such as a token, are the sender's.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use dispatchd_core::wire::forward::event::{self, Trace};
use dispatchd_core::wire::forward::lambda::Mapping;
use dispatchd_core::wire::forward::{Misfit, batch, cloudevents, kinesis};

use super::Format;
use crate::delivery::Delivered;

const JSON: &str = "application/json";

/// What is posted to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Visible ASCII and spaces, as are the values of the headers.
    pub content_type: Cow<'static, str>,
    /// Names in lower case.
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Bytes,
}

/// Makes requests in one form.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: Format,
    mapping: Mapping,
}

impl Encoder {
    pub fn new(format: Format, mapping: Mapping) -> Self {
        Self { format, mapping }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The request for these records, of which there are no more than the format takes and one at
    /// least. Each was looked at by [`Format::misfit`], whose word stands in it. `number` is sent
    /// in the place of the record's own by the format `record`, and by no other.
    ///
    /// # Errors
    /// A record cannot go out in this form.
    pub fn request(
        &self,
        records: &[Arc<Delivered>],
        number: Option<&str>,
    ) -> Result<Request, Misfit> {
        let outgoing = records.iter().map(|record| record.outgoing());
        assert!(records.len() <= self.format.batch_records_max(), "a request takes no more");
        let mut first = records.first().expect("a batch has a record").outgoing();
        if let Some(misfit) = records.iter().find_map(|record| record.misfit) {
            return Err(misfit);
        }
        match self.format {
            Format::Record => {
                first.sequence_number = number.unwrap_or(first.sequence_number);
                let mut body = Vec::with_capacity(kinesis::len(&first));
                kinesis::push(&first, &mut body);
                Ok(json(body))
            }
            Format::Lambda => Ok(json(self.mapping.body(outgoing))),
            Format::Batch => Ok(json(batch::body(outgoing))),
            Format::Event => {
                let event = event::read(&first)?;
                let headers = trace(event.trace);
                let body = records[0].data.clone();
                Ok(Request { content_type: event.content_type.into(), headers, body })
            }
            Format::CloudEvents => {
                let event = cloudevents::binary(&first, &self.mapping.stream_arn)?;
                let mut headers = trace(event.trace);
                headers.extend(event.headers.into_iter().map(|(name, value)| (name.into(), value)));
                let body = match event.body {
                    Cow::Borrowed(part) => records[0].data.slice_ref(part),
                    Cow::Owned(made) => made.into(),
                };
                let content_type = event.content_type.into_owned().into();
                Ok(Request { content_type, headers, body })
            }
        }
    }
}

fn json(body: Vec<u8>) -> Request {
    Request { content_type: JSON.into(), headers: Vec::new(), body: body.into() }
}

fn trace(trace: Trace<'_>) -> Vec<(Cow<'static, str>, String)> {
    let both = [("traceparent", trace.parent), ("tracestate", trace.state)];
    let set = both.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.map(|(name, value)| (name.into(), value.into_owned())).collect()
}
