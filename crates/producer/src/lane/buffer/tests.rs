//! What a lane's memory promises, one promise a test. Times are milliseconds since the start.

use crate::lane::buffer::Gauges;
use crate::lane::settings::KeyOrder;
use crate::lane::settings::Settings;
use crate::lane::test_support::{
    Kit, answers, facts, failed, ms, names, relaxed, settings, shards,
};
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{Class, Reason};

#[test]
fn an_event_waits_for_company_as_long_as_linger_and_no_longer() {
    let mut kit = Kit::new(settings());
    kit.push(5, "a", &["a1"]);
    assert_eq!(kit.waits_until(5), Some(15));
    kit.push(9, "b", &["b1"]);
    assert_eq!(kit.waits_until(14), Some(15), "the oldest counts");
    assert_eq!(names(&kit.send(15)), ["a1", "b1"]);
}

#[test]
fn an_empty_lane_waits_for_nothing() {
    let mut kit = Kit::new(settings());
    assert_eq!(kit.waits_until(0), None);
    assert!(kit.buffer.is_empty());
    assert_eq!(kit.buffer.oldest(), None);
}

#[test]
fn a_request_that_is_full_by_count_is_sent_at_once() {
    let mut kit = Kit::new(settings());
    for key in ["a", "b", "c"] {
        kit.push(0, key, &[key]);
    }
    assert!(kit.poll(0).is_none());
    kit.push(1, "d", &["d"]);
    kit.push(1, "e", &["e"]);
    assert_eq!(names(&kit.send(1)), ["a", "b", "c", "d"]);
    assert_eq!(kit.waits_until(1), Some(11), "the rest lingers");
}

#[test]
fn a_request_that_is_full_by_bytes_is_sent_at_once() {
    let mut kit = Kit::new(settings());
    kit.push_bytes(0, "a", "a", 600);
    assert!(kit.poll(0).is_none());
    kit.push_bytes(0, "b", "b", 400);
    assert_eq!(kit.send(0).bytes(), 1000);
}

#[test]
fn under_strict_order_what_waits_behind_a_key_does_not_fill_a_request() {
    // Ten events of one key are one record's worth of a request: to send at once would be to send
    // one alone.
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1", "a2", "a3", "a4", "a5"]);
    assert_eq!(kit.waits_until(0), Some(10));
}

#[test]
fn a_record_larger_than_the_aim_goes_alone() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a"]);
    kit.push_bytes(1, "b", "b", 1500);
    kit.push(2, "c", &["c"]);
    assert_eq!(names(&kit.send(2)), ["a"], "it does not fit behind another");
    assert_eq!(names(&kit.send(2)), ["b"], "and none fits behind it");
    assert_eq!(names(&kit.send(12)), ["c"]);
}

#[test]
fn there_are_never_more_flights_than_allowed() {
    let mut kit = Kit::new(Settings { max_in_flight: 2, max_records: 1, ..settings() });
    for key in ["a", "b", "c"] {
        kit.push(0, key, &[key]);
    }
    let (first, _second) = (kit.send(0), kit.send(0));
    assert!(kit.poll(0).is_none());
    assert_eq!(kit.buffer.gauges().flights, 2);
    kit.land_stored(5, first);
    assert_eq!(names(&kit.send(5)), ["c"]);
}

#[test]
fn strict_order_sends_one_record_of_a_key_and_holds_the_others_until_it_lands() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1", "a2"]);
    kit.push(0, "b", &["b1"]);
    let batch = kit.send(10);
    assert_eq!(names(&batch), ["a1", "b1"]);
    assert_eq!(kit.buffer.gauges().keys_held, 1);
    kit.push(11, "b", &["b2"]);
    assert_eq!(kit.buffer.gauges().keys_held, 2);
    assert!(kit.poll(30).is_none(), "both keys are in flight");
    kit.land_stored(30, batch);
    assert_eq!(kit.buffer.gauges(), Gauges::default());
    assert_eq!(names(&kit.send(30)), ["a2", "b2"], "they lingered while they were held");
}

#[test]
fn relaxed_order_sends_many_records_of_a_key_in_their_order() {
    let mut kit = Kit::new(relaxed());
    kit.push(0, "a", &["a1", "a2", "a3"]);
    kit.push(0, "b", &["b1"]);
    kit.push(0, "a", &["a4"]);
    assert_eq!(names(&kit.send(0)), ["a1", "a2", "a3", "a4"], "full: the key's events all count");
    kit.push(1, "a", &["a5"]);
    assert_eq!(names(&kit.send(10)), ["b1"], "a5 waits: still one flight a key");
}

