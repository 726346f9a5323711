//! What of an event's trace may stand in the headers of a request: what W3C's Trace Context allows
//! there. An event may hold any text under these names.

/// Bytes of a `tracestate`. W3C asks for 512 at least to be passed on.
const STATE_BYTES_MAX: usize = 512;

/// Bytes of a `traceparent` of version 00, and the least of any later one.
const PARENT_BYTES: usize = 55;

/// Bytes of a `traceparent` of a version that is not known yet.
const PARENT_BYTES_MAX: usize = 128;

/// Whether a text is a `traceparent`: `version-trace-parent-flags` in lower-case hexadecimal.
pub(super) fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(head) = bytes.get(..PARENT_BYTES) else { return false };
    let is_in_form = head.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let rest = &bytes[PARENT_BYTES..];
    let may_go_on = match &head[..2] {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => rest.is_empty() || (rest[0] == b'-' && rest.iter().all(u8::is_ascii_graphic)),
    };
    let is_short = bytes.len() <= PARENT_BYTES_MAX;
    is_in_form && may_go_on && is_short && !is_zero(&head[3..35]) && !is_zero(&head[36..52])
}

/// Whether a text may be a `tracestate`: printable and not too long.
pub fn is_state(text: &str) -> bool {
    let is_printable = |byte: u8| matches!(byte, b' '..=b'~');
    !text.is_empty() && text.len() <= STATE_BYTES_MAX && text.bytes().all(is_printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_has_the_form_of_trace_context_and_nothing_else_is_one() {
        assert!(is_parent(PARENT));
        assert!(is_parent(&format!("01{}-later", &PARENT[2..])));
        let longest = "x".repeat(PARENT_BYTES_MAX - PARENT_BYTES - 1);
        assert!(is_parent(&format!("01{}-{longest}", &PARENT[2..])));
        for other in [
            "",
            "00-1",
            &PARENT[..54],
            &format!("{PARENT}-01"),
            &format!("ff{}", &PARENT[2..]),
            &PARENT.to_uppercase(),
            &format!("01{}\r\nx: y", &PARENT[2..]),
            &format!("01{}-later\r\nx: y", &PARENT[2..]),
            &format!("01{}later", &PARENT[2..]),
            &format!("01{}-{}", &PARENT[2..], "x".repeat(PARENT_BYTES_MAX - PARENT_BYTES)),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
        ] {
            assert!(!is_parent(other), "{other:?}");
        }
    }

    #[test]
    fn a_state_is_printable_and_bounded() {
        assert!(is_state("vendor=1,other=a b"));
        assert!(is_state(&"a".repeat(STATE_BYTES_MAX)));
        for other in ["", "a=1\r\nx: y", "a=\u{e9}", &"a".repeat(STATE_BYTES_MAX + 1)] {
            assert!(!is_state(other), "{other:?}");
        }
    }
}
