//! The schemas of the envelopes that events are published in: what a consumer finds around `data`.
//! Written by hand; what is inside `data` is the types' own.

/// The form `lk`: every key, with `source.userId`, which the published schema of `lk-dispatch`
/// forgets (it has `producerId` twice).
const LK: &str = include_str!("envelope/lk.json");
/// The form `type-data`.
const TYPE_DATA: &str = include_str!("envelope/type-data.json");
/// The form `eventbridge`.
const EVENTBRIDGE: &str = include_str!("envelope/eventbridge.json");
/// The form `cloudevents`.
const CLOUDEVENTS: &str = include_str!("envelope/cloudevents.json");

/// A form: its name, its schema, and the keys of its type and its data.
#[derive(Debug, Clone, Copy)]
pub struct Envelope {
    pub profile: &'static str,
    pub schema: &'static str,
    pub type_key: &'static str,
    pub data_key: &'static str,
}

/// Every form, by the name that the configuration has for it.
pub const ENVELOPES: [Envelope; 4] = [
    Envelope { profile: "lk", schema: LK, type_key: "type", data_key: "data" },
    Envelope { profile: "type-data", schema: TYPE_DATA, type_key: "type", data_key: "data" },
    Envelope {
        profile: "eventbridge",
        schema: EVENTBRIDGE,
        type_key: "detail-type",
        data_key: "detail",
    },
    Envelope { profile: "cloudevents", schema: CLOUDEVENTS, type_key: "type", data_key: "data" },
];

impl Envelope {
    /// The form of this name.
    pub fn named(profile: &str) -> Option<Self> {
        ENVELOPES.into_iter().find(|envelope| envelope.profile == profile)
    }

    /// The schema of an event of one type in this form.
    pub fn around(&self, event_type: &str, data: serde_json::Value) -> serde_json::Value {
        let mut schema: serde_json::Value =
            serde_json::from_str(self.schema).expect("the tests read every one");
        let properties = &mut schema["properties"];
        properties[self.type_key] = serde_json::json!({"const": event_type});
        properties[self.data_key] = data;
        schema["title"] = event_type.into();
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiled::Schema;
    use serde_json::{Value, json};

    #[test]
    fn every_form_is_a_schema_that_is_written_as_we_write_one() {
        for envelope in ENVELOPES {
            let schema: Value = serde_json::from_str(envelope.schema).expect("it is JSON");
            assert_eq!(crate::text::print(&schema), envelope.schema, "{}", envelope.profile);
            Schema::load(&schema).expect("it is loaded");
        }
    }

    #[test]
    fn an_event_of_lk_dispatch_fits_and_its_user_is_a_text_or_null() {
        let schema = Envelope::named("lk").expect("there is one").around("eventType", json!({}));
        let schema = Schema::load(&schema).expect("it is loaded");
        let event = |user: Value| {
            json!({
                "id": "09616966-9f74-4da9-b7f5-2f56770e4f71",
                "type": "eventType",
                "data": {"key": "value"},
                "timestamp": "2026-11-20T21:34:09.335Z",
                "source": {
                    "userId": user,
                    "producerId": "server@hostname",
                    "kinesisPartitionKey": "partitionKey",
                },
            })
            .to_string()
        };
        assert_eq!(schema.validate(&event(json!(null))), Ok(()));
        assert_eq!(schema.validate(&event(json!("u"))), Ok(()));
        let violation = schema.validate(&event(json!(1))).expect_err("it is a number");
        assert_eq!(violation.pointer, "/source/userId");
    }
}