#[test]
fn relaxed_order_stops_a_key_at_the_first_record_that_does_not_fit() {
    // To go on with a smaller one would be to let it overtake.
    let mut kit = Kit::new(relaxed());
    kit.push_bytes(0, "a", "a1", 500);
    kit.push_bytes(0, "a", "a2", 600);
    kit.push_bytes(0, "a", "a3", 10);
    assert_eq!(names(&kit.send(0)), ["a1"]);
}

#[test]
fn the_oldest_event_goes_first_whatever_its_shard() {
    let mut kit = Kit::with_two_shards(settings());
    for (at, shard, name) in [(0, 1, "a"), (1, 0, "b"), (2, 0, "c"), (3, 1, "d")] {
        kit.push_to(shard, at, name, name);
    }
    assert_eq!(names(&kit.send(3)), ["a", "b", "c", "d"]);
}

#[test]
fn a_key_that_comes_back_stands_before_younger_ones() {
    let mut kit = Kit::new(Settings { max_records: 2, ..settings() });
    kit.push(0, "a", &["a"]);
    let batch = kit.send(10);
    kit.land_error(20, batch, Class::Transient, "");
    kit.push(30, "b", &["b"]);
    kit.push(110, "c", &["c"]);
    let batch = kit.send(120);
    assert_eq!(names(&batch), ["a", "b"], "one that cooled");
    kit.push(121, "a", &["a2"]);
    kit.push(122, "d", &["d"]);
    kit.land_stored(122, batch);
    assert_eq!(names(&kit.send(122)), ["c", "a2"], "one that was held");
}

#[test]
fn an_event_expires_at_the_timeout_unless_it_is_in_flight() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1", "a2"]);
    kit.push(0, "b", &["b1"]);
    let batch = kit.send(10);
    kit.push(400, "a", &["a3"]);
    assert!(kit.expire(999).is_empty());
    assert_eq!(kit.expire(1000), ["a2"], "a1 and b1 are in flight");
    kit.land_error(1050, batch, Class::Transient, "");
    assert_eq!(kit.expire(1070), ["a1", "b1"], "at most a tick later, cooling or not");
    assert!(kit.poll(1149).is_none(), "the key cools, whoever failed");
    assert_eq!(names(&kit.send(1150)), ["a3"]);
    assert_eq!(kit.buffer.gauges(), Gauges { flights: 1, ..Gauges::default() });
}

#[test]
fn a_lane_that_wakes_for_what_is_overdue_in_flight_sleeps_for_a_tick_before_it_looks_again() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1"]);
    let _flight = kit.send(10);
    assert_eq!(kit.waits_until(10), Some(1000));
    assert_eq!(kit.waits_until(1000), Some(1015), "a 64th of the timeout later");
}

#[test]
fn a_key_whose_last_event_expires_behind_its_flight_is_kept_until_that_lands() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1", "a2"]);
    let batch = kit.send(10);
    assert_eq!(kit.expire(1000), ["a2"]);
    assert!(!kit.buffer.is_empty());
    assert_eq!(kit.buffer.gauges(), Gauges { flights: 1, ..Gauges::default() });
    kit.land_stored(1001, batch);
    assert!(kit.buffer.is_empty());
}

#[test]
fn what_is_overdue_when_its_turn_comes_is_answered_and_not_sent_between_two_sweeps_too() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1"]);
    kit.push(3, "a", &["a2"]);
    kit.push(5, "a", &["a3"]);
    let flight = kit.send(10);
    assert!(kit.poll(1000).is_none(), "a2 has 3 ms left; the next sweep comes a 64th of 1 s later");
    kit.land_stored(1004, flight);
    assert_eq!(names(&kit.send(1004)), ["a3"], "it has 1 ms left");
    assert_eq!(kit.late(1004), ["a2"], "1001 ms after it came");
}

