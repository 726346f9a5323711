//! What checking an event costs, and loading a folder. `cargo bench -p dispatchd-schema`.

use dispatchd_schema::catalog::Catalog;
use dispatchd_schema::compiled::Schema;
use dispatchd_schema::shape::{Rules, Shape};
use dispatchd_schema::text::print;
use divan::{Bencher, black_box};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// Some 200 bytes in ten fields.
fn event() -> Value {
    json!({
        "orderId": "09616966-9f74-4da9-b7f5-2f56770e4f71",
        "at": "2026-11-20T21:34:09.335Z",
        "customer": "c-10023",
        "total": 129.95,
        "currency": "EUR",
        "lines": 3,
        "paid": true,
        "coupon": null,
        "channel": "web",
        "note": "",
    })
}

fn schema(rules: Rules) -> Value {
    let mut shape = Shape::default();
    shape.see(&event()).expect("it is not deep");
    shape.to_schema("OrderPlaced", rules)
}

#[divan::bench]
fn an_event_of_ten_fields(bencher: Bencher<'_, '_>) {
    let (schema, text) = (Schema::load(&schema(Rules::Strict)), event().to_string());
    let schema = schema.expect("it is a schema");
    bencher.bench_local(|| black_box(&schema).validate(black_box(&text)).is_ok());
}

#[divan::bench]
fn an_event_that_does_not_fit(bencher: Bencher<'_, '_>) {
    let schema = Schema::load(&schema(Rules::Strict)).expect("it is a schema");
    let text = event().to_string().replace("true", "1");
    bencher.bench_local(|| black_box(&schema).validate(black_box(&text)).is_err());
}

#[divan::bench]
fn a_folder_of_a_thousand_types(bencher: Bencher<'_, '_>) {
    let text = print(&schema(Rules::Strict));
    let names: Vec<String> =
        (0..1_000).map(|number| format!("OrderPlaced{number}.schema.json")).collect();
    bencher.bench_local(|| {
        let mut catalog = Catalog::default();
        for name in &names {
            catalog.add(name, black_box(&text).as_bytes()).expect("it is right");
        }
        catalog.len()
    });
}

/// A megabyte that a pattern is tried on, one which readers that follow all branches are slow at.
#[divan::bench]
fn a_long_text_and_a_bad_pattern(bencher: Bencher<'_, '_>) {
    let schema = Schema::load(&json!({"pattern": "(a{0,15}){0,15}[ab]$"}));
    let (schema, text) = (schema.expect("it is a schema"), json!("a".repeat(1024 * 1024)));
    let text = text.to_string();
    bencher.bench_local(|| black_box(&schema).validate(black_box(&text)).is_ok());
}

/// Patterns as people write them, and the slowest ones that are loaded.
#[divan::bench(args = [
    "^[A-Za-z0-9_-]{1,64}$",
    "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "^.{1,200}$",
    "((a|b|c){0,30}){0,30}",
])]
fn a_pattern_is_loaded(bencher: Bencher<'_, '_>, pattern: &str) {
    let schema = json!({ "pattern": pattern });
    bencher.bench_local(|| Schema::load(black_box(&schema)).expect("it is within the bounds"));
}
