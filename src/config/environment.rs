//! The SDK's own variables, checked before the SDK reads them: in the SDK, a line end behind a key
//! panics at the first request, and a blank region makes a host without a name. Pure: the variables
//! come in as values.
//!
//! A blank variable counts as not set. A variable with a value that cannot be meant is a problem,
//! which names the variable and never shows a secret.

use dispatchd_aws::{SdkEnv, names_a_proxy, unfit_for_a_header};

use super::problem::Problem;
use super::rule::{Rule, Value, without_login};
use super::setting::Origin;

/// What a variable may hold.
enum Form {
    Like(Rule),
    /// A value that goes into a header, or one that is as long and as secret.
    Secret,
    /// A path at the address where ECS gives credentials.
    RelativeUri,
    Text,
}

/// Takes the SDK's variables out of the environment, and reports a problem for each that cannot be
/// meant.
pub(super) fn check(env: &[(String, String)]) -> (SdkEnv, Vec<Problem>) {
    let env = SdkEnv::of(env);
    let problems = env.vars().filter_map(|(name, value)| problem(name, value)).collect();
    (env, problems)
}

fn problem(name: &str, value: &str) -> Option<Problem> {
    let form = form(name);
    let expected = form.expected(value)?;
    let value =
        if matches!(form, Form::Secret) { "(not shown)".to_owned() } else { without_login(value) };
    Some(Problem {
        key: name.to_owned(),
        value: Some(value),
        expected,
        origin: Origin::Environment,
    })
}

fn form(name: &str) -> Form {
    match name {
        "AWS_REGION" | "AWS_DEFAULT_REGION" => Form::Like(Rule::Region),
        "AWS_USE_FIPS_ENDPOINT" | "AWS_USE_DUALSTACK_ENDPOINT" => Form::Like(Rule::Switch),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI" | "AWS_EC2_METADATA_SERVICE_ENDPOINT" => {
            Form::Like(Rule::Url)
        }
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Form::RelativeUri,
        "AWS_ACCESS_KEY_ID"
        | "AWS_SECRET_ACCESS_KEY"
        | "SECRET_ACCESS_KEY"
        | "AWS_SESSION_TOKEN" => Form::Secret,
        name if names_a_proxy(name) => Form::Secret, // it may hold a password
        // It may hold a scheme and a token, parted by a space.
        "AWS_CONTAINER_AUTHORIZATION_TOKEN" => Form::Text,
        name if name.starts_with("AWS_ENDPOINT_URL") => Form::Like(Rule::Url),
        _ => Form::Text,
    }
}

impl Form {
    /// What was expected instead of this value; `None` if the value will do.
    fn expected(&self, value: &str) -> Option<String> {
        match self {
            Self::Like(Rule::Switch) if value.parse::<bool>().is_err() => {
                Some(Rule::Switch.to_string())
            }
            Self::Like(rule)
                if !matches!(rule.read(value), Some(Value::Text(_) | Value::Switch(_))) =>
            {
                Some(format!("{rule}{}", line_end(value)))
            }
            Self::Secret => unfit_for_a_header(value)
                .map(|what| format!("printable ASCII without spaces, it holds {what}")),
            Self::RelativeUri if !value.starts_with('/') || unfit_for_a_header(value).is_some() => {
                Some("a path that begins with /".to_owned())
            }
            Self::Text if value.contains(char::is_control) => {
                Some(format!("text without control characters{}", line_end(value)))
            }
            _ => None,
        }
    }
}

/// A hint at the usual cause of such a value: a file that ends in a line end, mounted or read into
/// a variable.
fn line_end(value: &str) -> &'static str {
    if value.ends_with(['\n', '\r']) { ", and no line end behind it" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> (SdkEnv, Option<String>) {
        let (env, mut problems) = check(&[(name.to_owned(), value.to_owned())]);
        assert!(problems.len() <= 1, "{problems:?}");
        (env, problems.pop().map(|problem| problem.to_string()))
    }

    #[test]
    fn a_variable_that_cannot_be_meant_is_named() {
        for (name, value, said) in [
            (
                "AWS_REGION",
                "us-east-1\n",
                "AWS_REGION = \"us-east-1\\n\" (from the environment): expected a region such as \
                 eu-central-1, and no line end behind it",
            ),
            (
                "AWS_DEFAULT_REGION",
                "\"us-east-1\"",
                "AWS_DEFAULT_REGION = \"\\\"us-east-1\\\"\" (from the environment): expected a \
                 region such as eu-central-1",
            ),
            (
                "AWS_ENDPOINT_URL_STS",
                "localhost:4566",
                "AWS_ENDPOINT_URL_STS = \"localhost:4566\" (from the environment): expected an \
                 http or https url without credentials",
            ),
            (
                "AWS_ENDPOINT_URL_KINESIS",
                "https://user:word@a.example",
                "AWS_ENDPOINT_URL_KINESIS = \"https://(not shown)@a.example\" (from the \
                 environment): expected an http or https url without credentials",
            ),
            (
                "AWS_USE_FIPS_ENDPOINT",
                "yes",
                "AWS_USE_FIPS_ENDPOINT = \"yes\" (from the environment): expected true or false",
            ),
            (
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "v2/x",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI = \"v2/x\" (from the environment): \
                 expected a path that begins with /",
            ),
            (
                "AWS_PROFILE",
                "prod\r\n",
                "AWS_PROFILE = \"prod\\r\\n\" (from the environment): expected text without \
                 control characters, and no line end behind it",
            ),
        ] {
            assert_eq!(checked(name, value).1.as_deref(), Some(said));
        }
        for (name, value) in [
            ("AWS_REGION", "us-gov-west-1"),
            ("AWS_ENDPOINT_URL", "https://vpce-1.kinesis.eu-central-1.vpce.amazonaws.com"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "false"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc"),
            ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjE//////////wEaDGV1+a=="),
        ] {
            assert_eq!(checked(name, value).1, None, "{name}");
        }
    }

    #[test]
    fn a_secret_is_named_and_never_shown() {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            for (value, what) in [
                ("VALUE\n", "a line end at its end"),
                ("VAL\nUE", "a line end"),
                ("VALUE ", "a space"),
                ("VALUE\u{7}", "a control character"),
                ("VALUÉ", "a character that is not ASCII"),
            ] {
                let (env, problem) = checked(name, value);
                let expected = format!(
                    "{name} = \"(not shown)\" (from the environment): expected printable ASCII \
                     without spaces, it holds {what}"
                );
                assert_eq!(problem, Some(expected));
                assert!(!format!("{env:?}").contains("VAL"), "{env:?}");
            }
        }
    }
}