#[test]
fn an_event_that_is_older_than_the_first_one_is_not_sent_late() {
    // It was once taken to be as old as the first one, and sent for that moment too long.
    let mut kit = Kit::new(Settings { linger: ms(60_000), ..settings() });
    kit.push(2, "a", &["a"]);
    kit.push(0, "b", &["b"]);
    kit.push(1001, "c", &["c"]);
    kit.push(1001, "d", &["d"]);
    assert_eq!(kit.late(1001), ["b"], "though the request would be full with it");
}

#[test]
fn what_is_overdue_in_a_part_of_a_refused_request_is_answered_and_its_mates_are_sent() {
    let mut kit = Kit::new(Settings { max_in_flight: 1, ..settings() });
    for (at_ms, key) in [(0, "a"), (0, "b"), (0, "c"), (9, "d")] {
        kit.push(at_ms, key, &[key]);
    }
    kit.push(9, "c", &["c2"]);
    let batch = kit.send(9);
    kit.land_error(990, batch, Class::Poison, "no name");
    let half = kit.send(990);
    assert_eq!(names(&half), ["a", "b"]);
    kit.land_stored(1005, half);
    let rest = kit.send(1005);
    assert_eq!(names(&rest), ["d"]);
    assert_eq!(kit.late(1005), ["c"]);
    kit.land_stored(1006, rest);
    assert_eq!(names(&kit.send(1006)), ["c2"], "its key goes on");
}

#[test]
fn an_event_is_given_up_at_its_deadline_wherever_it_stands_and_the_others_go_on_in_order() {
    let mut kit = Kit::new(Settings { linger: ms(500), ..relaxed() });
    kit.push(0, "a", &["a1"]);
    kit.push_until(0, "a", "a2", 300);
    kit.push(0, "a", &["a3"]);
    kit.push_until(0, "b", "b1", 300);
    kit.push_until(0, "c", "c1", 301);
    assert_eq!(names(&kit.send(0)), ["a1", "a2", "a3", "b1"], "four are a request");

    let mut kit = Kit::new(Settings { linger: ms(500), max_records: 9, ..relaxed() });
    kit.push(0, "a", &["a1"]);
    kit.push_until(0, "a", "a2", 300);
    kit.push(0, "a", &["a3"]);
    kit.push_until(0, "b", "b1", 300);
    kit.push_until(0, "c", "c1", 301);
    assert_eq!(kit.waits_until(0), Some(300));
    assert_eq!(kit.waits_until(299), Some(300));
    let mut late = kit.late(300);
    late.sort();
    assert_eq!(late, ["a2", "b1"]);
    assert_eq!(kit.waits_until(300), Some(301));
    assert_eq!(kit.late(301), ["c1"]);
    assert_eq!(names(&kit.send(500)), ["a1", "a3"]);
}

#[test]
fn an_event_in_flight_at_its_deadline_is_settled_by_its_flight_and_never_sent_again() {
    let mut kit = Kit::new(settings());
    kit.push_until(0, "a", "a1", 20);
    let flight = kit.send(10);
    assert_eq!(kit.waits_until(20), Some(1000), "delivery.timeout is the next to look for");
    assert_eq!(answers(&kit.land_stored(30, flight)), [("a1".to_owned(), true)]);
    assert!(kit.buffer.is_empty());

    kit.push_until(40, "a", "a2", 60);
    kit.push(40, "a", &["a3"]);
    let flight = kit.send(50);
    kit.land_error(70, flight, Class::Transient, "");
    assert_eq!(kit.late(70), ["a2"], "as soon as it is back");
    assert_eq!(kit.waits_until(70), Some(170), "the key cools still");
    assert_eq!(names(&kit.send(170)), ["a3"]);
}

#[test]
fn a_key_that_loses_its_head_waits_for_the_shard_of_its_next_event_and_for_no_other() {
    let mut kit = Kit::with_two_shards(settings());
    kit.push_to(0, 0, "full", "full");
    let batch = kit.send(10);
    kit.push_until(10, "a", "a1", 21); // by its key it belongs to shard 0
    kit.push_to(1, 10, "a", "a2");
    kit.land(20, batch, vec![failed(Class::Throttled)]);
    assert!(kit.poll(20).is_none(), "shard 0 rests for 10 ms at least");
    assert_eq!(kit.late(21), ["a1"]);
    assert_eq!(names(&kit.send(21)), ["a2"]);
}

