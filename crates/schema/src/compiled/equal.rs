//! Values that are equal as JSON Schema has it: 1 and 1.0, objects in any order of their keys,
//! texts however they are escaped. Made canonical, equal values are equal texts.

use serde_json::{Map, Number, Value};

use super::number::Amount;

/// The one text of a value.
pub(crate) fn canonical(value: &Value) -> String {
    crate::text::print_data(&with_integers(value))
}

/// The same of a JSON text; of one that is no JSON, itself.
pub(super) fn canonical_text(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| canonical(&value))
}

fn with_integers(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(as_integer(number)),
        Value::Array(members) => members.iter().map(with_integers).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), with_integers(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        value => value.clone(),
    }
}

/// 1 for 1.0, where a double is exact.
fn as_integer(number: &Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    match Amount::read(&number.to_string()) {
        Amount::Double(double) if double.fract() == 0.0 && double.abs() <= EXACT => {
            Number::from(double as i64)
        }
        _ => number.clone(),
    }
}
