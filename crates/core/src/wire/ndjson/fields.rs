//! Reads the fields of a protocol object. Known fields are kept as raw JSON, so that an answer can
//! name the one that is wrong and still carry `ref`. Of unknown fields it is kept only whether one
//! may be a known field that is misspelt or stands in the wrong place.
//!
//! This is written by hand because serde's derive does not tell that it met an unknown field, and
//! `flatten`, which does, copies every field first. Nothing is refused here.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The known fields of an object, each `None` where it is missing or `null`.
pub(super) trait Fields<'a>: Default {
    /// Takes note of a field: gives its name and where its value goes, or `None` if it is unknown.
    /// The value is `None` unless the field was met before.
    fn met(&mut self, name: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)>;
    /// Turns every `null` into `None`.
    fn forget_nulls(&mut self);
}

/// Declares an object: its fields, and `has_near`, which says whether it has an unknown field that
/// may be meant as a known one. What few objects have is kept apart, since what is read is moved
/// more than once, and every event would pay for it; a function of its name gives it.
macro_rules! fields {
    (
        $object:ident { $($field:ident: $name:literal),+ $(,)? }
        $(rarely $rarities:ident { $($rare:ident: $rare_name:literal),+ $(,)? })?
    ) => {
        #[derive(Debug, Default)]
        struct $object<'a> {
            $($field: Option<&'a RawValue>,)*
            $(rarities: Option<Box<$rarities<'a>>>,)?
            has_near: bool,
        }

        $(
            #[derive(Debug, Default)]
            struct $rarities<'a> {
                $($rare: Option<&'a RawValue>,)*
            }
        )?

        impl<'a> $object<'a> {
            const NAMES: &'static [&'static str] = &[$($name,)* $($($rare_name,)*)?];

            $($(
                fn $rare(&self) -> Option<&'a RawValue> {
                    self.rarities.as_ref()?.$rare
                }
            )*)?
        }

        impl<'a> fields::Fields<'a> for $object<'a> {
            fn met(&mut self, name: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)> {
                match name {
                    $($name => Some(($name, &mut self.$field)),)*
                    $($($rare_name => {
                        Some(($rare_name, &mut self.rarities.get_or_insert_default().$rare))
                    })*)?
                    _ => {
                        self.has_near |= is_near(name);
                        None
                    }
                }
            }

            fn forget_nulls(&mut self) {
                $(self.$field = self.$field.filter(|raw| raw.get() != "null");)*
                $(if let Some(rarities) = &mut self.rarities {
                    $(rarities.$rare = rarities.$rare.filter(|raw| raw.get() != "null");)*
                })?
            }
        }

        impl<'de: 'a, 'a> serde::Deserialize<'de> for $object<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                fields::read(deserializer)
            }
        }
    };
}
pub(super) use fields;

/// Reads an object.
pub(super) fn read<'de: 'a, 'a, D: Deserializer<'de>, T: Fields<'a>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<'a, T>(PhantomData<(&'a (), T)>);

impl<'de: 'a, 'a, T: Fields<'a>> Visitor<'de> for ObjectVisitor<'a, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut fields = T::default();
        while let Some(field) = map.next_key_seed(FieldOf(&mut fields, PhantomData))? {
            match field {
                Some((name, Some(_))) => return Err(A::Error::duplicate_field(name)),
                Some((_, value)) => *value = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        fields.forget_nulls();
        Ok(fields)
    }
}

/// Reads the name of a field and finds the field.
struct FieldOf<'f, 'a, T>(&'f mut T, PhantomData<&'a ()>);

impl<'de: 'a, 'f, 'a: 'f, T: Fields<'a>> DeserializeSeed<'de> for FieldOf<'f, 'a, T> {
    type Value = Option<(&'static str, &'f mut Option<&'a RawValue>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'f, 'a: 'f, T: Fields<'a>> Visitor<'_> for FieldOf<'f, 'a, T> {
    type Value = Option<(&'static str, &'f mut Option<&'a RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.met(name))
    }
}

/// An object of a line.
pub(super) struct Object {
    /// The field that holds it; empty for the line itself.
    pub(super) within: &'static str,
    pub(super) fields: &'static [&'static str],
}

impl Object {
    /// Says which known field, of this object or of `other` one level off, an unknown field of it
    /// is most likely meant as, in words that repeat nothing of the caller's. `None` where all
    /// unknown fields are the caller's own.
    #[cold]
    pub(super) fn meant(&self, json: &str, other: &Object) -> Option<String> {
        let met: BTreeMap<String, IgnoredAny> = serde_json::from_str(json).ok()?;
        let mut others = met.keys().filter(|name| !self.fields.contains(&name.as_str()));
        others.find_map(|name| self.meant_by(name, other))
    }

    fn meant_by(&self, name: &str, other: &Object) -> Option<String> {
        if let Some(own) = self.alike(name) {
            return Some(format!(
                "a field is spelt almost as {}: write exactly that, or another name",
                self.path(own)
            ));
        }
        let meant = other.alike(name)?;
        let (here, there) = match self.within {
            "" => ("at the top level".to_owned(), other.path(meant)),
            within => (format!("in {within}"), format!("{meant} at the top level")),
        };
        Some(format!(
            "{meant} stands {here}, where it has no meaning: write {there}, or another name"
        ))
    }

    fn alike(&self, name: &str) -> Option<&'static str> {
        self.fields.iter().copied().find(|field| is_spelt_alike(field, name))
    }

    fn path(&self, field: &str) -> String {
        if self.within.is_empty() { field.to_owned() } else { format!("{}.{field}", self.within) }
    }
}

/// Whether two names differ at most in how their words are set apart: `partitionKey`,
/// `partitionkey`, `partition_key`.
pub(super) fn is_spelt_alike(one: &str, other: &str) -> bool {
    letters(one).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')).map(|byte| byte.to_ascii_lowercase())
}
