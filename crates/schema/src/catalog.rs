//! The loaded schemas of all types: what is asked of each event on the way in. It is made as a
//! whole and never changes; a folder that changed makes another one.

use std::collections::HashMap;
use std::mem::size_of;

use crate::compiled::Schema;
use crate::folder::{FileError, Part};

/// Schemas, by type.
#[derive(Debug, Default)]
pub struct Catalog {
    schemas: HashMap<Box<str>, Schema>,
    bytes: usize,
}

/// Bytes of an entry besides what is in it: a table may be half empty.
const ENTRY_BYTES: usize = 2 * size_of::<(Box<str>, Schema)>();

impl Catalog {
    /// Loads a schema by its file.
    ///
    /// # Errors
    /// If its name is no type's, or its text no schema.
    pub fn add(&mut self, file_name: &str, text: &[u8]) -> Result<(), FileError> {
        let Some((Part::Schema, event_type)) = Part::of_type(file_name)? else { return Ok(()) };
        let schema = Part::loaded(&event_type, text)?;
        self.bytes += ENTRY_BYTES + event_type.len() + schema.bytes();
        self.schemas.insert(event_type.into(), schema);
        Ok(())
    }

    /// Bytes of memory that it takes, estimated from above.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The schema of a type.
    pub fn get(&self, event_type: &str) -> Option<&Schema> {
        self.schemas.get(event_type)
    }

    /// How many types have one.
    pub fn len(&self) -> usize {
        self.schemas.len()
    }

    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_found_by_its_type_and_its_memory_is_counted() {
        let mut catalog = Catalog::default();
        let text = br#"{"properties": {"id": {"pattern": "^a"}}}"#;
        catalog.add("a%2Fb.schema.json", text).expect("it is a schema");
        let bytes = catalog.bytes();
        assert!((500..5_000).contains(&bytes), "{bytes}");
        catalog.add("C.schema.json", b"true").expect("it is a schema");
        assert!((1..1_000).contains(&(catalog.bytes() - bytes)));
        let mut longer = Catalog::default();
        longer.add("a%2Fb-of-a-longer-name.schema.json", text).expect("it is a schema");
        assert_eq!(longer.bytes() - bytes, "-of-a-longer-name".len());
        catalog.add("C.sample.json", b"{").expect("it is not looked at");
        assert_eq!((catalog.len(), catalog.is_empty()), (2, false));
        assert!(catalog.get("a/b").is_some() && catalog.get("a%2Fb").is_none());
    }

    #[test]
    fn a_wrong_file_is_named_with_the_reason() {
        for (name, text, said) in [
            ("B.schema.json", r#"{"$ref": "https://example.com/b.json"}"#, "nothing is fetched"),
            ("C.schema.json", "{", "C.schema.json: it is not JSON"),
            ("a:b.schema.json", "{}", "name it a%3Ab.schema.json"),
        ] {
            let error = Catalog::default().add(name, text.as_bytes()).expect_err("it is wrong");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
