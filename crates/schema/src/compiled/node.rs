//! What a schema is once it was loaded: a list of nodes that name each other by their place in it.
//! Only data.

use super::number::Bound;
use super::pattern::Pattern;
use crate::format::Format;

/// A node of a schema, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

impl NodeId {
    pub(crate) const ROOT: Self = Self(0);
}

/// The kinds of values that a node admits. Integers are apart from other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

/// One schema: what it demands of a value. What it does not demand is `None` or empty.
#[derive(Debug)]
pub(crate) struct Node {
    /// None for the schema `false`.
    pub(crate) kinds: Kinds,
    pub(crate) number: Option<Box<NumberRules>>,
    pub(crate) text: Option<Box<TextRules>>,
    pub(crate) array: Option<Box<ArrayRules>>,
    pub(crate) object: Option<Box<ObjectRules>>,
    /// The values of `enum` or `const`, as [`super::equal::canonical`] writes them.
    pub(crate) values: Option<Box<[String]>>,
    /// The schemas that look at the same value.
    pub(crate) in_place: Vec<InPlace>,
}

#[derive(Debug, Default)]
pub(crate) struct NumberRules {
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct TextRules {
    pub(crate) min_length: usize,
    pub(crate) max_length: Option<usize>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Default)]
pub(crate) struct ArrayRules {
    pub(crate) prefix: Vec<NodeId>,
    pub(crate) items: Option<NodeId>,
    pub(crate) min_items: usize,
    pub(crate) max_items: Option<usize>,
    pub(crate) is_unique: bool,
}

#[derive(Debug, Default)]
pub(crate) struct ObjectRules {
    /// By name.
    pub(crate) properties: Vec<Property>,
    /// A bit for each of them that is required.
    pub(crate) required: Bits,
    pub(crate) patterns: Vec<(Pattern, NodeId)>,
    /// What every other property is.
    pub(crate) additional: Option<NodeId>,
    pub(crate) names: Option<NodeId>,
    pub(crate) min_properties: usize,
    pub(crate) max_properties: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: Box<str>,
    /// `None`: it is required and not described, which makes it one of the others.
    pub(crate) schema: Option<NodeId>,
    pub(crate) is_required: bool,
}

/// A bit for each property of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bits([u64; crate::bounds::PROPERTIES_MAX / 64]);

#[derive(Debug)]
pub(crate) enum InPlace {
    /// `allOf` and `$ref`.
    All(NodeId),
    Any(Vec<NodeId>),
    One(Vec<NodeId>),
    Not(NodeId),
    If {
        condition: NodeId,
        then: Option<NodeId>,
        otherwise: Option<NodeId>,
    },
}

impl Kinds {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const NULL: Self = Self(1);
    pub(crate) const BOOLEAN: Self = Self(1 << 1);
    pub(crate) const INTEGER: Self = Self(1 << 2);
    /// Numbers that are no integers.
    pub(crate) const FRACTION: Self = Self(1 << 3);
    pub(crate) const TEXT: Self = Self(1 << 4);
    pub(crate) const ARRAY: Self = Self(1 << 5);
    pub(crate) const OBJECT: Self = Self(1 << 6);
    pub(crate) const NUMBER: Self = Self(Self::INTEGER.0 | Self::FRACTION.0);
    pub(crate) const ALL: Self = Self((1 << 7) - 1);

    /// Each of the kinds alone.
    pub(crate) const EACH: [Self; 7] = [
        Self::NULL,
        Self::BOOLEAN,
        Self::INTEGER,
        Self::FRACTION,
        Self::TEXT,
        Self::ARRAY,
        Self::OBJECT,
    ];

    /// The kinds of a name of `type`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is a kind that both have.
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of `type`, for a person: `string or null`.
    pub(crate) fn words(self) -> String {
        if self == Self::ALL {
            return "anything".to_owned();
        }
        let names = ["object", "array", "string", "number", "integer", "boolean", "null"];
        let is_named = |name: &&str| {
            let kinds = Self::named(name).expect("it is a name of type");
            let hidden = *name == "integer" && self.meets(Self::FRACTION);
            kinds.without(self) == Self::NONE && !hidden
        };
        let mut named: Vec<&str> = names.into_iter().filter(is_named).collect();
        if self.meets(Self::FRACTION) && !self.meets(Self::INTEGER) {
            named.push("number that is no integer");
        }
        match named.split_last() {
            None => "nothing".to_owned(),
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        }
    }
}

impl Node {
    /// The schema `true`, to which demands are added.
    pub(crate) const fn anything() -> Self {
        Self {
            kinds: Kinds::ALL,
            number: None,
            text: None,
            array: None,
            object: None,
            values: None,
            in_place: Vec::new(),
        }
    }

    /// The schema `false`.
    pub(crate) fn nothing() -> Self {
        Self { kinds: Kinds::NONE, ..Self::anything() }
    }

    /// Where a node leads that demands nothing itself.
    pub(crate) fn reference(&self) -> Option<NodeId> {
        let demands_nothing = self.kinds == Kinds::ALL
            && self.number.is_none()
            && self.text.is_none()
            && self.array.is_none()
            && self.object.is_none()
            && self.values.is_none();
        match &*self.in_place {
            [InPlace::All(one)] if demands_nothing => Some(*one),
            _ => None,
        }
    }

    /// The schemas that look at the same value.
    pub(crate) fn in_place(&self) -> impl Iterator<Item = NodeId> {
        self.in_place.iter().flat_map(|rule| match rule {
            InPlace::All(one) | InPlace::Not(one) => vec![*one],
            InPlace::Any(many) | InPlace::One(many) => many.clone(),
            InPlace::If { condition, then, otherwise } => {
                [Some(*condition), *then, *otherwise].into_iter().flatten().collect()
            }
        })
    }
}

impl ArrayRules {
    /// What a member of this place must be.
    pub(crate) fn member(&self, index: usize) -> Option<NodeId> {
        self.prefix.get(index).copied().or(self.items)
    }
}

impl ObjectRules {
    /// The place of a property among those that are named. `from` is where it is likely to stand:
    /// events have their properties in one order.
    #[inline]
    pub(crate) fn place(&self, name: &str, from: usize) -> Option<usize> {
        match self.properties.get(from) {
            Some(property) if *property.name == *name => Some(from),
            _ => self.properties.binary_search_by(|property| (*property.name).cmp(name)).ok(),
        }
    }
}

impl Bits {
    #[inline]
    pub(crate) fn set(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub(crate) fn has(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    /// Whether every bit of the other is set.
    #[inline]
    pub(crate) fn has_all(&self, others: &Self) -> bool {
        self.0.iter().zip(others.0).all(|(mine, other)| other & !mine == 0)
    }
}
