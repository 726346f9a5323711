//! The forms that an event is published in. Only their names: `envelope` writes them.

crate::choice! {
    /// The form of an envelope.
    pub enum Profile {
        /// What `lk-dispatch` writes: id, type, data, timestamp, source.
        Lk = "lk",
        /// Type and data alone, as Rabble Rouser has them; the type is the default key.
        TypeData = "type-data",
        /// What EventBridge hands to its targets.
        EventBridge = "eventbridge",
        /// CloudEvents 1.0 as structured JSON.
        CloudEvents = "cloudevents",
    }
}
