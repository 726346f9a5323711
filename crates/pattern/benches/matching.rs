//! `cargo bench -p dispatchd-pattern`: an event of a KiB through ten thousand patterns, none of
//! which takes it, one by one and as one.

use dispatchd_pattern::Pattern;
use divan::{Bencher, counter::ItemsCount};

const PATTERNS: usize = 10_000;

fn main() {
    divan::main();
}

/// As an application writes it: an envelope around an order.
fn event() -> String {
    let item = |n: u32| {
        format!(r#"{{"sku":"SKU-{n:05}","name":"An article, number {n}","n":{n},"price":{n}.95}}"#)
    };
    let items: Vec<String> = (0..12).map(item).collect();
    let event = format!(
        r#"{{"id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","type":"order placed","data":{{"total":250.5,"items":[{}]}},"timestamp":"2026-11-20T21:34:09.335Z","source":{{"userId":null,"producerId":"shop@host-1","kinesisPartitionKey":"order-17"}}}}"#,
        items.join(",")
    );
    assert!((950..1100).contains(&event.len()), "{} bytes are about one KiB", event.len());
    event
}

#[divan::bench]
fn by_type(bencher: Bencher) {
    each(bencher, of_type);
}

#[divan::bench]
fn by_type_in_one(bencher: Bencher) {
    in_one(bencher, of_type);
}

#[divan::bench]
fn by_what_is_in_a_list_of_objects(bencher: Bencher) {
    each(bencher, of_list);
}

#[divan::bench]
fn by_what_is_in_a_list_of_objects_in_one(bencher: Bencher) {
    in_one(bencher, of_list);
}

fn of_type(n: usize) -> String {
    format!(r#"{{"type": ["order {n}", "order {n} placed"]}}"#)
}

/// None of the first twelve thousand articles: every pattern is looked at whole.
fn of_list(n: usize) -> String {
    format!(
        r#"{{"type": [{{"prefix": "order "}}], "data": {{"items": {{"sku": [{{"wildcard": "*-1{n:05}"}}], "price": [{{"numeric": [">", 5]}}]}}}}}}"#
    )
}

/// The event is read for each pattern.
fn each(bencher: Bencher, pattern: impl Fn(usize) -> String) {
    let (event, patterns) = (event(), patterns(pattern));
    bencher.counter(ItemsCount::new(PATTERNS)).bench_local(|| {
        let matched = |pattern: &&Pattern| pattern.matches(&event) == Ok(true);
        assert_eq!(patterns.iter().filter(matched).count(), 0);
    });
}

/// The event is read once.
fn in_one(bencher: Bencher, pattern: impl Fn(usize) -> String) {
    let (event, pattern) = (event(), Pattern::any_of(patterns(pattern)));
    bencher
        .counter(ItemsCount::new(PATTERNS))
        .bench_local(|| assert_eq!(pattern.matches(&event), Ok(false)));
}

fn patterns(pattern: impl Fn(usize) -> String) -> Vec<Pattern> {
    let parse = |n| Pattern::parse(&pattern(n)).expect("it is a pattern");
    (0..PATTERNS).map(parse).collect()
}
