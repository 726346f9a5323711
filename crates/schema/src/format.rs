//! What the five formats are that are read from samples and checked in events. Pure text: no
//! time zone is looked up and no address resolved.
//!
//! A format is *recognised* in a sample by a narrower rule than it is *checked* by: a text that
//! happens to be a URI ("note: call back" is one by the grammar) must not make a schema that
//! refuses the next note.

use std::fmt;

/// A format that events are checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    DateTime,
    Date,
    Uuid,
    Uri,
    Email,
}

/// Formats that are known by name and not checked: JSON Schema has them as annotations.
const ANNOTATIONS: &[&str] = &[
    "time",
    "duration",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri-reference",
    "iri",
    "iri-reference",
    "uri-template",
    "json-pointer",
    "relative-json-pointer",
    "regex",
    // What OpenAPI adds.
    "int32",
    "int64",
    "float",
    "double",
    "byte",
    "binary",
    "password",
    // What quicktype adds.
    "integer",
    "boolean",
];

impl Format {
    /// Every format, in the order in which samples are asked for them.
    pub const ALL: [Self; 5] = [Self::DateTime, Self::Date, Self::Uuid, Self::Uri, Self::Email];

    /// Its name in JSON Schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Uuid => "uuid",
            Self::Uri => "uri",
            Self::Email => "email",
        }
    }

    /// The format of this name, if it is one that is checked.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// Whether a text is in this format.
    pub fn admits(self, text: &str) -> bool {
        match self {
            Self::DateTime => is_date_time(text),
            Self::Date => is_date(text),
            Self::Uuid => is_uuid(text),
            Self::Uri => is_uri(text),
            Self::Email => is_email(text),
        }
    }

    /// Whether a sample's text is meant to be in this format.
    pub(crate) fn is_seen_in(self, text: &str) -> bool {
        self.admits(text)
            && match self {
                Self::Uri => text.split_once("://").is_some_and(|(_, rest)| !rest.is_empty()),
                Self::Email => {
                    text.bytes().filter(|byte| *byte == b'@').count() == 1
                        && text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'))
                }
                Self::DateTime | Self::Date | Self::Uuid => true,
            }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a name is a format that is known and not checked.
pub(crate) fn is_annotation(name: &str) -> bool {
    ANNOTATIONS.contains(&name)
}

/// A number of exactly the digits that the bytes are.
fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |number: u32, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

/// RFC 3339, `full-date`.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else { return false };
    let (Some(year), Some(month), Some(day)) =
        (digits(&[*y1, *y2, *y3, *y4]), digits(&[*m1, *m2]), digits(&[*d1, *d2]))
    else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// RFC 3339, `date-time`.
fn is_date_time(text: &str) -> bool {
    let (Some(date), Some(time)) = (text.get(..10), text.get(11..)) else { return false };
    is_date(date) && matches!(text.as_bytes()[10], b'T' | b't') && is_full_time(time.as_bytes())
}

/// RFC 3339, `full-time`. A second 60 is a leap second: it ends a day of UTC.
fn is_full_time(time: &[u8]) -> bool {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = time else { return false };
    let (Some(hour), Some(minute), Some(second)) =
        (digits(&[*h1, *h2]), digits(&[*m1, *m2]), digits(&[*s1, *s2]))
    else {
        return false;
    };
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let zone = fraction.iter().position(|byte| !byte.is_ascii_digit());
            match zone {
                Some(at) if at > 0 => &fraction[at..],
                _ => return false,
            }
        }
        zone => zone,
    };
    let Some(offset_minutes) = offset_minutes(zone) else { return false };
    if hour > 23 || minute > 59 {
        return false;
    }
    const DAY_MINUTES: i64 = 24 * 60;
    let utc = i64::from(hour * 60 + minute) - offset_minutes;
    second < 60 || (second == 60 && utc.rem_euclid(DAY_MINUTES) == DAY_MINUTES - 1)
}

fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let minutes = (hours < 24 && minutes < 60).then(|| i64::from(hours * 60 + minutes))?;
            Some(if *sign == b'-' { -minutes } else { minutes })
        }
        _ => None,
    }
}

/// RFC 9562 as text, with letters of either case.
fn is_uuid(text: &str) -> bool {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let has_place = |(at, byte): (usize, u8)| {
        if DASHES.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    text.len() == 36 && text.bytes().enumerate().all(has_place)
}

/// RFC 3986, with a scheme.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        || !scheme.bytes().all(in_scheme)
    {
        return false;
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hierarchy, query) = before.split_once('?').unwrap_or((before, ""));
    let (authority, path) = match hierarchy.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", hierarchy),
    };
    is_authority(authority)
        && is_encoded(path, b"/:@")
        && is_encoded(query, b"/:@?")
        && is_encoded(fragment, b"/:@?")
}

