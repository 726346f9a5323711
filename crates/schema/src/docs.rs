//! One page a type, for people: what its data has, and a sample. It reads the schema as it is
//! written; texts of schemas and samples are escaped in both forms.

use std::fmt::Write;

use serde_json::Value;

use crate::text;

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Markdown,
    Html,
}

/// A property, at any depth.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// Its place: `items[].price`.
    place: String,
    kind: String,
    is_required: bool,
    meaning: String,
}

impl Form {
    /// How the names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Markdown => ".md",
            Self::Html => ".html",
        }
    }

    /// The page of a type.
    pub fn page(self, event_type: &str, schema: &Value, sample: Option<&Value>) -> String {
        let mut rows = Vec::new();
        rows_of(schema, "", &mut rows);
        let about = schema.get("description").and_then(Value::as_str);
        let sample = sample.map(text::print_data_pretty);
        match self {
            Self::Markdown => markdown(event_type, about, &rows, sample.as_deref()),
            Self::Html => html(event_type, about, &rows, sample.as_deref()),
        }
    }
}

/// The properties below a schema. References are named, not followed: what they lead to may lead
/// back.
fn rows_of(schema: &Value, place: &str, rows: &mut Vec<Row>) {
    let is_required = |name: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let named = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in named {
        let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        rows.push(row(place.clone(), property, is_required(name)));
        rows_of(property, &place, rows);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(keyword).filter(|inner| inner.is_object()) {
            let place = format!("{place}{suffix}");
            if inner.get("properties").is_none() {
                rows.push(row(place.clone(), inner, false));
            }
            rows_of(inner, &place, rows);
        }
    }
}

fn row(place: String, schema: &Value, is_required: bool) -> Row {
    let meaning = schema.get("description").and_then(Value::as_str).unwrap_or("").to_owned();
    Row { place, kind: kind(schema), is_required, meaning }
}

fn kind(schema: &Value) -> String {
    let types = match schema.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => reference.rsplit('/').next().unwrap_or(reference).to_owned(),
            None => "anything".to_owned(),
        },
    };
    let format = schema.get("format").and_then(Value::as_str);
    let mut kind = format.map_or(types.clone(), |format| format!("{types} ({format})"));
    let listed = schema.get("enum").and_then(Value::as_array);
    let only = schema.get("const").map(std::slice::from_ref);
    if let Some(values) = listed.map(Vec::as_slice).or(only) {
        let values: Vec<_> = values.iter().map(text::print_data).collect();
        // Writing to a String cannot fail.
        let _ = write!(kind, ": {}", values.join(", "));
    }
    kind
}

fn markdown(event_type: &str, about: Option<&str>, rows: &[Row], sample: Option<&str>) -> String {
    // What stands in a cell must not end it, nor begin anything of HTML.
    let cell = |text: &str| escaped(text).replace('|', "\\|").replace('\n', " ");
    let mut page = format!("# {}\n", cell(event_type));
    // Writing to a String cannot fail.
    if let Some(about) = about {
        let _ = write!(page, "\n{}\n", escaped(about));
    }
    if !rows.is_empty() {
        page.push_str("\n| property | type | required | meaning |\n|---|---|---|---|\n");
    }
    for Row { place, kind, is_required, meaning } in rows {
        let required = if *is_required { "yes" } else { "no" };
        let (place, kind, meaning) = (cell(place), cell(kind), cell(meaning));
        let _ = writeln!(page, "| {place} | {kind} | {required} | {meaning} |");
    }
    if let Some(sample) = sample {
        // Fences of four end only with four, and JSON has no line that begins with one.
        let _ = write!(page, "\n## Sample\n\n````json\n{sample}\n````\n");
    }
    page
}

fn html(event_type: &str, about: Option<&str>, rows: &[Row], sample: Option<&str>) -> String {
    let title = escaped(event_type);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n"
    );
    // Writing to a String cannot fail.
    if let Some(about) = about {
        let _ = writeln!(page, "<p>{}</p>", escaped(about));
    }
    if !rows.is_empty() {
        page.push_str(
            "<table>\n<tr><th>property</th><th>type</th><th>required</th><th>meaning</th></tr>\n",
        );
        for Row { place, kind, is_required, meaning } in rows {
            let required = if *is_required { "yes" } else { "no" };
            let cells = [place.as_str(), kind.as_str(), required, meaning.as_str()].map(escaped);
            let _ = writeln!(page, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
        }
        page.push_str("</table>\n");
    }
    if let Some(sample) = sample {
        let _ = writeln!(page, "<h2>Sample</h2>\n<pre>{}</pre>", escaped(sample));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_has_every_property_at_its_place_and_the_sample() {
        let schema = json!({
            "description": "An order.",
            "type": "object",
            "properties": {
                "at": {"type": "string", "format": "date"},
                "lines": {"type": "array", "items": {
                    "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                }},
                "state": {"enum": ["new", "a|b"], "description": "Where it stands"},
                "prices": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
            },
            "required": ["at"],
        });
        let sample = json!({"at": "2026-11-20"});
        let page = Form::Markdown.page("Order <1>", &schema, Some(&sample));
        for part in [
            "# Order &lt;1&gt;\n\nAn order.\n",
            "| at | string (date) | yes |  |\n",
            "| lines | array | no |  |\n| lines[].n | integer | yes |  |\n",
            "| state | anything: &quot;new&quot;, &quot;a\\|b&quot; | no | Where it stands |\n",
            "| prices{} | number or null | no |  |\n",
            "````json\n{\n  \"at\": \"2026-11-20\"\n}\n````\n",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        let page = Form::Html.page("Order <1>", &schema, Some(&sample));
        assert!(page.contains("<h1>Order &lt;1&gt;</h1>") && page.contains("<td>lines[].n</td>"));
        assert!(!page.contains("<1>"));
    }
}