#[test]
fn an_event_that_comes_after_its_deadline_is_never_sent() {
    let mut kit = Kit::new(Settings { max_records: 1, ..settings() });
    kit.push_until(10, "a", "a1", 10);
    kit.push(10, "a", &["a2"]);
    assert_eq!(kit.late(10), ["a1"]);
    assert_eq!(names(&kit.send(10)), ["a2"]);
}

#[test]
fn a_key_that_loses_its_last_event_to_a_deadline_is_forgotten_in_every_state() {
    let mut kit = Kit::new(settings());
    kit.push_until(0, "ready", "ready", 5);
    assert_eq!(kit.late(5), ["ready"]);
    assert!(kit.buffer.is_empty());
    assert_eq!(kit.buffer.oldest(), None, "it counts as answered");

    kit.push_until(5, "cools", "cools", 100);
    let flight = kit.send(15);
    kit.land_error(20, flight, Class::Transient, "");
    assert_eq!(kit.waits_until(20), Some(100), "it cools until 120");
    assert_eq!(kit.buffer.gauges(), Gauges { keys_cooling: 1, ..Gauges::default() });
    assert_eq!(kit.late(100), ["cools"]);
    assert!(kit.buffer.is_empty());
    assert_eq!(kit.buffer.gauges(), Gauges::default());

    kit.push(100, "held", &["flies"]);
    let flight = kit.send(110);
    kit.push_until(110, "held", "held", 130);
    assert!(kit.poll(110).is_none());
    assert_eq!(kit.buffer.gauges(), Gauges { flights: 1, keys_held: 1, ..Gauges::default() });
    assert_eq!(kit.late(130), ["held"]);
    assert_eq!(kit.buffer.gauges(), Gauges { flights: 1, ..Gauges::default() });
    kit.land_stored(140, flight);
    assert!(kit.buffer.is_empty());
}

#[test]
fn an_event_given_up_in_a_piece_of_a_key_that_was_cut_leaves_the_others_to_go_as_they_come() {
    let mut kit = Kit::new(Settings { max_in_flight: 1, ..relaxed() });
    kit.push(0, "a", &["a1", "a2", "a3"]);
    kit.push_until(0, "a", "a4", 40);
    let batch = kit.send(0);
    kit.land_error(20, batch, Class::Poison, "no name");
    let half = kit.send(20);
    assert_eq!(names(&half), ["a1", "a2"]);
    kit.push(30, "a", &["a5", "a6"]);
    assert_eq!(kit.late(40), ["a4"], "of the other half");
    kit.land_stored(50, half);
    assert_eq!(names(&kit.send(50)), ["a3", "a5", "a6"], "and not a piece of two");
}

#[test]
fn places_that_given_up_events_left_behind_are_bounded_however_long_nothing_is_sent() {
    // In an outage of an hour each caller gave up and came again, and each left its place.
    const ROUNDS: u64 = 10_000;
    let mut kit = Kit::new(Settings { linger: ms(600_000), timeout: ms(700_000), ..settings() });
    kit.push(0, "old", &["old"]);
    for round in 0..ROUNDS {
        kit.push_until(round, &format!("key {round}"), "new", round + 1);
        assert_eq!(kit.late(round + 1), ["new"]);
        assert!(kit.buffer.places() <= 1100, "{} in round {round}", kit.buffer.places());
    }
    assert_eq!(names(&kit.send(600_000)), ["old"]);
}

#[test]
fn an_event_that_is_given_up_costs_a_look_at_one_waiting_key_and_not_at_all_of_them() {
    // What could go wrong: the queues are made anew for each event, and an outage with many keys is
    // one long look at all of them.
    const KEYS: usize = 1_500;
    const ROUNDS: usize = 10_000;
    let (linger, timeout) = (ms(600_000), ms(700_000));
    let (max_records, max_bytes) = (2 * KEYS, 1 << 20);
    let mut kit = Kit::new(Settings { linger, timeout, max_records, max_bytes, ..settings() });
    (0..KEYS).for_each(|key| kit.push(0, &format!("waits {key}"), &["waits"]));
    let (mut looked_at, mut before) = (0, kit.buffer.places());
    for round in 0..ROUNDS as u64 {
        kit.push_until(round, &format!("key {round}"), "new", round + 1);
        assert_eq!(kit.late(round + 1), ["new"]);
        let places = kit.buffer.places();
        looked_at += if places > before { 0 } else { KEYS }; // else they were made anew
        before = places;
    }
    assert!((1..=ROUNDS).contains(&looked_at), "{looked_at} looks");
}

