//! Tells a reader where it is, which the emulator leaves out or gets wrong: how far it is behind,
//! and at the end of a closed shard that nothing more comes and which shards go on from there.
//!
//! Without it no reader of today finds the children of a split or a merge, and one that reads until
//! it is behind by nothing ends after a page. It changes the answers to GetRecords and
//! SubscribeToShard, and never touches a record.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::ready;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::Message;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use ferrokinesis::sequence::{resolve_shard_id, shard_ix_to_hex};
use ferrokinesis::shard_iterator::decode_shard_iterator;
use ferrokinesis::store::Store;
use ferrokinesis::types::{HashKeyRange, Stream};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::turns::Turns;

/// A page of GetRecords, or an event of SubscribeToShard.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    /// Records of either format: bytes stay bytes.
    records: Vec<ciborium::Value>,
    millis_behind_latest: u64,
    /// A page's; `None` at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    /// An event's; `None` at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_sequence_number: Option<String>,
    /// The shards that go on from here, at the end; before it, events have an empty list.
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<ChildShard>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChildShard {
    shard_id: String,
    /// Its parents: two where shards were merged. A reader waits for the end of both.
    parent_shards: Vec<String>,
    hash_key_range: HashKeyRange,
}

/// The part of a page that says whether it is right as it is. Most pages are, and this is quick.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PageSeen {
    next_shard_iterator: Option<String>,
    continuation_sequence_number: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SubscribeToShard {
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    shard_id: String,
}

/// How requests and answers are written.
#[derive(Clone, Copy)]
pub(super) enum Format {
    Json,
    Cbor,
}

impl Format {
    /// The format in which the emulator answers a request with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type =
            headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        if content_type.starts_with(b"application/x-amz-json-1.1") {
            Self::Json
        } else {
            Self::Cbor
        }
    }

    fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Option<T> {
        match self {
            Self::Json => serde_json::from_slice(bytes).ok(),
            Self::Cbor => ciborium::from_reader(bytes).ok(),
        }
    }

    fn write(self, page: &Page) -> Bytes {
        let mut bytes = Vec::new();
        match self {
            Self::Json => serde_json::to_writer(&mut bytes, page)
                .expect("what was read as JSON can be written as it"),
            Self::Cbor => ciborium::into_writer(page, &mut bytes).expect("a Vec takes every byte"),
        }
        bytes.into()
    }
}

