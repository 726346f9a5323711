//! The events that every bench sends: JSON like an order, of exactly so many bytes of `data`.

/// A JSON object of exactly `bytes` bytes, at least 120: strings, numbers and a list, as
/// applications write them.
pub fn data(bytes: usize) -> String {
    const HEAD: &str = r#"{"orderId":"A-1029384","currency":"EUR","total":129.95,"items":["#;
    const ITEM: &str = r#"{"sku":"SKU-000117","quantity":2,"price":12.5},"#;
    const LAST: &str = r#"{}],"note":""}"#;
    let items =
        bytes.checked_sub(HEAD.len() + LAST.len()).expect("at least 120 bytes") / ITEM.len();
    let note = "x".repeat(bytes - HEAD.len() - LAST.len() - items * ITEM.len());
    [HEAD, &ITEM.repeat(items), r#"{}],"note":""#, &note, "\"}"].concat()
}

/// The line that an application writes for it. Lines of one size of data are of one length.
pub fn line(data: &str, key: usize) -> String {
    format!(
        "{{\"type\":\"order.placed\",\"data\":{data},\"options\":{{\"partitionKey\":\"customer-{key:06}\"}}}}\n"
    )
}