#[test]
fn what_expired_no_longer_fills_a_request() {
    let mut kit = Kit::new(Settings { linger: ms(60_000), ..relaxed() });
    kit.push(0, "a", &["a1"]);
    kit.push(0, "b", &["b1"]);
    kit.push(500, "b", &["b2"]);
    assert_eq!(kit.expire(1000), ["a1", "b1"]);
    kit.push(1000, "c", &["c1"]);
    assert!(kit.poll(1000).is_none(), "two of four records");
    kit.push(1000, "c", &["c2", "c3"]);
    assert_eq!(names(&kit.send(1000)).len(), 4);
}

#[test]
fn a_key_whose_events_expired_as_it_cooled_leaves_nothing_that_ends_a_later_cooling() {
    // The place it left among those that cool once woke the key's next events before their time.
    let mut kit = Kit::new(Settings { timeout: ms(200), ..settings() });
    kit.push(0, "a", &["a1"]);
    let first = kit.send(150);
    kit.land_error(150, first, Class::Transient, ""); // cools until 250
    assert_eq!(kit.expire(200), ["a1"]);
    kit.push(200, "a", &["a2"]);
    let second = kit.send(210);
    kit.land_error(220, second, Class::Transient, ""); // cools until 320
    assert!(kit.poll(250).is_none());
    assert!(kit.poll(319).is_none());
    assert_eq!(names(&kit.send(320)), ["a2"]);
}

#[test]
fn a_stream_that_begins_to_ignore_keys_has_one_queue_for_all() {
    let mut kit = Kit::with_two_shards(settings());
    kit.push_to(0, 0, "a", "a");
    kit.push_to(1, 0, "b", "b");
    let now = kit.at(1);
    kit.buffer.learn(facts(None), now);
    let batch = kit.send(10);
    assert_eq!(batch.records().len(), 2);
    let settled = kit.land_stored(20, batch);
    assert!(!settled.map_is_old, "without a map none is old");
}

#[test]
fn a_large_record_waits_until_the_flights_leave_room_for_its_request() {
    let mut kit = Kit::new(Settings { max_in_flight: 3, ..settings() }); // 3000 bytes may fly
    kit.push_bytes(0, "a", "a", 900);
    let small = kit.send(10);
    kit.push_bytes(11, "b", "b", 2_500);
    kit.push_bytes(12, "c", "c", 100);
    assert!(
        kit.poll(30).is_none(),
        "2500 bytes beside 900 are too many, and what is older goes first"
    );
    kit.land_stored(31, small);
    let large = kit.send(31);
    assert_eq!(names(&large), ["b"]);
    assert_eq!(names(&kit.send(31)), ["c"], "what is small fits beside it");
    kit.land_stored(40, large);
}

#[test]
fn the_drain_ends_linger_and_wakes_keys_and_shards() {
    let mut kit = Kit::with_two_shards(settings());
    kit.push_to(0, 0, "a", "a");
    kit.push_to(1, 0, "b", "b");
    let batch = kit.send(10);
    kit.land(20, batch, vec![failed(Class::Throttled), failed(Class::Transient)]);
    kit.push_to(1, 21, "c", "c");
    assert!(kit.poll(21).is_none());
    assert_eq!((kit.buffer.gauges().shards_cooling, kit.buffer.gauges().keys_cooling), (1, 1));
    kit.buffer.drain(kit.at(22));
    assert_eq!(names(&kit.send(22)), ["a", "b", "c"]);
    assert_eq!(kit.buffer.gauges(), Gauges { flights: 1, ..Gauges::default() });
    kit.push_to(1, 23, "d", "d");
    assert_eq!(names(&kit.send(23)), ["d"], "nothing lingers any more");
}

#[test]
fn while_it_drains_no_shard_is_paced_and_no_wait_is_long() {
    let backoff = Backoff { min: ms(5_000), max: ms(5_000) };
    let mut kit = Kit::with_two_shards(Settings {
        backoff,
        timeout: ms(60_000),
        max_records: 500,
        max_bytes: 10_000,
        ..settings()
    });
    for n in 0..100 {
        kit.push_to(0, 0, &format!("key {n}"), "event");
    }
    kit.buffer.drain(kit.at(10));
    let batch = kit.send(10);
    assert_eq!(batch.records().len(), 100);
    kit.land(20, batch, vec![failed(Class::Throttled); 100]);
    assert!(kit.poll(269).is_none());
    assert_eq!(kit.send(270).records().len(), 100, "all of them, at once");
}

