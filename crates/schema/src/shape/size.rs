//! What a shape takes of memory, so that whoever adds to shapes without an end can stop in time.
//! An estimate from above.

use std::mem::size_of;

use super::{Field, Keys, Objects, Shape};

/// Bytes of a property, but for its name. At the worst five of the eleven places of a tree's node
/// are taken, which makes a little more than twice; the shape of the property, which lies in its
/// place, is counted once more besides.
const PROPERTY_BYTES: usize = 2 * size_of::<(String, Field)>();

/// Bytes of the first properties of an object: a node of a tree has room for eleven.
const OBJECT_BYTES: usize = 11 * size_of::<(String, Field)>();

impl Shape {
    /// Bytes that this one would take besides what it has, if the other were merged into it.
    pub(crate) fn growth(&self, other: &Self) -> usize {
        let members = other.array.as_deref().map_or(0, |members| match &self.array {
            Some(mine) => mine.growth(members),
            None => members.bytes(),
        });
        let objects = other.object.as_ref().map_or(0, |objects| match &self.object {
            Some(mine) => mine.growth(objects),
            None => OBJECT_BYTES + Objects::default().growth(objects),
        });
        members + objects
    }

    /// Bytes of a shape, in a box of its own.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + Self::default().growth(self)
    }
}

impl Objects {
    fn growth(&self, others: &Self) -> usize {
        let of_map = match (&self.keys, &others.keys) {
            (_, Keys::Counted | Keys::Uncounted) => 0,
            (Keys::Map(mine), Keys::Map(values)) => mine.growth(values),
            (_, Keys::Map(values)) => values.bytes(),
        };
        let of_field = |(name, field): (&String, &Field)| match (&self.keys, self.fields.get(name))
        {
            (Keys::Map(values), _) => values.growth(&field.shape),
            (_, Some(mine)) => mine.shape.growth(&field.shape),
            (_, None) => PROPERTY_BYTES + name.len() + field.shape.bytes(),
        };
        of_map + others.fields.iter().map(of_field).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shape(value: &Value) -> Shape {
        let mut shape = Shape::default();
        shape.see(value).expect("it is not deep");
        shape
    }

    #[test]
    fn what_is_known_takes_no_more_and_what_is_new_takes_its_part() {
        let known = shape(&json!({"a": [{"b": 1}], "c": "x"}));
        assert_eq!(known.growth(&shape(&json!({"c": null, "a": [{"b": "x"}, {}]}))), 0);
        let one = known.growth(&shape(&json!({"d": 1})));
        assert!((PROPERTY_BYTES..2 * PROPERTY_BYTES).contains(&one), "{one}");
        let inside = known.growth(&shape(&json!({"a": [{"b": {"deeper": []}}]})));
        assert!(inside > OBJECT_BYTES + PROPERTY_BYTES, "{inside}");
        let long = known.growth(&shape(&json!({"d".repeat(10_000): 1})));
        assert!(long > 10_000, "a name counts");
    }

    /// What could go wrong: a discovery takes more memory than it may before it stops.
    #[test]
    fn what_is_reckoned_for_properties_is_enough_for_the_emptiest_tree_of_them() {
        // Eleven places, a pointer to the parent and its index, and twelve pointers to children. At
        // least five of the places are taken, but for the root's.
        const NODE_BYTES: usize = 11 * size_of::<(String, Field)>() + 14 * size_of::<usize>();
        for count in [1, 12, 100, 1_000] {
            let fields = (0..count).map(|n| (n.to_string(), json!(n)));
            let (bytes, nodes) =
                (shape(&Value::Object(fields.collect())).bytes(), 1 + (count - 1) / 5);
            assert!(bytes >= nodes * NODE_BYTES, "{count} properties: {bytes} bytes");
        }
    }

    /// What could go wrong: an object with a key for each thing grows as long as things come.
    #[test]
    fn an_object_with_too_many_keys_is_a_map_and_grows_no_more() {
        let named = |from: usize| {
            let fields = (from..from + 2_000).map(|n| (format!("thing {n}"), json!({"a": 1})));
            shape(&Value::Object(fields.collect()))
        };
        let mut all = named(0);
        assert!(all.bytes() < 2 * (OBJECT_BYTES + 4 * PROPERTY_BYTES), "{}", all.bytes());
        assert_eq!(all.growth(&named(2_000)), 0);
        all.merge(&named(2_000));
        let values = all.to_schema("T", super::super::Rules::Open)["additionalProperties"].clone();
        assert_eq!(values["properties"], json!({"a": {"type": "integer"}}));
    }
}
