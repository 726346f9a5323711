//! What goes wrong, and when. Pure: a course is computed from plan, seed and request number;
//! nothing happens here.
//!
//! The chance of request `n` depends on the seed and on `n` alone, and every draw is made whether
//! it is used or not. So the same seed and the same order of requests give the same faults, and a
//! changed ratio moves no other fault.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// The standing rules. `Plan::default()` lets everything pass. Ratios are 0.0 to 1.0. Goes to JSON
/// and back, so that a failing test can print what it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Single records answered `ProvisionedThroughputExceededException`; they never reach the
    /// upstream.
    pub throttled_ratio: f64,
    /// Single records answered `InternalFailure`; they never reach the upstream.
    pub internal_ratio: f64,
    /// PutRecords refused whole, each refusal with its ratio. Nothing of them is stored.
    pub refusals: Vec<(f64, Refusal)>,
    /// Connection closed without a byte; nothing stored.
    pub close_before_ratio: f64,
    /// No answer; nothing stored.
    pub hang_before_ratio: f64,
    /// No answer; stored.
    pub hang_after_ratio: f64,
    /// Stored, then the connection dies in the middle of the reply.
    pub cut_ratio: f64,
    /// Stored, then a reply that lacks its last record.
    pub short_ratio: f64,
    /// Every PutRecords takes this long, plus up to `jitter_ms`, before it is stored or refused.
    pub latency_ms: u64,
    pub jitter_ms: u64,
    /// Every shard takes so much and throttles the rest, record by record.
    pub shard_limits: Option<ShardLimits>,
    /// Records that the service will never take.
    pub poison: Option<Poison>,
    /// What the stream says of the size of its records, in KiB; a larger one is refused as
    /// [`Plan::poison`] is, named.
    pub record_limit_kib: Option<usize>,
    /// Who alone is let in, to whatever operation.
    pub caller: Option<CallerRule>,
    /// Operations refused always, by name (`"ListShards"`, also `"PutRecords"`).
    pub denied: BTreeMap<String, Refusal>,
}

/// Requests that another key has signed are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallerRule {
    pub key_id: String,
    pub refusal: Refusal,
}

/// A token bucket for each shard, one second deep, full at first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardLimits {
    pub records_per_s: u32,
    pub bytes_per_s: u32,
}

/// A request that holds a record over the limit is refused whole with a ValidationException.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poison {
    /// Data and partition key.
    pub max_record_bytes: usize,
    /// Whether the message names the records (`records.N.member.data`) or leaves the client to find
    /// them.
    pub named: bool,
}

/// An error for a whole request, in the AWS JSON form. Without a code the message, often empty, is
/// the whole body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub status: u16,
    pub code: Option<String>,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: &str) -> Refusal {
        Refusal { status, code: Some(code.to_owned()), message: message.to_owned() }
    }

    /// A bare status, as load balancers answer.
    pub fn empty(status: u16) -> Refusal {
        Refusal { status, code: None, message: String::new() }
    }

    /// No refusal at all, but this answer in place of the upstream's.
    pub fn answer(body: impl ToString) -> Refusal {
        Refusal { status: 200, code: None, message: body.to_string() }
    }

    pub fn access_denied() -> Refusal {
        let message = "User: arn:aws:iam::000000000000:user/test is not authorized to perform: kinesis:PutRecords";
        Refusal::new(400, "AccessDeniedException", message)
    }

    pub fn expired_token() -> Refusal {
        Refusal::new(
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )
    }

    pub fn unknown_key() -> Refusal {
        Refusal::new(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    }

    pub fn stream_missing(stream: &str) -> Refusal {
        let message = format!("Stream {stream} under account 000000000000 not found.");
        Refusal::new(400, "ResourceNotFoundException", &message)
    }

    pub fn throttled() -> Refusal {
        Refusal::new(400, "ProvisionedThroughputExceededException", "Rate exceeded for stream.")
    }

    pub fn limit_exceeded() -> Refusal {
        Refusal::new(400, "LimitExceededException", "Rate exceeded for stream.")
    }

    pub fn kms_throttled() -> Refusal {
        Refusal::new(
            400,
            "KMSThrottlingException",
            "The request was denied due to request throttling.",
        )
    }

    pub fn internal() -> Refusal {
        Refusal::new(500, "InternalFailure", "Internal service failure.")
    }

    pub fn unavailable() -> Refusal {
        Refusal::new(
            503,
            "ServiceUnavailable",
            "The service is temporarily unable to handle the request.",
        )
    }
}

/// An error for one record in a reply that is otherwise a success.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordError {
    Throttled,
    Internal,
    Other { code: String, message: String },
}

