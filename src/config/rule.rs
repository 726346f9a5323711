//! What one key takes: it reads a value's text, and says in words what it would have accepted. It
//! looks at one value alone; how values relate is in `check.rs`.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use dispatchd_core::choice::listed;
use dispatchd_core::limits::{GIB, KIB, MIB, SOCKET_PATH_BYTES_MAX, STREAM_NAME_CHARS_MAX};
use dispatchd_core::model::StreamArn;
use dispatchd_core::model::stream_id::{is_arn, is_region, is_stream_name};
use hyper::Uri;
use hyper::http::uri::PathAndQuery;

use crate::consumer::start_from;
use crate::progress::Keep;
use crate::schema::is_modes;
use crate::targets::exec::CommandLine;
use crate::targets::http::socket_and_path;
use crate::targets::settings::{DeadLetterKeep, patterns};
use crate::telemetry::level::log_filter;

/// Characters of a target's name.
const TARGET_NAME_CHARS_MAX: usize = 64;

/// Bytes of a path: PATH_MAX of Linux, with its NUL.
const PATH_BYTES_MAX: usize = 4095;

/// What a key takes.
pub(super) enum Rule {
    Duration(RangeInclusive<Duration>),
    /// A duration, or `off`.
    DurationOrOff(RangeInclusive<Duration>),
    Size(RangeInclusive<usize>),
    /// A size, or `auto`.
    AutoSize(RangeInclusive<usize>),
    Count(RangeInclusive<usize>),
    /// Text of one to this many bytes.
    Text(usize),
    /// Such a text, or `auto`.
    AutoText(usize),
    /// Such a text, or none.
    TextOrEmpty(usize),
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    LogLevel,
    Mode,
    Path,
    /// A path, or `off`; `auto` is replaced before it is read.
    PathOrOff,
    /// The path of a folder, or empty.
    Folder,
    /// Modes of types, or empty.
    TypeModes,
    Listen,
    /// A loopback address with a port, or `off`.
    Loopback,
    StreamName,
    StreamArn,
    Region,
    Url,
    /// A URL, or a Unix socket and a path.
    TargetUrl,
    /// The name of a target, or `auto`.
    TargetName,
    /// A path of any file, or empty.
    File,
    /// The name of a variable of the environment, or empty.
    Variable,
    /// A count, or `off`.
    CountOrOff(RangeInclusive<usize>),
    /// A duration, or `auto`.
    AutoDuration(RangeInclusive<Duration>),
    /// A count, or `auto`.
    AutoCount(RangeInclusive<usize>),
    /// One of these words, or `auto`.
    AutoOneOf(&'static [&'static str]),
    StartFrom,
    /// Where checkpoints are kept, or `auto`.
    Keep,
    /// Where dead letters are kept, or empty.
    DeadLetters,
    /// A program and its arguments, or empty.
    Command,
    /// Patterns of events, or empty.
    Patterns,
}

/// What a key holds once it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Duration(Duration),
    /// A count, or a size in bytes.
    Number(usize),
    Text(String),
    Switch(bool),
    Mode(u32),
    Address(SocketAddr),
    /// The key was left open, or turned off.
    Unset,
}

