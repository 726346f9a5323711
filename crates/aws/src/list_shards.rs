//! Lists the shards of a stream, page after page (ListShards).
//!
//! A list ends when the service says so, and a broken service may never say it. So a list has a
//! bound for its pages, one for its shards, and a deadline. A list that exceeds one of them is a
//! failed call.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_kinesis::operation::list_shards::ListShardsOutput;
use aws_sdk_kinesis::types::{Shard as SdkShard, ShardFilter, ShardFilterType};
use dispatchd_core::model::read::ListedShard;
use dispatchd_core::model::{CallError, Cause, Class, Shard};
use tokio::time::timeout;

use super::client::Kinesis;
use super::connection::named;
use super::error::odd_reply;

/// The name of the call.
pub const LIST_SHARDS: &str = "ListShards";

/// The most shards of a list, open and closed: five times the highest quota that an account has by
/// default (20,000 shards in a region; Kinesis' quotas, 2026-09).
const SHARDS_MAX: usize = 100_000;

/// The most pages of a list. Kinesis puts 1,000 shards into a page unless fewer are asked for, so
/// the largest list has a tenth of this.
const PAGES_MAX: usize = 1_000;

/// How long a list may take, all pages together. The largest list takes some seconds.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// The pages of a list so far.
#[derive(Debug, Default)]
struct Pages {
    tokens: HashSet<String>,
    pages: usize,
}

impl Kinesis {
    /// The open shards with the beginnings of their hash ranges.
    ///
    /// # Errors
    /// Any failed call. A range that is not a number and a list that does not end count as
    /// transient failures.
    pub async fn open_shards(&self) -> Result<Vec<Shard>, CallError> {
        let open = ShardFilter::builder()
            .r#type(ShardFilterType::AtLatest)
            .build()
            .map_err(|error| odd_reply(LIST_SHARDS, error))?;
        self.list_shards(Some(open), |shard| {
            let range = shard
                .hash_key_range()
                .ok_or_else(|| odd_reply(LIST_SHARDS, "a shard has no hash key range"))?;
            let first =
                range.starting_hash_key().parse().map_err(|error| odd_reply(LIST_SHARDS, error))?;
            // Some emulators ignore the filter and list closed shards too.
            Ok(is_open(&shard).then_some(Shard { id: shard.shard_id, first }))
        })
        .await
    }

    /// Every shard that may still hold records, open and closed, in no order.
    ///
    /// # Errors
    /// Any failed call. A list that does not end counts as a transient failure.
    pub async fn all_shards(&self) -> Result<Vec<ListedShard>, CallError> {
        self.list_shards(None, |shard| {
            Ok(Some(ListedShard {
                open: is_open(&shard),
                id: shard.shard_id,
                parents: shard
                    .parent_shard_id
                    .into_iter()
                    .chain(shard.adjacent_parent_shard_id)
                    .collect(),
            }))
        })
        .await
    }

    /// Lists the shards, and returns what `keep` makes of them; it may leave a shard out.
    async fn list_shards<T>(
        &self,
        filter: Option<ShardFilter>,
        keep: impl Fn(SdkShard) -> Result<Option<T>, CallError>,
    ) -> Result<Vec<T>, CallError> {
        let list = async {
            let (mut kept, mut listed, mut pages, mut token) =
                (Vec::new(), 0, Pages::default(), None);
            loop {
                let page = self.shards_page(token, &filter).await?;
                let shards = page.shards.unwrap_or_default();
                listed += shards.len();
                token = pages
                    .next(listed, page.next_token)
                    .map_err(|why| odd_reply(LIST_SHARDS, why))?;
                for shard in shards {
                    kept.extend(keep(shard)?);
                }
                if token.is_none() {
                    return Ok(kept);
                }
            }
        };
        timeout(LIST_TIMEOUT, list).await.unwrap_or_else(|_| {
            let message = format!("the list did not end within {} s", LIST_TIMEOUT.as_secs());
            let (class, cause) = (Class::Transient, Cause::ReplyTimeout);
            Err(CallError { operation: LIST_SHARDS, class, cause, code: "Timeout".into(), message })
        })
    }

    async fn shards_page(
        &self,
        token: Option<String>,
        filter: &Option<ShardFilter>,
    ) -> Result<ListShardsOutput, CallError> {
        // Only the request for the first page names the stream and the filter. Later the token
        // stands for both.
        let call = self.sdk.list_shards();
        let call = match token {
            Some(token) => call.next_token(token),
            None => {
                let (name, arn) = named(&self.stream);
                call.set_stream_name(name).set_stream_arn(arn).set_shard_filter(filter.clone())
            }
        };
        self.call(LIST_SHARDS, call.send()).await
    }
}

impl Pages {
    /// Takes note of another page, with which `listed` shards are listed. Returns the token of the
    /// next page, or `None` at the end, for which some servers send an empty token.
    ///
    /// # Errors
    /// Why the list is given up.
    fn next(&mut self, listed: usize, token: Option<String>) -> Result<Option<String>, String> {
        self.pages += 1;
        if listed > SHARDS_MAX {
            return Err(format!("the list has more than {SHARDS_MAX} shards: it is given up"));
        }
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        if self.pages == PAGES_MAX {
            return Err(format!("the list has more than {PAGES_MAX} pages: it is given up"));
        }
        if !self.tokens.insert(token.clone()) {
            return Err(format!(
                "page {} leads to one that was there before: the list does not end",
                self.pages
            ));
        }
        Ok(Some(token))
    }
}

/// Whether a shard is open: the sequence numbers of a closed shard have an end.
fn is_open(shard: &SdkShard) -> bool {
    shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: impl ToString) -> Option<String> {
        Some(text.to_string())
    }

    #[test]
    fn a_list_ends_without_a_token_or_with_an_empty_one() {
        let mut pages = Pages::default();
        assert_eq!(pages.next(1_000, token("a")), Ok(token("a")));
        assert_eq!(pages.next(2_000, token("b")), Ok(token("b")));
        assert_eq!(pages.next(2_100, token("")), Ok(None));
        assert_eq!(Pages::default().next(3, None), Ok(None));
    }

    #[test]
    fn a_list_that_comes_back_to_a_page_fails_however_long_the_way() {
        let mut pages = Pages::default();
        for name in ["a", "b", "c"] {
            assert_eq!(pages.next(1, token(name)), Ok(token(name)));
        }
        assert_eq!(
            pages.next(1, token("a")),
            Err("page 4 leads to one that was there before: the list does not end".into())
        );
    }

    #[test]
    fn a_list_whose_every_token_is_new_is_given_up_by_its_pages_and_by_its_shards() {
        let mut pages = Pages::default();
        let last = (0..).map(|n| pages.next(0, token(n))).find(Result::is_err);
        assert_eq!(last, Some(Err("the list has more than 1000 pages: it is given up".into())));
        assert_eq!(pages.pages, PAGES_MAX);
        let many = Pages::default().next(SHARDS_MAX + 1, None);
        assert_eq!(many, Err("the list has more than 100000 shards: it is given up".into()));
        assert_eq!(Pages::default().next(SHARDS_MAX, None), Ok(None), "so many it may have");
    }
}
