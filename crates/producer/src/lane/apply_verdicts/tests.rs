//! What a reply leads to, one promise a test. Times are milliseconds since the start; every
//! back-off is 100 ms.

use std::time::Duration;

use crate::lane::buffer::Gauges;
use crate::lane::cooling::PACED_REST_MIN;
use crate::lane::settings::Settings;
use crate::lane::test_support::{
    Kit, answers, failed, ms, names, relaxed, settings, stored, stored_in,
};
use dispatchd_core::model::Verdict;
use dispatchd_core::model::{Class, Code, Outcome, Reason};

const BLOCKED: Class = Class::Blocked(Reason::AccessDenied);

fn acked(name: &str) -> (String, bool) {
    (name.to_owned(), true)
}

fn refused(name: &str) -> (String, bool) {
    (name.to_owned(), false)
}

#[test]
fn a_verdict_counts_for_its_own_record() {
    let mut kit = Kit::new(settings());
    for key in ["a", "b", "c", "d"] {
        kit.push(0, key, &[key]);
    }
    let batch = kit.send(0);
    let verdicts = vec![stored(), failed(Class::Transient), failed(Class::Poison), stored()];
    let settled = kit.land(5, batch, verdicts);
    assert_eq!(answers(&settled), [acked("a"), refused("c"), acked("d")]);
    assert_eq!((settled.transient, settled.rejected), (1, 1));
    assert_eq!(kit.buffer.gauges().keys_cooling, 1);
}

#[test]
#[should_panic(expected = "one verdict per entry")]
fn a_reply_of_another_length_is_a_bug_of_the_adapter() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a"]);
    let batch = kit.send(10);
    kit.land(10, batch, vec![stored(), stored()]);
}

#[test]
fn a_key_that_failed_cools_and_is_not_overtaken() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1", "a2"]);
    kit.push(0, "b", &["b1"]);
    let batch = kit.send(10);
    kit.land(20, batch, vec![failed(Class::Transient), stored()]);
    kit.push(20, "a", &["a3"]);
    kit.push(20, "b", &["b2"]);
    assert_eq!(names(&kit.send(30)), ["b2"], "other keys do not wait");
    assert!(kit.poll(119).is_none());
    assert_eq!(names(&kit.send(120)), ["a1"]);
}

#[test]
fn relaxed_retries_go_back_to_the_front_in_their_order() {
    let mut kit = Kit::new(relaxed());
    kit.push(0, "a", &["a1", "a2", "a3", "a4"]);
    let batch = kit.send(0);
    kit.push(1, "a", &["a5"]);
    kit.land(
        5,
        batch,
        vec![
            failed(Class::Transient),
            stored(),
            failed(Class::Transient),
            failed(Class::Transient),
        ],
    );
    assert_eq!(names(&kit.send(105)), ["a1", "a3", "a4", "a5"]);
}

#[test]
fn a_throttled_shard_rests_and_no_other() {
    let mut kit = Kit::with_two_shards(settings());
    kit.push_to(0, 0, "a", "a");
    kit.push_to(1, 0, "b", "b");
    let batch = kit.send(10);
    let settled = kit.land(20, batch, vec![failed(Class::Throttled), stored_in("1")]);
    assert_eq!(settled.throttled, 1);
    kit.push_to(0, 21, "c", "c"); // another key of the shard that rests
    kit.push_to(1, 21, "d", "d");
    let waits = kit.waits_until(21).expect("it waits for something");
    assert!(
        (30..=31).contains(&waits),
        "the other shard lingers until 31, the throttled one rests at least as long: {waits}"
    );
    assert_eq!(kit.buffer.gauges().shards_cooling, 1);
    assert_eq!(names(&kit.send(31)), ["d"]);
    // A first rest is 10 to 20 ms, for a shard that is paced; then tokens for a handful come
    // together in 20 ms.
    let wakes = kit.waits_until(31).expect("it wakes");
    assert!((50..=60).contains(&wakes), "{wakes}");
    assert_eq!(names(&kit.send(wakes + 1)), ["a", "c"]);
}