impl Rule {
    /// Reads a text; `None` if this rule does not take it.
    pub(super) fn read(&self, text: &str) -> Option<Value> {
        match self {
            Self::DurationOrOff(_)
            | Self::PathOrOff
            | Self::Listen
            | Self::Loopback
            | Self::CountOrOff(_)
                if text == "off" =>
            {
                Some(Value::Unset)
            }
            Self::AutoSize(_)
            | Self::AutoText(_)
            | Self::AutoDuration(_)
            | Self::AutoCount(_)
            | Self::AutoOneOf(_)
            | Self::Keep
                if text == "auto" =>
            {
                Some(Value::Unset)
            }
            Self::Duration(range) | Self::DurationOrOff(range) | Self::AutoDuration(range) => {
                within(range, duration(text)?).map(Value::Duration)
            }
            Self::Size(range) | Self::AutoSize(range) => {
                within(range, size(text)?).map(Value::Number)
            }
            Self::Count(range) | Self::CountOrOff(range) | Self::AutoCount(range) => {
                within(range, count(text)?).map(Value::Number)
            }
            Self::TextOrEmpty(_) if text.is_empty() => Some(Value::Unset),
            Self::Text(bytes_max) | Self::AutoText(bytes_max) | Self::TextOrEmpty(bytes_max) => {
                text_if((1..=*bytes_max).contains(&text.len()), text)
            }
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::OneOf(names) | Self::AutoOneOf(names) => text_if(names.contains(&text), text),
            Self::LogLevel => text_if(log_filter(text).is_some(), text),
            Self::Mode => mode(text).map(Value::Mode),
            Self::Path | Self::PathOrOff => text_if(is_socket_path(text), text),
            Self::Listen => text.parse().ok().map(Value::Address),
            Self::Loopback => {
                let address = text.parse::<SocketAddr>().ok();
                address.filter(|address| address.ip().is_loopback()).map(Value::Address)
            }
            Self::StreamName
            | Self::StreamArn
            | Self::Region
            | Self::Url
            | Self::TargetUrl
            | Self::File
            | Self::Variable
            | Self::DeadLetters
            | Self::Command
            | Self::Patterns
                if text.is_empty() =>
            {
                Some(Value::Unset)
            }
            Self::Folder | Self::TypeModes if text.is_empty() => Some(Value::Unset),
            Self::Folder => text_if(text.len() <= PATH_BYTES_MAX && !text.contains('\0'), text),
            Self::TypeModes => text_if(is_modes(text), text),
            Self::StreamName => text_if(is_stream_name(text), text),
            Self::StreamArn => text_if(text.parse::<StreamArn>().is_ok(), text),
            Self::Region => text_if(is_region(text), text),
            Self::Url => text_if(is_http_url(text), text),
            Self::TargetUrl => text_if(is_http_url(text) || is_socket_url(text), text),
            Self::TargetName => text_if(is_target_name(text), text),
            Self::File => text_if(!text.contains('\0'), text),
            Self::Variable => text_if(is_variable(text), text),
            Self::StartFrom => text_if(start_from(text).is_some(), text),
            Self::Keep => text_if(Keep::read(text).is_some(), text),
            Self::DeadLetters => text_if(DeadLetterKeep::read(text).is_some(), text),
            Self::Command => text_if(CommandLine::parse(text).is_ok(), text),
            Self::Patterns => text_if(patterns(text).is_ok(), text),
        }
    }

    /// What may have gone wrong with a text that was refused; `None` where the rule's own words say
    /// it.
    pub(super) fn hint(&self, text: &str) -> Option<String> {
        match self {
            Self::Path | Self::PathOrOff if text.len() > SOCKET_PATH_BYTES_MAX => {
                Some(format!("this one has {}", text.len()))
            }
            Self::Size(_) | Self::AutoSize(_) if size(text).is_none() => {
                Some("units are KiB, MiB and GiB".to_owned())
            }
            Self::Loopback if text.parse::<SocketAddr>().is_ok() => {
                Some("whoever reaches another address could write to the stream".to_owned())
            }
            Self::StreamName if is_arn(text) => Some("an ARN goes into stream.arn".to_owned()),
            Self::Command => CommandLine::parse(text).err().map(|error| error.to_string()),
            Self::Patterns => patterns(text).err(),
            Self::Keep if text.starts_with("dynamodb:") => {
                Some("this dispatchd keeps none in DynamoDB".to_owned())
            }
            _ => None,
        }
    }

