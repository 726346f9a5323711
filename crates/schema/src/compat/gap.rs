//! What one schema admits and another does not. Only data.

/// Something that one schema admits and another does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where in an event's data, as a JSON pointer; `*` stands for any member or any other
    /// property.
    pub pointer: String,
    /// The keyword that the schemas differ in.
    pub keyword: &'static str,
    /// What the schema demands that should admit more.
    pub demanded: String,
    /// What the other one admits.
    pub admitted: String,
    /// Whether there may be no gap at all: it could not be decided.
    pub is_undecided: bool,
}