/// The documents had it backwards: "the first wait is up to this long". What they say now is
/// compared with this bound where the configuration is tested.
#[test]
fn no_wait_after_a_failure_is_shorter_than_the_least_back_off() {
    let backoff = dispatchd_core::model::backoff::Backoff { min: ms(100), max: ms(100_000) };
    let mut rests = Vec::new();
    for _ in 0..200 {
        let mut kit = Kit::with_two_shards(Settings {
            backoff,
            timeout: Duration::from_secs(3600),
            ..settings()
        });
        kit.push_to(0, 0, "a", "a");
        let batch = kit.send(10);
        kit.land(10, batch, vec![failed(Class::Transient)]);
        let wait = kit.waits_until(10).expect("it cools") - 10;
        assert!((100..=200).contains(&wait), "{wait}");
        let batch = kit.send(10 + wait + 1);
        kit.land(300, batch, vec![failed(Class::Throttled)]);
        rests.push(kit.buffer.report(kit.at(300)).shards[0].rests_for.expect("it rests"));
    }
    assert!(
        rests.iter().all(|rest| (PACED_REST_MIN..=2 * PACED_REST_MIN).contains(rest)),
        "{rests:?}"
    );
}

#[test]
fn a_paced_shard_is_sent_a_handful_at_a_time_while_the_other_is_sent_everything() {
    let mut kit =
        Kit::with_two_shards(Settings { max_records: 500, max_bytes: 1 << 20, ..settings() });
    kit.push_to(0, 0, "first", "first");
    let batch = kit.send(10);
    kit.land(10, batch, vec![failed(Class::Throttled)]);
    for n in 0..200 {
        kit.push_to(0, 20, &format!("slow-{n}"), "slow");
        kit.push_to(1, 20, &format!("fast-{n}"), "fast");
    }
    let batch = names(&kit.send(60));
    assert_eq!(batch.iter().filter(|name| *name == "fast").count(), 200);
    let slow = batch.len() - 200;
    assert!(
        (20..=50).contains(&slow),
        "{slow} in the 40 to 50 ms since it rested, at 1,000 a second"
    );
    assert!(kit.poll(61).is_none(), "no more until a handful has come together");
}

#[test]
fn flights_that_are_throttled_together_make_a_shard_rest_once() {
    let mut kit = Kit::with_two_shards(Settings { max_records: 1, ..settings() });
    for key in ["a", "b"] {
        kit.push_to(0, 0, key, key);
    }
    let (first, second) = (kit.send(0), kit.send(0));
    kit.land_error(20, first, Class::Throttled, "");
    kit.land_error(90, second, Class::Throttled, "");
    assert_eq!(names(&kit.send(120)), ["a"]);
}

#[test]
fn without_a_map_of_the_shards_the_throttled_key_rests_alone() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a"]);
    kit.push(0, "b", &["b"]);
    let batch = kit.send(10);
    kit.land(20, batch, vec![failed(Class::Throttled), stored()]);
    kit.push(20, "c", &["c"]);
    assert_eq!(names(&kit.send(30)), ["c"]);
    assert_eq!(names(&kit.send(120)), ["a"]);
}

#[test]
fn a_record_in_another_shard_than_predicted_shows_that_the_map_is_old() {
    let mut kit = Kit::with_two_shards(settings());
    kit.push_to(0, 0, "a", "a");
    kit.push_to(1, 0, "b", "b");
    let batch = kit.send(10);
    assert!(!kit.land(20, batch, vec![stored_in("0"), stored_in("1")]).map_is_old);
    kit.push_to(1, 20, "b", "b");
    let batch = kit.send(30);
    assert!(kit.land(40, batch, vec![stored_in("2")]).map_is_old);
}

#[test]
fn once_a_reply_was_lost_the_record_may_be_stored_for_good() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a"]);
    let batch = kit.send(10);
    kit.land_error(20, batch, Class::Transient, "reply lost");
    let batch = kit.send(120);
    kit.land(130, batch, vec![failed(Class::Transient)]);
    let batch = kit.send(230);
    kit.land_error(240, batch, Class::Throttled, "");
    let expired = kit.expired(1000);
    assert!(expired[0].maybe_stored, "a later failure does not take it back");
}

#[test]
fn a_record_of_which_a_reply_says_nothing_may_be_stored() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a"]);
    kit.push(0, "b", &["b"]);
    let batch = kit.send(10);
    let settled = kit.land(20, batch, vec![Verdict::Unclear, failed(Class::Transient)]);
    assert_eq!(
        (settled.transient, settled.stored, settled.answers.len()),
        (2, 0, 0),
        "it is sent again"
    );
    let expired = kit
        .expired(1000)
        .into_iter()
        .map(|item| (item.record.key.as_str().to_owned(), item.maybe_stored));
    let mut expired: Vec<_> = expired.collect();
    expired.sort();
    assert_eq!(expired, [("a".into(), true), ("b".into(), false)]);
}