    /// Whether an example says more than the rule's words.
    pub(super) fn wants_example(&self) -> bool {
        matches!(self, Self::Duration(_) | Self::Size(_) | Self::Mode | Self::Listen)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(range) | Self::DurationOrOff(range) | Self::AutoDuration(range) => {
                let or = match self {
                    Self::DurationOrOff(_) => "off or ",
                    Self::AutoDuration(_) => "auto or ",
                    _ => "",
                };
                let (min, max) = (show_duration(*range.start()), show_duration(*range.end()));
                write!(f, "{or}a duration from {min} to {max}")
            }
            Self::Size(range) | Self::AutoSize(range) => {
                let or = if matches!(self, Self::AutoSize(_)) { "auto or " } else { "" };
                let (min, max) = (show_size(*range.start()), show_size(*range.end()));
                write!(f, "{or}a size from {min} to {max}")
            }
            Self::Count(range) | Self::CountOrOff(range) | Self::AutoCount(range) => {
                let or = match self {
                    Self::CountOrOff(_) => "off or ",
                    Self::AutoCount(_) => "auto or ",
                    _ => "",
                };
                write!(f, "{or}a whole number from {} to {}", range.start(), range.end())
            }
            Self::Text(bytes_max) => write!(f, "text of 1 to {bytes_max} bytes"),
            Self::TextOrEmpty(bytes_max) => write!(f, "text of at most {bytes_max} bytes"),
            Self::AutoText(bytes_max) => write!(f, "auto or text of 1 to {bytes_max} bytes"),
            Self::Switch => f.write_str("true or false"),
            Self::OneOf(names) => f.write_str(&listed(names)),
            Self::AutoOneOf(names) => write!(f, "auto, {}", listed(names)),
            Self::LogLevel => f.write_str(
                "error, warn, info, debug, trace, or directives such as `warn,dispatchd=debug`",
            ),
            Self::Mode => {
                f.write_str("octal digits from 0600 to 0777 that let the owner read and write")
            }
            Self::Path => write!(f, "a path of at most {SOCKET_PATH_BYTES_MAX} bytes"),
            Self::PathOrOff => {
                write!(f, "auto, off or a path of at most {SOCKET_PATH_BYTES_MAX} bytes")
            }
            Self::Folder => write!(f, "the path of a folder, of at most {PATH_BYTES_MAX} bytes"),
            Self::TypeModes => f.write_str(
                "TYPE=MODE,TYPE=MODE, each type once and as its file is named, each mode off, warn or \
                 enforce",
            ),
            Self::Listen => f.write_str("an address with a port, or off"),
            Self::Loopback => {
                f.write_str("off or a loopback address with a port, as 127.0.0.1:8080")
            }
            Self::StreamName => {
                write!(f, "1 to {STREAM_NAME_CHARS_MAX} characters of a-z A-Z 0-9 _ . -")
            }
            Self::StreamArn => f.write_str("arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME"),
            Self::Region => f.write_str("a region such as eu-central-1"),
            Self::Url => f.write_str("an http or https url without credentials"),
            Self::TargetUrl => {
                f.write_str("an http or https url without credentials, or unix:/SOCKET:/PATH")
            }
            Self::TargetName => {
                write!(f, "auto or 1 to {TARGET_NAME_CHARS_MAX} characters of a-z A-Z 0-9 _ -")
            }
            Self::File => f.write_str("a path"),
            Self::Variable => f.write_str("the name of a variable of the environment"),
            Self::StartFrom => f.write_str("latest, trim-horizon or at=TIME (RFC 3339)"),
            Self::Keep => f.write_str("auto, file:DIRECTORY or none"),
            Self::DeadLetters => f.write_str("file:PATH, or stream:NAME or its ARN"),
            Self::Command => f.write_str("a program and its arguments"),
            Self::Patterns => f.write_str("an event pattern, or an array of them"),
        }
    }
}

// === Numbers ===

fn within<T: PartialOrd>(range: &RangeInclusive<T>, value: T) -> Option<T> {
    range.contains(&value).then_some(value)
}

