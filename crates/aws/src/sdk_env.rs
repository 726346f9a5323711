//! What the SDK and our transport see of the environment: the variables that are theirs, and of
//! those the ones that are not blank. Pure: the variables come in as values. Whether a value can be
//! meant is checked where the configuration is read.

use std::fmt;

use dispatchd_transport::{ALL_PROXY, HTTP_PROXY, HTTPS_PROXY, NO_PROXY};

/// The beginning of the names of the SDK's own variables.
const PREFIX: &str = "AWS_";
/// Other variables that the SDK reads. `SECRET_ACCESS_KEY` stands in for the one with the prefix.
const BESIDES: [&str; 2] = ["HOME", "SECRET_ACCESS_KEY"];

/// The variable that keeps the SDK from asking the instance's metadata service.
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// The part of the environment that the SDK and our transport may see, the home directory included.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SdkEnv(Vec<(String, String)>);

impl SdkEnv {
    /// Takes what is the SDK's out of the environment. A blank variable counts as unset.
    pub fn of(env: &[(String, String)]) -> Self {
        let is_sdks = |name: &str| {
            let is_for_proxies = names_a_proxy(name) || NO_PROXY.contains(&name);
            name.starts_with(PREFIX) || BESIDES.contains(&name) || is_for_proxies
        };
        let set = env.iter().filter(|(name, value)| is_sdks(name) && !value.trim().is_empty());
        Self(set.cloned().collect())
    }

    /// The names of the variables with their values.
    pub fn vars(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a variable; `None` if it is unset or blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars().find_map(|(set, value)| (set == name).then_some(value))
    }

    /// This environment with the instance's metadata service turned off: for what must be found out
    /// without the network.
    pub fn offline(mut self) -> Self {
        self.0.retain(|(name, _)| name != METADATA_DISABLED);
        self.0.push((METADATA_DISABLED.to_owned(), "true".to_owned()));
        self
    }

    /// Whether the instance's metadata service may be asked.
    pub fn may_ask_metadata(&self) -> bool {
        !self.get(METADATA_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Whether a variable's value is a proxy, and so may hold a password.
pub fn names_a_proxy(name: &str) -> bool {
    [HTTP_PROXY, HTTPS_PROXY, ALL_PROXY].as_flattened().contains(&name)
}

/// What a key id, a secret or a token holds that cannot stand in a header; `None` if nothing. It
/// would split the request, or the request could not be sent.
pub fn unfit_for_a_header(value: &str) -> Option<&'static str> {
    let odd = value.chars().rev().find(|c| !c.is_ascii_graphic())?;
    let is_last = value.ends_with(odd);
    Some(match odd {
        '\n' | '\r' if is_last => "a line end at its end",
        '\n' | '\r' => "a line end",
        ' ' => "a space",
        c if c.is_control() => "a control character",
        _ => "a character that is not ASCII",
    })
}

/// The names alone: the values are secrets, or stand beside them.
impl fmt::Debug for SdkEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.vars().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, value: &str) -> SdkEnv {
        SdkEnv::of(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_blank_variable_is_unset() {
        for name in [
            "AWS_REGION",
            "AWS_ENDPOINT_URL_KINESIS",
            "AWS_ROLE_ARN",
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
        ] {
            for value in ["", " ", "\n"] {
                assert_eq!(env(name, value), SdkEnv::default(), "{name}={value:?}");
            }
        }
    }

    #[test]
    fn what_is_not_the_sdks_is_none_of_our_business() {
        assert_eq!(env("PATH", "/bin\n"), SdkEnv::default());
        assert_eq!(env("HOME", "/root").get("HOME"), Some("/root"));
        assert_eq!(env("https_proxy", "http://p").get("https_proxy"), Some("http://p"));
    }

    #[test]
    fn offline_nobody_asks_the_metadata_service() {
        let env = env(METADATA_DISABLED, "false");
        assert!(env.may_ask_metadata());
        assert!(!env.offline().may_ask_metadata());
    }
}