#[test]
fn a_blocked_stream_is_probed_with_one_record_after_1_s_and_never_less_often_than_30_s() {
    let mut kit = Kit::new(Settings { timeout: Duration::from_secs(3600), ..settings() });
    for key in ["a", "b", "c"] {
        kit.push(0, key, &[key]);
    }
    let batch = kit.send(10);
    let settled = kit.land_error(20, batch, BLOCKED, "");
    assert_eq!((settled.blocked, settled.answers.len()), (3, 0), "nothing is refused for it");
    assert_eq!(kit.buffer.blocked(), Some(Reason::AccessDenied));
    let (mut now, mut longest) = (20, 0);
    for probe in 0..40 {
        let next = kit.waits_until(now).expect("a probe is planned");
        let wait = next - now;
        assert!((1000..=30_001).contains(&wait), "probe {probe} after {wait} ms");
        assert!(probe > 0 || wait <= 1001, "the first comes soon: {wait} ms");
        longest = longest.max(wait);
        now = next + 1; // `waits_until` cuts to the millisecond
        let probe = kit.send(now);
        assert_eq!(names(&probe), ["a"], "one record, the oldest");
        assert!(kit.poll(now).is_none(), "one probe at a time");
        kit.land_error(now, probe, BLOCKED, "");
    }
    assert!(longest > 20_000, "they grow apart: {longest} ms");
}

#[test]
fn the_first_probe_that_is_taken_opens_the_stream_for_all() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a"]);
    kit.push(0, "b", &["b"]);
    let batch = kit.send(10);
    kit.land_error(20, batch, BLOCKED, "");
    kit.buffer.drain(kit.at(30)); // a drain does not wait for the next probe
    let probe = kit.send(30);
    kit.land_stored(40, probe);
    assert_eq!(kit.buffer.blocked(), None);
    assert_eq!(names(&kit.send(40)), ["b"]);
}

#[test]
fn while_it_drains_probes_stay_a_second_apart() {
    let mut kit = Kit::new(Settings { timeout: Duration::from_secs(600), ..settings() });
    kit.push(0, "a", &["a"]);
    kit.buffer.drain(kit.at(0));
    let mut at_ms = 0;
    for _ in 0..10 {
        let probe = kit.send(at_ms);
        kit.land_error(at_ms, probe, BLOCKED, "");
        at_ms += 1_000;
    }
}

#[test]
fn a_flight_that_comes_home_blocked_after_the_others_is_no_failed_probe() {
    let mut kit =
        Kit::new(Settings { max_records: 1, timeout: Duration::from_secs(60), ..settings() });
    kit.push(0, "a", &["a"]);
    kit.push(0, "b", &["b"]);
    let (first, second) = (kit.send(0), kit.send(0));
    kit.land_error(20, first, BLOCKED, "");
    kit.land_error(30, second, BLOCKED, "");
    assert_eq!(kit.waits_until(30), Some(1020));
}

#[test]
fn a_probe_that_fails_in_passing_tells_nothing_and_the_next_waits_its_second() {
    let mut kit = Kit::new(Settings { timeout: Duration::from_secs(60), ..settings() });
    kit.push(0, "a", &["a"]);
    kit.push(0, "b", &["b"]);
    let batch = kit.send(10);
    kit.land_error(20, batch, BLOCKED, "");
    let probe = kit.send(1021);
    kit.land_error(1100, probe, Class::Transient, "");
    assert_eq!(kit.buffer.blocked(), Some(Reason::AccessDenied));
    assert!(kit.poll(2099).is_none());
}

#[test]
fn a_throttled_request_shows_that_the_stream_is_not_blocked_with_a_map_or_without() {
    // Without a map it was once taken for no news, and probes followed each other without a wait.
    for mut kit in [Kit::new(settings()), Kit::with_two_shards(settings())] {
        kit.push(0, "a", &["a"]);
        let batch = kit.send(10);
        kit.land_error(20, batch, BLOCKED, "");
        kit.buffer.drain(kit.at(30));
        let probe = kit.send(30);
        kit.land_error(40, probe, Class::Throttled, "");
        assert_eq!(kit.buffer.blocked(), None);
        assert!(kit.poll(139).is_none());
        assert_eq!(names(&kit.send(140)), ["a"]);
    }
}