/// The answer to this GetRecords, with how far behind it is, and its children where it is the last
/// of a closed shard.
pub(super) async fn tell_in_page(
    store: &Store,
    format: Format,
    request: &[u8],
    answer: Response,
) -> Response {
    if answer.status() != StatusCode::OK {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.expect("the emulator's answer is in memory");
    if let Some(page) = page_told(store, format, request, &body).await {
        body = format.write(&page);
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    Response::from_parts(parts, Body::from(body))
}

/// The page as it should be; `None`: it is right as it is.
async fn page_told(store: &Store, format: Format, request: &[u8], answer: &[u8]) -> Option<Page> {
    let seen: PageSeen = format.read(answer)?;
    if let Some(next) = seen.next_shard_iterator {
        let (_, stream, shard, sequence) = decode_shard_iterator(&next).ok()?;
        let millis_behind_latest = millis_behind(store, &stream, &shard, &sequence).await?;
        return Some(Page { millis_behind_latest, ..format.read(answer)? });
    }
    let request: GetRecords = format.read(request)?;
    let (_, stream, shard, _) = decode_shard_iterator(&request.shard_iterator).ok()?;
    let stream = store.get_stream(&stream).await.ok()?;
    Some(Page {
        millis_behind_latest: 0,
        child_shards: Some(children(&stream, &shard)),
        ..format.read(answer)?
    })
}

/// How long the first record has waited that a reader has yet to come to, in milliseconds and at
/// least one; `None` if there is no such record.
async fn millis_behind(store: &Store, stream: &str, shard: &str, sequence: &str) -> Option<u64> {
    let (_, index) = resolve_shard_id(shard).ok()?;
    let (from, to) = (format!("{}/{sequence}", shard_ix_to_hex(index)), shard_ix_to_hex(index + 1));
    let records = store.get_records_range_limited(stream, &from, &to, 1).await;
    let arrived =
        Duration::try_from_secs_f64(records.first()?.1.approximate_arrival_timestamp).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(u64::try_from(now.saturating_sub(arrived).as_millis()).unwrap_or(u64::MAX).max(1))
}

fn children(stream: &Stream, parent: &str) -> Vec<ChildShard> {
    let families = stream.shards.iter().map(|shard| {
        let parents = shard.parent_shard_id.iter().chain(&shard.adjacent_parent_shard_id);
        (shard, parents.cloned().collect::<Vec<_>>())
    });
    families
        .filter(|(_, parents)| parents.iter().any(|id| id == parent))
        .map(|(shard, parent_shards)| ChildShard {
            shard_id: shard.shard_id.clone(),
            parent_shards,
            hash_key_range: shard.hash_key_range.clone(),
        })
        .collect()
}

/// A subscription to a shard.
struct Subscription {
    store: Store,
    turns: Turns,
    format: Format,
    stream: String,
    shard: String,
}

/// The answer to this SubscribeToShard, with the children in its last event and in no other.
pub(super) fn tell_in_events(
    store: Store,
    turns: Turns,
    format: Format,
    request: &[u8],
    answer: Response,
) -> Response {
    let asked = || {
        let request: SubscribeToShard = format.read(request)?;
        let (stream_arn, _) = request.consumer_arn.split_once("/consumer/")?;
        let (shard, _) = resolve_shard_id(&request.shard_id).ok()?;
        Some((store.stream_name_from_arn(stream_arn)?, shard))
    };
    match asked() {
        Some((stream, shard)) if answer.status() == StatusCode::OK => {
            let subscription = Subscription { store, turns, format, stream, shard };
            answer.map(|body| subscription.events(body))
        }
        _ => answer,
    }
}

impl Subscription {
    /// Each of the emulator's pieces is a message.
    fn events(self, body: Body) -> Body {
        Body::from_stream(unfold((self, body.into_data_stream()), async |(this, mut messages)| {
            let message = in_read_turns(&this.turns, async {
                match messages.next().await? {
                    Ok(message) => Some(Ok(this.told(&message).await.unwrap_or(message))),
                    Err(error) => Some(Err(io::Error::other(error))),
                }
            });
            Some((message.await?, (this, messages)))
        }))
    }

    /// The message as it should be; `None`: it is right as it is.
    async fn told(&self, message: &Bytes) -> Option<Bytes> {
        let message = read_message_from(message.clone()).ok()?;
        let page = self.event_told(message.payload()).await?;
        let told = Message::new_from_parts(message.headers().to_vec(), self.format.write(&page));
        let mut bytes = Vec::new();
        write_message_to(&told, &mut bytes)
            .expect("it is no longer than the one that was read, but for some ids");
        Some(bytes.into())
    }

    async fn event_told(&self, event: &[u8]) -> Option<Page> {
        let next = self.format.read::<PageSeen>(event)?.continuation_sequence_number?;
        let millis_behind = millis_behind(&self.store, &self.stream, &self.shard, &next).await;
        // Where the shard is open now, it was when the event was made.
        let children = children(&self.store.get_stream(&self.stream).await.ok()?, &self.shard);
        if millis_behind.is_none() && children.is_empty() {
            return None;
        }
        let page: Page = self.format.read(event)?;
        let is_last = page.records.is_empty()
            && page.child_shards.as_ref().is_some_and(|told| !told.is_empty());
        Some(Page {
            millis_behind_latest: millis_behind.unwrap_or(0),
            continuation_sequence_number: page.continuation_sequence_number.filter(|_| !is_last),
            child_shards: Some(if is_last { children } else { Vec::new() }),
            ..page
        })
    }
}

/// Lets `work` go on as a reader: it holds a turn while it works and none while it sleeps.
///
/// Between the two steps of a put its shard may close: a subscription that came in between would
/// take the shard for read.
async fn in_read_turns<T>(turns: &Turns, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut turn = pin!(turns.read());
    poll_fn(|context| {
        let held = ready!(turn.as_mut().poll(context));
        let polled = work.as_mut().poll(context);
        drop(held);
        turn.set(turns.read());
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_subscription_works_beside_no_writer_and_keeps_none_waiting_while_it_sleeps() {
        let (turns, mut context) = (Turns::default(), Context::from_waker(Waker::noop()));
        let (wake, woken) = oneshot::channel();
        let mut work = pin!(in_read_turns(&turns, woken));

        assert!(work.as_mut().poll(&mut context).is_pending());
        let write = turns.try_write().expect("it sleeps, and holds no turn");
        wake.send("a page").expect("it is awaited");
        assert!(work.as_mut().poll(&mut context).is_pending(), "somebody writes");
        drop(write);
        assert_eq!(work.as_mut().poll(&mut context), Poll::Ready(Ok("a page")));
    }
}
