//! What the fault server does to single records, and that chance is repeatable.
//!
//! After each case the ledger is compared with the stream itself, read without the proxy.

use aws_sdk_kinesis::error::ProvideErrorMetadata;
use testkit::bench::{Bench, THROTTLED, codes};
use testkit::eventually;
use testkit::fault::ledger::Done;
use testkit::fault::plan::{Fault, Plan, Poison, RecordError, Refusal, ShardLimits};
use testkit::stream::{entries, entry, hash_of, put, shard_of, shards, split};

#[tokio::test]
async fn without_a_plan_everything_is_stored_and_booked() {
    let bench = Bench::start(3).await;
    let answer = bench.put(100).await;
    assert_eq!(answer.failed_record_count(), Some(0));
    bench.stored(100).await;

    let ledger = bench.server.ledger();
    let fact = &ledger.requests()[0];
    assert_eq!((fact.number, fact.stored, fact.failed, &fact.done), (1, 100, 0, &Done::Passed));
    assert_eq!(fact.keys, (0..100).map(|n| format!("key-{n}")).collect::<Vec<_>>());
    assert_eq!(
        fact.bytes,
        ledger.records().iter().map(|r| r.data.len() + r.partition_key.len()).sum::<usize>()
    );
    assert!(fact.ended.is_some_and(|ended| ended >= fact.at));
    assert_eq!((ledger.in_flight(), ledger.in_flight_max()), (0, 1));
    for (place, (record, answered)) in ledger.records().iter().zip(answer.records()).enumerate() {
        assert_eq!((record.arrival, record.place, record.request), (place, place, 1));
        assert_eq!(Some(record.sequence.as_str()), answered.sequence_number());
    }
}

#[tokio::test]
async fn failed_records_keep_their_place_and_only_the_others_are_stored() {
    let bench = Bench::start(3).await;
    let shards = shards(&bench.direct, "s").await;
    bench.server.next(Fault::FailRecords(vec![0, 3, 9, 700], RecordError::Throttled));
    let answer = bench.put(10).await;
    assert_eq!(answer.failed_record_count(), Some(3));
    let failed: Vec<usize> = (0..10).filter(|n| codes(&answer)[*n] == Some(THROTTLED)).collect();
    assert_eq!(failed, [0, 3, 9]);
    // The message names the shard, as AWS does.
    for place in failed {
        let shard = shard_of(&shards, hash_of(&format!("key-{place}")));
        let message = answer.records()[place].error_message().expect("an error has a message");
        assert_eq!(
            message,
            format!("Rate exceeded for shard {shard} in stream s under account 000000000000.")
        );
    }
    bench.stored(7).await;
    let ledger = bench.server.ledger();
    assert_eq!(ledger.records().iter().map(|r| r.place).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 7, 8]);
    assert_eq!((ledger.requests()[0].stored, ledger.requests()[0].failed), (7, 3));
}

#[tokio::test]
async fn when_every_record_fails_the_upstream_hears_nothing() {
    let bench = Bench::start(1).await;
    bench.server.next(Fault::FailAll(RecordError::Internal));
    let odd = RecordError::Other { code: "Odd".to_owned(), message: "never seen".to_owned() };
    bench.server.next(Fault::FailAll(odd));
    let answer = bench.put(5).await;
    assert_eq!(answer.failed_record_count(), Some(5));
    assert_eq!(codes(&answer), [Some("InternalFailure"); 5]);
    assert_eq!(answer.records()[0].error_message(), Some("Internal service failure."));
    assert_eq!(codes(&bench.put(2).await), [Some("Odd"); 2]);
    bench.stored(0).await;
}