#[test]
fn poison_with_a_name_is_refused_in_two_rounds_and_its_mates_go_at_once() {
    let mut kit = Kit::new(settings());
    for key in ["a", "b", "c", "d"] {
        kit.push(0, key, &[key]);
    }
    let batch = kit.send(0);
    let message = "1 validation error detected: Value at 'records.3.member.data' failed";
    assert!(answers(&kit.land_error(5, batch, Class::Poison, message)).is_empty());
    let parts = [kit.send(5), kit.send(5), kit.send(5)];
    assert_eq!(parts.each_ref().map(names), [vec!["a", "b"], vec!["c"], vec!["d"]]);
    let [before, poison, after] = parts;
    kit.land_stored(10, before);
    kit.land_stored(10, after);
    let settled = kit.land_error(10, poison, Class::Poison, &"é".repeat(5000));
    let Outcome::Refused(refusal) = &settled.answers[0].outcome else { panic!("it is refused") };
    assert_eq!((refusal.code, refusal.maybe_stored), (Code::Rejected, None));
    assert!(refusal.message.chars().count() < 600, "the service's words are cut");
    assert!(kit.buffer.is_empty());
}

#[test]
fn poison_without_a_name_is_found_by_halves() {
    const RECORDS: usize = 100;
    for message in
        ["no name", "records.0.member", "records.777.member", "records.-1.member", "records."]
    {
        for poison in [0, 1, 50, 63, 99] {
            let mut kit =
                Kit::new(Settings { max_records: RECORDS, max_bytes: 1 << 20, ..settings() });
            let all: Vec<_> = (0..RECORDS).map(|n| format!("n{n}")).collect();
            all.iter().for_each(|name| kit.push(0, name, &[name]));
            let (mut rounds, mut rejected) = (0, Vec::new());
            while let Some(batch) = kit.poll(0) {
                if names(&batch).contains(&all[poison]) {
                    rounds += 1;
                    rejected.extend(answers(&kit.land_error(0, batch, Class::Poison, message)));
                } else {
                    kit.land_stored(0, batch);
                }
            }
            assert_eq!(rejected, [refused(&all[poison])]);
            assert!(rounds <= 8, "{message}: {rounds} rounds for 100 records");
            assert!(kit.buffer.is_empty());
        }
    }
}

const OF_THE_STREAM: &str =
    "1 validation error detected: Value null at 'streamName' failed to satisfy constraint";

#[test]
fn words_that_two_records_get_alone_are_about_the_stream_and_nothing_more_is_refused_for_them() {
    let mut kit =
        Kit::new(Settings { max_records: 8, timeout: Duration::from_secs(60), ..settings() });
    for (at_ms, key) in (0..).zip(["a", "b", "c", "d", "e", "f", "g", "h"]) {
        kit.push(at_ms, key, &[key]);
    }
    let mut flights = std::collections::VecDeque::from([kit.send(7)]);
    let mut answered = Vec::new();
    while let Some(batch) = flights.pop_front() {
        let settled = kit.land_error(8, batch, Class::Poison, OF_THE_STREAM);
        answered.extend(answers(&settled));
        flights.extend(std::iter::from_fn(|| kit.poll(8)));
    }
    assert_eq!(answered, [refused("a")], "the first that was alone: nobody could know");
    assert_eq!(kit.buffer.blocked(), Some(Reason::RequestRefused));
    assert_eq!(kit.buffer.gauges(), Gauges::default());
    kit.push(9, "i", &["i"]);
    let probe = kit.send(1009);
    assert_eq!(names(&probe), ["b"], "one record, the oldest");
    let settled =
        kit.land_error(1010, probe, Class::Poison, "other words, that name no record either");
    assert_eq!(
        (settled.blocked, settled.answers.len(), settled.refused_in_known_words),
        (1, 0, false)
    );
    let at_ms = kit.waits_until(1010).expect("a probe is planned") + 1;
    let probe = kit.send(at_ms);
    assert_eq!(names(&probe), ["c"], "another one: it might have been about b");
    kit.land_stored(at_ms, probe);
    assert_eq!(kit.buffer.blocked(), None);
    let rest = kit.send(at_ms);
    assert_eq!(rest.len(), 7, "all that waited");
    kit.land_stored(at_ms, rest);
    assert!(kit.buffer.is_empty());
}