/// Exactly what happens to one request, whatever the ratios say. Latency, shard limits and poison
/// hold for it too.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// None: the request is spared the ratios.
    Pass,
    Refuse(Refusal),
    /// The records at these places fail, the others are stored. Places that the request does not
    /// have are ignored.
    FailRecords(Vec<usize>, RecordError),
    /// Every record fails; the upstream hears nothing.
    FailAll(RecordError),
    CloseBefore,
    HangBefore,
    HangAfter,
    Cut,
    Short,
    /// Stored, then this body with status 200 in place of the reply.
    Say(String),
    /// Takes this much longer than the plan says.
    Delay(Duration),
}

/// What happens to one request: the plan, or the script, applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    pub delay: Duration,
    pub before: Option<Before>,
    /// One entry for each record.
    pub records: Vec<Option<RecordError>>,
    pub after: Option<After>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Before {
    Refuse(Refusal),
    Close,
    Hang,
}

#[derive(Clone, Debug, PartialEq)]
pub enum After {
    Hang,
    Cut,
    Short,
    Say(String),
}

impl Plan {
    /// Panics on ratios that cannot be: a plan is written by a test's author.
    pub fn check(&self) {
        let requests: f64 = self.request_faults().map(|(ratio, ..)| ratio).sum();
        let records = self.throttled_ratio + self.internal_ratio;
        let all = self
            .request_faults()
            .map(|(ratio, ..)| ratio)
            .chain([self.throttled_ratio, self.internal_ratio]);
        assert!(all.into_iter().all(|ratio| ratio >= 0.0), "a ratio is negative: {self:?}");
        assert!(requests <= 1.0 && records <= 1.0, "ratios sum up to more than 1: {self:?}");
    }

    /// The refusal of a request with this `Authorization`, if its key is not the one that is let
    /// in.
    pub fn turn_away(&self, authorization: &str) -> Option<Refusal> {
        let rule = self.caller.as_ref()?;
        let signed_by =
            authorization.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next());
        (signed_by != Some(&rule.key_id)).then(|| rule.refusal.clone())
    }

    /// The rules of size that a record has to meet.
    pub fn size_rules(&self) -> impl Iterator<Item = Poison> {
        let limit =
            self.record_limit_kib.map(|kib| Poison { max_record_bytes: kib * 1024, named: true });
        self.poison.into_iter().chain(limit)
    }

    /// The course of request `number`, which has `records_count` records.
    pub fn course(
        &self,
        scripted: Option<Fault>,
        seed: u64,
        number: u64,
        records_count: usize,
    ) -> Course {
        let mut rng = StdRng::seed_from_u64(seed.rotate_left(32) ^ number);
        let delay = Duration::from_millis(self.latency_ms)
            + Duration::from_millis(self.jitter_ms).mul_f64(rng.random::<f64>());
        let mut course =
            Course { delay, before: None, records: vec![None; records_count], after: None };
        match scripted {
            Some(fault) => course.apply(fault),
            None => self.by_chance(&mut course, &mut rng),
        }
        course
    }

    fn by_chance(&self, course: &mut Course, rng: &mut StdRng) {
        let mut draw: f64 = rng.random();
        for (ratio, before, after) in self.request_faults() {
            if draw < ratio {
                (course.before, course.after) = (before, after);
                break;
            }
            draw -= ratio;
        }
        for record in &mut course.records {
            let draw: f64 = rng.random();
            if draw < self.throttled_ratio {
                *record = Some(RecordError::Throttled);
            } else if draw < self.throttled_ratio + self.internal_ratio {
                *record = Some(RecordError::Internal);
            }
        }
    }

    fn request_faults(&self) -> impl Iterator<Item = (f64, Option<Before>, Option<After>)> {
        let refusals = self
            .refusals
            .iter()
            .map(|(ratio, refusal)| (*ratio, Some(Before::Refuse(refusal.clone())), None));
        refusals.chain([
            (self.close_before_ratio, Some(Before::Close), None),
            (self.hang_before_ratio, Some(Before::Hang), None),
            (self.hang_after_ratio, None, Some(After::Hang)),
            (self.cut_ratio, None, Some(After::Cut)),
            (self.short_ratio, None, Some(After::Short)),
        ])
    }
}

impl Course {
    fn apply(&mut self, fault: Fault) {
        match fault {
            Fault::Pass => {}
            Fault::Refuse(refusal) => self.before = Some(Before::Refuse(refusal)),
            Fault::FailRecords(places, error) => {
                for place in places {
                    if let Some(record) = self.records.get_mut(place) {
                        *record = Some(error.clone());
                    }
                }
            }
            Fault::FailAll(error) => self.records.fill(Some(error)),
            Fault::CloseBefore => self.before = Some(Before::Close),
            Fault::HangBefore => self.before = Some(Before::Hang),
            Fault::HangAfter => self.after = Some(After::Hang),
            Fault::Cut => self.after = Some(After::Cut),
            Fault::Short => self.after = Some(After::Short),
            Fault::Say(body) => self.after = Some(After::Say(body)),
            Fault::Delay(longer) => self.delay += longer,
        }
    }
}