fn is_authority(authority: &str) -> bool {
    let (user, host_port) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = match host_port.strip_prefix('[') {
        Some(literal) => {
            let Some((address, after)) = literal.split_once(']') else { return false };
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_address || !(after.is_empty() || after.starts_with(':')) {
                return false;
            }
            ("", after.strip_prefix(':').unwrap_or(""))
        }
        None => host_port.rsplit_once(':').unwrap_or((host_port, "")),
    };
    is_encoded(user, b":") && is_encoded(host, b"") && port.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text has only unreserved characters, sub-delimiters, percent-encoded bytes and these.
fn is_encoded(text: &str, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_plain = byte.is_ascii_alphanumeric()
            || b"-._~!$&'()*+,;=".contains(&byte)
            || also.contains(&byte);
        let mut is_hex = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        if !(is_plain || (byte == b'%' && is_hex() && is_hex())) {
            return false;
        }
    }
    true
}

/// RFC 5321, without comments: `local@domain`.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    is_local_part(local) && is_domain(domain)
}

fn is_local_part(local: &str) -> bool {
    const LOCAL_BYTES_MAX: usize = 64;
    if local.is_empty() || local.len() > LOCAL_BYTES_MAX {
        return false;
    }
    if let Some(quoted) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return quoted.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"');
    }
    let in_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(in_atom))
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let v6 = literal.strip_prefix("IPv6:").map(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
        return v6.unwrap_or_else(|| literal.parse::<std::net::Ipv4Addr>().is_ok());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: &[(&str, &[&str], &[&str])] = &[
        (
            "date-time",
            &[
                "2026-11-20T21:34:09.335Z",
                "2024-02-29t00:00:00z",
                "2026-11-20T21:34:09+02:00",
                "2016-12-31T23:59:60Z",
                "2016-12-31T15:59:60-08:00",
            ],
            &[
                "2026-11-20",
                "2026-11-20T21:34:09",
                "2026-11-20 21:34:09Z",
                "2026-02-29T00:00:00Z",
                "2026-11-20T24:00:00Z",
                "2026-11-20T21:34:60Z",
                "2026-11-20T21:34:09.Z",
                "2026-11-20T21:34:09+0200",
                "2026-11-20T21:34:09+24:00",
                "",
                "2026-11-2\u{e9}T21:34:09Z",
            ],
        ),
        (
            "date",
            &["2026-11-20", "2000-02-29", "0000-01-01"],
            &["2026-13-01", "2026-00-01", "1900-02-29", "2026-1-1", "20261120", "2026-11-20 "],
        ),
        (
            "uuid",
            &["09616966-9f74-4da9-b7f5-2f56770e4f71", "09616966-9F74-4DA9-B7F5-2F56770E4F71"],
            &["09616966-9f74-4da9-b7f5-2f56770e4f7", "096169669f744da9b7f52f56770e4f71", "g"],
        ),
        (
            "uri",
            &[
                "https://example.com/a?b=c#d",
                "urn:isbn:123",
                "mailto:a@b.c",
                "http://[::1]:80/",
                "http://u:p@h/%20",
            ],
            &[
                "example.com",
                "/a",
                "http://a b",
                "1a:b",
                "http://a/%zz",
                "http://[::1",
                "h\u{e9}:a",
            ],
        ),
        (
            "email",
            &["a@b.c", "a.b+c@example.com", "\"a b\"@example.com", "a@[127.0.0.1]"],
            &["a", "@b.c", "a@", "a b@c.d", "a..b@c.d", "a@-b.c", "a@b..c", "a@[1]"],
        ),
    ];

    #[test]
    fn a_format_admits_what_its_rfc_has_and_nothing_else() {
        for (name, admitted, refused) in TEXTS {
            let format = Format::named(name).expect("it is one of ours");
            for text in *admitted {
                assert!(format.admits(text), "{name}: {text}");
            }
            for text in *refused {
                assert!(!format.admits(text), "{name}: {text}");
            }
        }
    }

    #[test]
    fn another_reader_of_schemas_says_the_same_of_every_format() {
        for (name, admitted, refused) in TEXTS {
            let schema = serde_json::json!({ "format": name });
            let other = jsonschema::options().should_validate_formats(true).build(&schema);
            let other = other.expect("it is a schema");
            for (text, fits) in
                admitted.iter().map(|text| (text, true)).chain(refused.iter().map(|t| (t, false)))
            {
                assert_eq!(other.is_valid(&serde_json::json!(text)), fits, "{name}: {text}");
            }
        }
    }

    #[test]
    fn a_text_that_only_happens_to_be_in_a_format_is_not_seen_as_one() {
        for (format, text) in
            [(Format::Uri, "note:call-back"), (Format::Uri, "a://"), (Format::Email, "root@host")]
        {
            assert!(format.admits(text) && !format.is_seen_in(text), "{text}");
        }
    }
}