#[test]
fn at_the_deadline_everything_comes_out_that_is_not_in_flight() {
    let mut kit = Kit::new(Settings { max_records: 2, max_in_flight: 1, ..settings() });
    for key in ["a", "b", "c"] {
        kit.push(0, key, &[key]);
    }
    let batch = kit.send(0);
    kit.land_error(5, batch, Class::Poison, "nothing named");
    let _part = kit.send(5);
    assert_eq!(kit.buffer.abandon().len(), 2, "the other part and what never left");
    assert!(kit.buffer.is_empty());
}

#[test]
fn new_shards_take_over_what_is_ready_and_none_of_them_rests() {
    let mut kit = Kit::with_two_shards(settings());
    kit.push_to(1, 0, "a", "a");
    let batch = kit.send(10);
    kit.land_error(20, batch, Class::Throttled, "");
    assert!(kit.poll(20).is_none());
    let now = kit.at(0);
    kit.buffer.learn(facts(Some(shards(&[0, 1 << 126, 1 << 127]))), now);
    assert_eq!(names(&kit.send(20)), ["a"]);
}

#[test]
fn the_oldest_event_is_known_until_it_is_settled() {
    let mut kit = Kit::new(Settings { ordering: KeyOrder::Relaxed, ..settings() });
    kit.push(0, "a", &["a"]);
    let batch = kit.send(10);
    kit.push(100, "b", &["b"]);
    assert_eq!(kit.buffer.oldest(), Some(kit.at(0)));
    kit.land_stored(110, batch);
    let oldest = kit.buffer.oldest().expect("b is there");
    assert!(oldest <= kit.at(100) && oldest > kit.at(80), "to a tick, a 64th of the timeout");
}

#[test]
fn other_rules_hold_for_what_waits_already() {
    let mut kit = Kit::new(Settings { linger: ms(60_000), max_in_flight: 1, ..settings() });
    kit.push(0, "a", &["a1"]);
    assert!(kit.poll(5).is_none());
    let now = kit.at(6);
    kit.buffer.set_settings(Settings { timeout: ms(5_000), ..settings() }, now);
    let flight = kit.send(10);
    kit.push(20, "b", &["b1"]);
    assert_eq!(names(&kit.send(30)), ["b1"], "more than one request may be out now");
    kit.land_error(30, flight, Class::Transient, "");
    assert!(kit.expire(1500).is_empty(), "it may wait longer than when it came");
    assert_eq!(kit.expire(5000), ["a1"]);
}

#[test]
fn a_drain_outlives_other_rules() {
    let mut kit = Kit::new(settings());
    let now = kit.at(0);
    kit.buffer.drain(now);
    kit.buffer.set_settings(Settings { linger: ms(60_000), ..settings() }, now);
    kit.push(1, "a", &["a1"]);
    assert_eq!(names(&kit.send(1)), ["a1"], "nothing lingers any more");
}

#[test]
fn other_rules_try_a_blocked_stream_at_once() {
    let mut kit = Kit::new(settings());
    kit.push(0, "a", &["a1"]);
    let batch = kit.send(10);
    kit.land_error(20, batch, Class::Blocked(Reason::Kms), "");
    assert!(kit.poll(21).is_none());
    let now = kit.at(22);
    kit.buffer.set_settings(settings(), now);
    assert_eq!(names(&kit.send(22)), ["a1"]);
}

#[test]
fn a_paced_shard_that_nothing_waits_for_wakes_nobody() {
    let mut kit = Kit::with_two_shards(Settings { timeout: ms(60_000), ..settings() });
    kit.push_to(0, 0, "a", "a");
    let batch = kit.send(10);
    kit.land(10, batch, vec![failed(Class::Throttled)]);
    let next = (11..100).find_map(|at_ms| kit.poll(at_ms).map(|batch| (at_ms, batch)));
    let (at_ms, batch) = next.expect("its rest is over by then");
    assert_eq!(kit.waits_until(at_ms), Some(60_000), "no longer for the pace, but to expire");
    kit.land_stored(at_ms, batch);
    assert_eq!(kit.waits_until(at_ms), None);
}