#[test]
fn a_record_that_is_named_shows_that_the_stream_is_not_at_fault() {
    let mut kit = Kit::new(Settings { timeout: Duration::from_secs(60), ..settings() });
    for at_ms in [10, 30] {
        kit.push(at_ms - 10, "a", &["a"]);
        let batch = kit.send(at_ms);
        kit.land_error(at_ms, batch, Class::Poison, OF_THE_STREAM);
    }
    assert_eq!(kit.buffer.blocked(), Some(Reason::RequestRefused));
    let probe = kit.send(1031);
    let settled =
        kit.land_error(1032, probe, Class::Poison, "Value at 'records.1.member.data' failed");
    assert_eq!(answers(&settled), [refused("a")]);
    assert_eq!(kit.buffer.blocked(), None);
    kit.push(1040, "b", &["b"]);
    let batch = kit.send(1050);
    let settled = kit.land_error(1051, batch, Class::Poison, OF_THE_STREAM);
    assert_eq!(answers(&settled), [refused("b")], "records were looked at since the first one");
}

#[test]
fn records_at_fault_that_get_the_same_words_are_refused_one_by_one_where_others_are_taken() {
    let mut kit = Kit::new(settings());
    for round in 0..5 {
        let at_ms = 100 * round;
        kit.push(at_ms, "bad", &["bad"]);
        let batch = kit.send(at_ms + 10);
        assert_eq!(
            answers(&kit.land_error(at_ms + 10, batch, Class::Poison, OF_THE_STREAM)),
            [refused("bad")]
        );
        kit.push(at_ms + 20, "good", &["good"]);
        let batch = kit.send(at_ms + 30);
        kit.land_stored(at_ms + 30, batch);
    }
}

#[test]
fn a_record_at_fault_does_not_hold_up_others_for_longer_than_it_takes_to_try_one_of_them() {
    let mut kit = Kit::new(Settings { timeout: Duration::from_secs(600), ..settings() });
    for at_ms in [0, 20] {
        kit.push(at_ms, "bad", &["bad"]);
        let batch = kit.send(at_ms + 10);
        kit.land_error(at_ms + 10, batch, Class::Poison, OF_THE_STREAM);
    }
    assert_eq!(kit.buffer.blocked(), Some(Reason::RequestRefused));
    kit.push(40, "good", &["good"]);
    let (mut at_ms, mut tried) = (40, Vec::new());
    while kit.buffer.blocked().is_some() {
        at_ms = kit.waits_until(at_ms).expect("a probe is planned") + 1;
        let probe = kit.send(at_ms);
        tried.extend(names(&probe));
        if tried.last().is_some_and(|name| name == "bad") {
            kit.land_error(at_ms, probe, Class::Poison, OF_THE_STREAM);
        } else {
            kit.land_stored(at_ms, probe);
        }
    }
    assert_eq!(tried, ["bad", "good"]);
    let batch = kit.send(at_ms);
    assert_eq!(
        answers(&kit.land_error(at_ms, batch, Class::Poison, OF_THE_STREAM)),
        [refused("bad")]
    );
    assert!(kit.buffer.is_empty());
}

#[test]
fn a_key_that_is_cut_sends_its_pieces_one_after_the_other_and_keeps_its_order() {
    let mut kit = Kit::new(relaxed());
    kit.push(0, "a", &["a1", "a2", "a3"]);
    kit.push(0, "b", &["b1"]);
    let batch = kit.send(0);
    assert_eq!(names(&batch), ["a1", "a2", "a3", "b1"]);
    kit.push(1, "a", &["a4"]);
    kit.land_error(5, batch, Class::Poison, "records.2.member");
    let (first, other) = (kit.send(5), kit.send(5));
    assert_eq!((names(&first), names(&other)), (vec!["a1".to_owned()], vec!["b1".to_owned()]));
    assert!(kit.poll(50).is_none(), "the rest of the key waits for its first piece");
    kit.land_stored(50, first);
    let named = kit.send(50);
    assert_eq!(names(&named), ["a2"], "alone: it is the one that was named");
    assert_eq!(answers(&kit.land_error(60, named, Class::Poison, "")), [("a2".to_owned(), false)]);
    let rest = kit.send(60);
    assert_eq!(names(&rest), ["a3"]);
    kit.land_stored(70, rest);
    assert_eq!(names(&kit.send(70)), ["a4"]);
}

#[test]
fn in_a_key_alone_the_half_that_is_left_when_the_other_was_taken_is_halved_unsent() {
    let mut kit = Kit::new(relaxed());
    kit.push(0, "a", &["a1", "a2", "a3", "a4"]);
    let batch = kit.send(0);
    kit.land_error(5, batch, Class::Poison, "no name");
    let half = kit.send(5);
    assert_eq!(names(&half), ["a1", "a2"]);
    kit.land_stored(10, half);
    let quarter = kit.send(10);
    assert_eq!(names(&quarter), ["a3"]);
    kit.land_stored(15, quarter);
    let last = kit.send(15);
    assert_eq!(names(&last), ["a4"]);
    assert_eq!(answers(&kit.land_error(20, last, Class::Poison, "")), [("a4".to_owned(), false)]);
    assert!(kit.buffer.is_empty());
}