/// Reads digits only: `parse` alone would take a plus sign as well.
fn count(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    unit.is_empty().then_some(number)
}

pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let number = u64::try_from(number).ok()?;
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn size(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let unit_bytes = match unit {
        "" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

fn number_and_unit(text: &str) -> Option<(usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// Shows one of the table's bounds, which are whole numbers of some unit. Minutes begin past 60 s:
/// people write `60s`.
fn show_duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..=60 => format!("{seconds}s"),
        seconds @ 61..3_600 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}

/// Shows a size exactly, in the largest unit that divides it; `Rule::Size` reads it back.
pub(crate) fn show_size(bytes: usize) -> String {
    match bytes {
        bytes if bytes % GIB == 0 => format!("{}GiB", bytes / GIB),
        bytes if bytes % MIB == 0 => format!("{}MiB", bytes / MIB),
        bytes if bytes % KIB == 0 => format!("{}KiB", bytes / KIB),
        bytes => bytes.to_string(),
    }
}

// === Words ===

fn text_if(holds: bool, text: &str) -> Option<Value> {
    holds.then(|| Value::Text(text.to_owned()))
}

/// Reads octal digits. The leading zero is asked for because a TOML number cannot have one: `0o660`
/// would reach us as 432.
fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('0').filter(|digits| digits.len() == 3)?;
    let is_octal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| is_octal)?;
    (mode & 0o600 == 0o600).then_some(mode)
}

fn is_socket_path(text: &str) -> bool {
    (1..=SOCKET_PATH_BYTES_MAX).contains(&text.len()) && !text.contains('\0')
}

/// It is a file's name and a metric's label.
fn is_target_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=TARGET_NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_variable(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_plain)
}

/// Whether a text is an http or https URL without credentials, which `check` would print.
fn is_http_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|authority| {
                !authority.host().is_empty() && !authority.as_str().contains('@')
            })
    })
}

/// Whether a text is a Unix socket, whose path the kernel takes, and a path of HTTP's.
fn is_socket_url(text: &str) -> bool {
    socket_and_path(text).is_some_and(|(socket, path)| {
        socket.to_str().is_some_and(is_socket_path) && path.parse::<PathAndQuery>().is_ok()
    })
}

