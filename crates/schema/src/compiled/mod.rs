//! A schema that was loaded, and values checked against it: over the text as it lies in an event,
//! without making values of it.
//!
//! What is loaded is the part of JSON Schema 2020-12 that is written from samples, and what people
//! add to that by hand. A keyword outside of it, a misspelled one, a `$ref` to another document,
//! and a schema that would be slow are refused when the schema is loaded, by name: none is passed
//! over in silence, and no event pays for it.
//!
//! | file | subject |
//! |---|---|
//! | `node` | what a schema is once it was loaded |
//! | `load`, `keywords`, `places`, `error` | JSON → nodes, or what is wrong with it |
//! | `pattern` | a regular expression → an automaton |
//! | `looks` | how often a schema may look at a byte: what is too often is refused |
//! | `schema`, `size` | the nodes of one schema; what they take of memory |
//! | `validate`, `cursor` | a text against nodes |
//! | `number`, `equal` | numbers as text; values that are equal |
//! | `violation` | why a value does not fit |

mod cursor;
mod equal;
mod error;
mod keywords;
mod load;
mod looks;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod pattern;
mod places;
mod schema;
mod size;
mod validate;
pub(crate) mod violation;

pub use self::error::LoadError;
pub use self::keywords::DRAFT;
pub use self::schema::Schema;
pub use self::violation::Violation;

use serde_json::Value;

use self::node::NodeId;

impl Schema {
    /// Loads a schema.
    ///
    /// # Errors
    /// If it is none, has what is not known here, or would be slow.
    pub fn load(schema: &Value) -> Result<Self, LoadError> {
        let (nodes, places) = load::nodes(schema)?;
        let schema = Self { nodes };
        looks::check(&schema, &places)?;
        Ok(schema)
    }

    /// Bytes of memory that it takes, estimated from above.
    pub fn bytes(&self) -> usize {
        self.nodes.iter().map(size::bytes).sum()
    }

    /// Checks a JSON text. Of a text that is no JSON it may say either.
    ///
    /// # Errors
    /// The first violation.
    pub fn validate(&self, text: &str) -> Result<(), Violation> {
        validate::check(self, text).map_err(|fault| Violation::new(*fault))
    }

    /// Whether a JSON text fits one of the nodes.
    pub(crate) fn fits(&self, id: NodeId, text: &str) -> bool {
        validate::check_at(self, id, text).is_ok()
    }
}

#[cfg(test)]
mod tests;