#[test]
fn a_piece_of_a_key_is_sent_whole_where_the_record_at_fault_may_be_elsewhere() {
    // The other half holds another key too; or a record was named, and was taken all the same.
    for (message, sent) in [
        ("no name", [vec!["a1", "a2", "a3"], vec!["b1"], vec!["a4", "a5"]].as_slice()),
        ("records.2.member", &[vec!["a1"], vec!["b1"], vec!["a2"], vec!["a3", "a4", "a5"]]),
    ] {
        let mut kit = Kit::new(Settings { max_records: 6, ..relaxed() });
        kit.push(0, "a", &["a1", "a2", "a3", "a4", "a5"]);
        kit.push(0, "b", &["b1"]);
        let batch = kit.send(0);
        kit.land_error(5, batch, Class::Poison, message);
        for part in sent {
            let batch = kit.send(5);
            assert_eq!(names(&batch), *part, "{message}");
            kit.land_stored(5, batch);
        }
        assert!(kit.buffer.is_empty());
    }
}

#[test]
fn the_rest_of_a_key_alone_is_sent_whole_where_the_record_at_fault_need_not_be_in_it() {
    let mut kit = Kit::new(relaxed());
    kit.push(0, "a", &["a1", "a2", "a3"]);
    let batch = kit.send(10);
    kit.land_error(10, batch, Class::Poison, "no name");
    let half = kit.send(10);
    assert_eq!(answers(&kit.land_error(10, half, Class::Poison, "no name")), [refused("a1")]);
    let rest = kit.send(10);
    assert_eq!(names(&rest), ["a2", "a3"], "the one at fault was found");
    kit.land_stored(10, rest);

    kit.push(20, "a", &["a1", "a2", "a3", "a4"]);
    let batch = kit.send(20);
    kit.land_error(20, batch, Class::Poison, "records.2.member");
    for part in [vec!["a1"], vec!["a2"], vec!["a3", "a4"]] {
        let batch = kit.send(20);
        assert_eq!(names(&batch), part, "the one that was named was taken");
        kit.land_stored(20, batch);
    }
}

#[test]
fn a_piece_that_fails_for_another_reason_goes_back_before_the_others() {
    let mut kit = Kit::new(relaxed());
    kit.push(0, "a", &["a1", "a2", "a3", "a4"]);
    let batch = kit.send(0);
    kit.land_error(5, batch, Class::Poison, "no name");
    let half = kit.send(5);
    kit.land_error(10, half, Class::Transient, "");
    assert_eq!(names(&kit.send(110)), ["a1", "a2", "a3", "a4"]);
}

#[test]
fn parts_of_a_refused_request_do_not_wait_out_a_blocked_stream_where_no_timeout_finds_them() {
    let mut kit = Kit::new(Settings { max_in_flight: 2, ..settings() });
    for key in ["a", "b", "c", "d"] {
        kit.push(0, key, &[key]);
    }
    let batch = kit.send(0);
    kit.push(1, "e", &["e"]);
    let other = kit.send(11);
    kit.land_error(20, batch, Class::Poison, "no name"); // in two parts, and room for one flight
    let part = kit.send(20);
    kit.land_error(30, other, BLOCKED, "");
    assert_eq!(kit.expire(1005), ["c", "d", "e"]);
    kit.land_error(1010, part, BLOCKED, "");
    assert_eq!(kit.expire(1030), ["a", "b"]);
    assert!(kit.buffer.is_empty());
}

#[test]
fn back_off_counts_a_records_own_failures() {
    let mut kit = Kit::new(Settings {
        backoff: dispatchd_core::model::backoff::Backoff { min: ms(100), max: ms(100_000) },
        timeout: Duration::from_secs(3600),
        ..settings()
    });
    kit.push(0, "a", &["a"]);
    let mut now = 10;
    for failures in 1..8_u32 {
        let batch = kit.send(now);
        kit.land(now, batch, vec![failed(Class::Transient)]);
        let wait = kit.waits_until(now).expect("it cools") - now;
        assert!(
            (100..=100 * 2_u64.pow(failures)).contains(&wait),
            "{failures} failures, {wait} ms"
        );
        now += wait + 1;
    }
}