#[tokio::test]
async fn ratios_hold_over_many_records() {
    let bench = Bench::start(2).await;
    bench.server.set(Plan { throttled_ratio: 0.3, internal_ratio: 0.1, ..Plan::default() });
    let mut counts = [0; 3];
    for _ in 0..8 {
        for code in codes(&bench.put(500).await) {
            counts[match code {
                None => 0,
                Some(THROTTLED) => 1,
                _ => 2,
            }] += 1;
        }
    }
    assert!((1_080..1_320).contains(&counts[1]), "30 % of 4,000: {counts:?}");
    assert!((320..480).contains(&counts[2]), "10 % of 4,000: {counts:?}");
    bench.stored(counts[0]).await;
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let plan = Plan {
        throttled_ratio: 0.2,
        internal_ratio: 0.2,
        refusals: vec![(0.2, Refusal::unavailable()), (0.1, Refusal::expired_token())],
        cut_ratio: 0.2,
        short_ratio: 0.1,
        ..Plan::default()
    };
    let mut seen = Vec::new();
    for seed in [7, 7, 8] {
        let bench = Bench::seeded(2, seed).await;
        bench.server.set(plan.clone());
        let mut answers = Vec::new();
        for _ in 0..20 {
            let request =
                bench.client.put_records().stream_name("s").set_records(Some(entries(20)));
            let answer = request.send().await;
            answers.push(answer.map_or_else(
                |error| vec![Some(format!("{:?}", error.code()))],
                |answer| codes(&answer).into_iter().map(|code| code.map(str::to_owned)).collect(),
            ));
        }
        bench
            .stored(bench.server.ledger().requests().iter().map(|request| request.stored).sum())
            .await;
        seen.push((answers, bench.done()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[tokio::test]
async fn a_shard_over_its_limits_throttles_the_rest_until_it_has_room_again() {
    let bench = Bench::start(2).await;
    let shards = shards(&bench.direct, "s").await;
    let to = |place: usize, bytes: usize| {
        let mut record = entry("k", vec![b'x'; bytes]);
        record.explicit_hash_key = Some(shards[place].first.to_string());
        record
    };
    bench.server.set(Plan {
        shard_limits: Some(ShardLimits { records_per_s: 4, bytes_per_s: 1_000 }),
        ..Plan::default()
    });
    // Four small ones fit the first shard; by bytes, only one fits the other.
    let mut records: Vec<_> = (0..6).map(|_| to(0, 10)).collect();
    records.extend([to(1, 900), to(1, 900)]);
    let answer = put(&bench.client, "s", records).await;
    let (ok, full) = (None, Some(THROTTLED));
    assert_eq!(codes(&answer), [ok, ok, ok, ok, full, full, ok, full]);
    bench.stored(5).await;

    eventually("the shard has room again", async || {
        let answer = put(&bench.client, "s", vec![to(0, 10)]).await;
        (answer.failed_record_count() == Some(0)).then_some(())
    })
    .await;
    bench.stored(6).await;
}

#[tokio::test]
async fn after_a_split_the_children_have_limits_of_their_own() {
    let bench = Bench::start(1).await;
    let limits = ShardLimits { records_per_s: 20, bytes_per_s: 1_000_000 };
    bench.server.set(Plan { shard_limits: Some(limits), ..Plan::default() });
    bench.put(1).await;
    let parent = shards(&bench.direct, "s").await.remove(0);
    split(&bench.direct, "s", &parent).await;
    let children = shards(&bench.direct, "s").await;
    // One request is judged by the old map and shows the new one.
    bench.put(1).await;
    let answer = bench.put(200).await;
    let mut taken = [0, 0];
    for record in answer.records().iter().filter_map(|record| record.shard_id()) {
        taken[usize::from(record == children[2].id)] += 1;
    }
    assert_eq!(taken, [20, 20]);
    let throttled = answer
        .records()
        .iter()
        .find_map(|record| record.error_message())
        .expect("200 are too many");
    assert!(!throttled.contains(&parent.id), "{throttled}");
}

#[tokio::test]
async fn poison_refuses_the_whole_request_and_names_the_records_or_not() {
    let bench = Bench::start(1).await;
    let records = |sizes: [usize; 4]| sizes.map(|bytes| entry("k", vec![b'x'; bytes])).to_vec();
    for named in [true, false] {
        bench
            .server
            .set(Plan { poison: Some(Poison { max_record_bytes: 100, named }), ..Plan::default() });
        let request = bench
            .client
            .put_records()
            .stream_name("s")
            .set_records(Some(records([5, 100, 99, 200])));
        let error = request.send().await.expect_err("two records are over 100 bytes, key counted");
        assert_eq!(error.code(), Some("ValidationException"));
        let message = error.message().expect("an error has a message");
        let names: Vec<bool> =
            (1..=4).map(|n| message.contains(&format!("records.{n}.member.data"))).collect();
        assert_eq!(names, [false, named, false, named], "{message}");
    }
    bench.stored(0).await;
    assert_eq!(
        put(&bench.client, "s", records([1, 2, 3, 99])).await.failed_record_count(),
        Some(0)
    );
    bench.stored(4).await;
}

#[test]
fn a_plan_goes_to_json_and_back() {
    let plan = Plan {
        throttled_ratio: 0.25,
        refusals: vec![(0.5, Refusal::internal()), (0.1, Refusal::empty(502))],
        shard_limits: Some(ShardLimits { records_per_s: 1_000, bytes_per_s: 1 << 20 }),
        poison: Some(Poison { max_record_bytes: 9, named: true }),
        denied: [("ListShards".to_owned(), Refusal::access_denied())].into(),
        ..Plan::default()
    };
    let json = serde_json::to_string(&plan).expect("a plan prints");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("and reads"), plan);
    assert_eq!(serde_json::from_str::<Plan>("{}").expect("all has a default"), Plan::default());
}

#[test]
#[should_panic(expected = "ratios sum up to more than 1")]
fn a_plan_that_cannot_be_is_not_taken() {
    Plan { cut_ratio: 0.6, hang_after_ratio: 0.6, ..Plan::default() }.check();
}
