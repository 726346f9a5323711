//! A choice that somebody makes by a name, as the configuration's: an enum without data, made with
//! all of its names from one list, so that none can be left out.

/// Makes such an enum. It has `NAMES`, and is read from any of them and nothing else.
#[macro_export]
macro_rules! choice {
    (
        $(#[$of_choice:meta])*
        $vis:vis enum $choice:ident {
            $($(#[$of_value:meta])* $value:ident = $name:literal),+ $(,)?
        }
    ) => {
        $(#[$of_choice])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $choice { $($(#[$of_value])* $value),+ }

        impl $choice {
            /// What can be chosen, in order.
            $vis const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name that it is chosen by.
            $vis const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl ::std::str::FromStr for $choice {
            type Err = $crate::choice::NotAChoice;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$value),)+
                    _ => Err($crate::choice::NotAChoice(Self::NAMES)),
                }
            }
        }

        impl<'de> $crate::serde::Deserialize<'de> for $choice {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <String as $crate::serde::Deserialize>::deserialize(from)?
                    .parse()
                    .map_err($crate::serde::de::Error::custom)
            }
        }
    };
}

/// A name that none of the choices has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", listed(.0))]
pub struct NotAChoice(pub &'static [&'static str]);

/// The names as a sentence has them: `off, key or shard`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    choice! {
        enum Size {
            Small = "small",
            Large = "large",
        }
    }

    #[test]
    fn a_choice_is_made_by_its_names_alone() {
        assert_eq!(("small".parse(), "large".parse()), (Ok(Size::Small), Ok(Size::Large)));
        assert_eq!((Size::Small.name(), Size::Large.name()), ("small", "large"));
        for name in ["Small", "", "small ", "medium"] {
            let refused = name.parse::<Size>().expect_err("no such size").to_string();
            assert_eq!(refused, "expected small or large");
        }
        assert_eq!(listed(&["off", "key", "shard"]), "off, key or shard");
    }
}