/// The text as it may be shown: without the user and the password of a URL. A URL that is broken
/// may hold them anywhere before the last `@`.
pub(super) fn without_login(text: &str) -> String {
    let Some((login, rest)) = text.rsplit_once('@').filter(|(login, _)| login.contains(':')) else {
        return text.to_owned();
    };
    let scheme =
        login.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
    format!("{scheme}(not shown)@{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::KEYS;

    #[test]
    fn a_duration_is_a_whole_number_and_one_unit() {
        for (text, ms) in
            [("0ms", 0), ("10ms", 10), ("2s", 2_000), ("3m", 180_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "10", "ms", "1h30m", "1.5s", "-1s", "+1s", "1 s", "1d", "18446744073709551615h"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_a_binary_unit() {
        for (text, bytes) in
            [("0", 0), ("1000", 1_000), ("50KiB", 50 * KIB), ("64MiB", 64 * MIB), ("1GiB", GIB)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "1KB", "1M", "1.5MiB", "1 MiB", "-1", "18446744073709551615KiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_shown_as_they_are_read() {
        for key in KEYS {
            match &key.rule {
                Rule::Duration(range) | Rule::DurationOrOff(range) => {
                    for bound in [*range.start(), *range.end()] {
                        assert_eq!(duration(&show_duration(bound)), Some(bound), "{}", key.name);
                    }
                }
                Rule::Size(range) | Rule::AutoSize(range) => {
                    for bound in [*range.start(), *range.end()] {
                        assert_eq!(size(&show_size(bound)), Some(bound), "{}", key.name);
                    }
                }
                _ => {}
            }
        }
        assert_eq!(size(&show_size(KIB + 1)), Some(KIB + 1));
    }

    /// What a reader of the shipped file is to be told of a key.
    fn told(rule: &Rule) -> Vec<String> {
        let range = |min: String, max: String| vec![format!("{min} to {max}")];
        match rule {
            Rule::Duration(range_of) | Rule::DurationOrOff(range_of) => {
                range(show_duration(*range_of.start()), show_duration(*range_of.end()))
            }
            Rule::Size(range_of) | Rule::AutoSize(range_of) => {
                range(show_size(*range_of.start()), show_size(*range_of.end()))
            }
            Rule::Count(range_of) => {
                range(range_of.start().to_string(), range_of.end().to_string())
            }
            Rule::Text(bytes_max) | Rule::AutoText(bytes_max) => {
                range("1".to_owned(), format!("{bytes_max} bytes"))
            }
            Rule::OneOf(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            Rule::Path | Rule::PathOrOff => vec![format!("{SOCKET_PATH_BYTES_MAX} bytes")],
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_shipped_file_says_the_range_or_the_choices_of_every_key() {
        let file = include_str!("../../config.toml");
        let (mut section, mut comment, mut was_comment) = (String::new(), String::new(), false);
        let mut seen = 0;
        for line in file.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = format!("{name}.");
            } else if let Some(text) = line.strip_prefix('#') {
                comment = if was_comment { comment + text } else { text.to_owned() };
            } else if let Some((name, _)) = line.split_once(" = ") {
                let name = format!("{section}{name}");
                let key = KEYS.iter().find(|key| key.name == name).expect("it is a key");
                for said in told(&key.rule) {
                    assert!(comment.contains(&said), "{name} should say {said:?}:{comment}");
                }
                seen += 1;
            }
            was_comment = line.starts_with('#');
        }
        assert_eq!(seen, KEYS.len());
    }

    #[test]
    fn a_mode_is_octal_and_leaves_the_owner_in() {
        assert_eq!(mode("0660"), Some(0o660));
        assert_eq!(mode("0777"), Some(0o777));
        for text in
            ["", "660", "00660", "0o660", "0460", "0260", "0668", "0+60", "06600", "rw-rw----"]
        {
            assert_eq!(mode(text), None, "{text}");
        }
    }

    #[test]
    fn no_login_of_a_url_is_shown() {
        for (text, shown) in [
            ("https://user:word@a.example/p", "https://(not shown)@a.example/p"),
            ("http://word@a.example", "http://(not shown)@a.example"),
            ("https://user:w@rd/1@a.example", "https://(not shown)@a.example"),
            ("user:word@a.example:4567", "(not shown)@a.example:4567"),
            ("https://a.example", "https://a.example"),
            ("dispatchd@host", "dispatchd@host"),
            ("arn:aws:kinesis:eu-central-1:1:stream/a", "arn:aws:kinesis:eu-central-1:1:stream/a"),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }

    #[test]
    fn a_socket_is_a_target_with_or_without_a_path() {
        let long = format!("unix:/{}", "a".repeat(SOCKET_PATH_BYTES_MAX));
        for url in ["unix:/run/app.sock", "unix:/run/a:b.sock:/events/?a=1"] {
            assert!(is_socket_url(url), "{url}");
        }
        for url in ["unix:", "unix:run/app.sock", "unix:/run/app.sock:/a b", &long, "http://h"] {
            assert!(!is_socket_url(url), "{url}");
        }
    }

    #[test]
    fn a_url_is_of_http_and_without_credentials() {
        for url in ["http://localhost:4567", "http://[::1]:4567/", "https://a.example"] {
            assert!(is_http_url(url), "{url}");
        }
        for url in [
            "localhost:4567",
            "/path",
            "ftp://a.example",
            "http://",
            "https://user:word@a.example",
            "http://127.0.0.1@a.example",
        ] {
            assert!(!is_http_url(url), "{url}");
        }
    }
}
