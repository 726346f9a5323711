//! Event patterns: whatever is a pattern, and whatever is an event, reading ends, members match as
//! the object that they make, and a pattern matches in company as it does alone.
//!
//! An input is the pattern, a line end, and the event.
#![no_main]

use dispatchd_pattern::{Member, Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (pattern, event) = (&input[..end], &input[end + 1..]);
    let Ok(Ok(pattern)) = str::from_utf8(pattern).map(Pattern::parse) else { return };
    let verdict = pattern.matches(event);
    let twice = Pattern::any_of([pattern.clone(), pattern.clone()]);
    assert_eq!(twice.matches(event), verdict);
    // The event as the one member of a larger one: it is JSON there if it is JSON here, or deeper.
    let whole = [br#"{"data":"#, event, b"}"].concat();
    let as_member = pattern.matches_members(&[("data", Member::Json(event))]);
    if let (Ok(member), Ok(whole)) = (as_member, pattern.matches(&whole)) {
        assert_eq!(member, whole);
    }
});
