//! What the form of a record costs: whether it fits, and its part of a request's body.
//!
//!     cargo bench -p dispatchd-consumer --bench formats

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use dispatchd_consumer::delivery::{Delivered, Place};
use dispatchd_consumer::format::{Encoder, Format};
use dispatchd_core::wire::forward::lambda::Mapping;
use divan::Bencher;
use divan::counter::ItemsCount;

/// Records that go through a form in one turn.
const RECORDS: usize = 100;

fn main() {
    divan::main();
}

/// Events of 1 KiB, in an envelope.
fn records() -> Vec<Arc<Delivered>> {
    let data = format!(
        r#"{{"id":"5f0f6a3e","type":"order.placed","data":{{"text":"{}"}},"timestamp":"2026-11-20T21:34:09.335Z","source":{{"userId":null,"producerId":"shop","kinesisPartitionKey":"k"}}}}"#,
        "x".repeat(850)
    );
    let data = bytes::Bytes::from(data);
    let record = |n: usize| {
        let place = Place {
            sequence_number: format!("4968040979983134043207531358901874384436572209{n:010}"),
            sub_sequence_number: None,
        };
        Arc::new(Delivered {
            shard: "shardId-000000000001".into(),
            place,
            partition_key: Some(format!("key-{}", n % 97)),
            data: data.clone(),
            arrived: Some(SystemTime::UNIX_EPOCH),
            misfit: None,
        })
    };
    (0..RECORDS).map(record).collect()
}

#[divan::bench(args = Format::NAMES)]
fn form(bencher: Bencher<'_, '_>, name: &str) {
    let format: Format = name.parse().expect("it is a name of one");
    let mapping = Mapping {
        stream_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/events".to_owned(),
        region: "eu-west-1".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/forward".to_owned(),
    };
    let (encoder, records) = (Encoder::new(format, mapping), records());
    let a_request = format.batch_records_default().min(RECORDS);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        for batch in records.chunks(a_request) {
            assert!(batch.iter().all(|record| format.misfit(record).is_none()));
            black_box(encoder.request(batch, None).expect("it fits"));
        }
    });
}
