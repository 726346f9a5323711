//! What the delivery of a shard costs a record: taken in, sent in batches of 100, delivered.
//!
//!     cargo bench -p dispatchd-consumer

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use dispatchd_consumer::delivery::{
    Delivered, Now, Place, Read, Response, Rules, ShardDelivery, Step,
};
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// Records of a page.
const PAGE: usize = 1000;

fn main() {
    divan::main();
}

/// A page of records of 1 KiB, as they come from Kinesis.
fn page() -> Vec<Read> {
    let data = bytes::Bytes::from(vec![0; 1024]);
    let record = |n: usize| {
        let place = Place {
            sequence_number: format!("4968040979983134043207531358901874384436572209{n:010}"),
            sub_sequence_number: None,
        };
        Read::Wanted(Delivered {
            shard: "shardId-000000000001".into(),
            place,
            partition_key: Some(format!("key-{}", n % 97)),
            data: data.clone(),
            arrived: Some(SystemTime::UNIX_EPOCH),
            misfit: None,
        })
    };
    (0..PAGE).map(record).collect()
}

#[divan::bench(args = [1, 4])]
fn deliver(bencher: Bencher<'_, '_>, strands: usize) {
    let rules = Rules { strands, ..Rules::new(|record| record.data.len()) };
    let now = Now { instant: Instant::now(), time: SystemTime::now() };
    bencher
        .counter(ItemsCount::new(PAGE))
        .with_inputs(|| (page(), SmallRng::seed_from_u64(7)))
        .bench_local_values(|(page, mut rng)| {
            let mut delivery = ShardDelivery::new(rules, None);
            delivery.take_in(page, (), now.instant);
            loop {
                match delivery.turn(now) {
                    Step::Send(batch) => {
                        let id = black_box(batch).id;
                        delivery.responded(id, Response::Delivered, now.instant, &mut rng);
                    }
                    Step::Persist(_) => delivery.persisted(true, now.instant, &mut rng),
                    _ => break delivery,
                }
            }
        });
}
