//! Why a record cannot go out in a format.

/// What a format lacks a place for, or its consumers choke on. Such a record is never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Misfit {
    #[error("it is not JSON")]
    NotJson,
    #[error("it is no JSON object with a type that is a text")]
    NoType,
    /// Rabble Rouser's stream client looks its handlers up in an object, finds what every object
    /// inherits, and answers nothing but 503 from then on.
    #[error("its type is the name of something that every JavaScript object has")]
    ReservedType,
    #[error("it is no CloudEvent, and none can be made of it")]
    NotACloudEvent,
}

impl Misfit {
    /// Every misfit.
    pub const ALL: [Self; 4] =
        [Self::NotJson, Self::NoType, Self::ReservedType, Self::NotACloudEvent];

    /// The name of the misfit in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NoType => "no_type",
            Self::ReservedType => "reserved_type",
            Self::NotACloudEvent => "not_a_cloudevent",
        }
    }
}
