//! One shard by hand: a target that answers what each test says. Chance is in `tests/sim`.

use std::time::Duration;

use dispatchd_core::limits::MIB;
use dispatchd_core::wire::forward::Misfit;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::samples::{failure, place, record};
use super::super::{Condition, FailureKind, Follows, GiveUp, Place};
use super::*;

/// A delivery, its clocks and its dice.
struct Scene {
    it: ShardDelivery<()>,
    now: Now,
    rng: SmallRng,
}

fn rules(batch_records: usize) -> Rules {
    Rules { batch_records, ..Rules::new(|record| record.data.len()) }
}

fn giving_up(retries_max: u32) -> Option<GiveUp> {
    Some(GiveUp { retries_max: Some(retries_max), age_max: None })
}

impl Scene {
    fn new(rules: Rules) -> Self {
        Self::resumed(rules, None)
    }

    fn resumed(rules: Rules, checkpoint: Option<Checkpoint>) -> Self {
        let now = Now { instant: Instant::now(), time: SystemTime::UNIX_EPOCH };
        Self { it: ShardDelivery::new(rules, checkpoint), now, rng: SmallRng::seed_from_u64(7) }
    }

    fn take(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let records = numbers.into_iter().map(|number| Read::Wanted(record(number))).collect();
        self.it.take_in(records, (), self.now.instant);
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { instant: self.now.instant + time, time: self.now.time + time };
    }

    /// The next step, checkpoints persisted and waits waited out.
    fn step(&mut self) -> Step {
        loop {
            match self.it.turn(self.now) {
                Step::Persist(_) => self.it.persisted(true, self.now.instant, &mut self.rng),
                Step::Wait(Some(until)) => self.pass(until - self.now.instant),
                step => return step,
            }
        }
    }

    fn batch(&mut self) -> Batch {
        match self.step() {
            Step::Send(batch) => batch,
            other => panic!("a batch is due, not {other:?}"),
        }
    }

    fn letters(&mut self) -> DeadLetters {
        match self.step() {
            Step::KeepLetters(letters) => letters,
            other => panic!("dead letters are due, not {other:?}"),
        }
    }

    fn respond(&mut self, batch: &Batch, response: Response) -> Settled {
        self.it.responded(batch.id, response, self.now.instant, &mut self.rng)
    }

    /// Sends the next batch, which must be this one.
    fn delivers(&mut self, numbers: &[u64], response: Response) -> Settled {
        let batch = self.batch();
        assert_eq!(numbers_of(&batch.records), numbers);
        self.respond(&batch, response)
    }

    /// Gives up what is due, which must be this.
    fn gives_up(&mut self, numbers: &[u64], condition: Condition, attempts: u32) {
        let letters = self.letters();
        assert_eq!(numbers_of(&letters.records), numbers);
        assert_eq!((letters.condition, letters.attempts), (condition, attempts));
        let has_response = condition != Condition::RecordAgeExceeded;
        assert_eq!(letters.last.is_some(), has_response);
        self.it.letters_kept(letters.id, &[], self.now.instant, &mut self.rng);
    }

    fn is_done_to(&self, number: u64) -> bool {
        self.it.checkpoint() == Some(Checkpoint::After(place(number)))
    }
}

fn numbers_of(records: &[Arc<Delivered>]) -> Vec<u64> {
    let number = |record: &Arc<Delivered>| record.place.sequence_number.parse();
    records.iter().map(|record| number(record).expect("a sample's")).collect()
}

fn failed(kind: FailureKind) -> Response {
    Response::Failed(failure(kind))
}

use FailureKind::{Failed, Refused, Unauthorized, Unavailable};

#[test]
fn lambdas_counts_are_kept_for_a_record_that_a_partial_response_names() {
    // AWS, recorded: BatchSize 3, 3 retries, record 5 fails: 3 and 4 are sent once, 5 five times,
    // and the failure record says 4.
    let mut scene = Scene::new(Rules { give_up: giving_up(3), ..rules(3) });
    scene.take(0..=6);
    scene.delivers(&[0, 1, 2], Response::Delivered);
    scene.delivers(&[3, 4, 5], Response::Until(2));
    assert!(scene.is_done_to(4));
    for _ in 0..4 {
        scene.delivers(&[5], Response::Until(0));
    }
    scene.gives_up(&[5], Condition::RetryAttemptsExhausted, 4);
    scene.delivers(&[6], Response::Delivered);
    assert!(scene.is_done_to(6));
}

#[test]
fn two_retries_are_three_deliveries_and_then_the_whole_batch_is_given_up() {
    let mut scene = Scene::new(Rules { give_up: giving_up(2), ..rules(3) });
    scene.take(1..=4);
    for attempt in 1..=3 {
        let batch = scene.batch();
        assert_eq!((batch.attempt, batch.records.len()), (attempt, 3));
        scene.respond(&batch, failed(Failed));
    }
    scene.gives_up(&[1, 2, 3], Condition::RetryAttemptsExhausted, 3);
    scene.delivers(&[4], Response::Delivered);
}

#[test]
fn halving_finds_one_record_and_consumes_no_retry() {
    let mut scene = Scene::new(Rules { bisect: true, give_up: giving_up(1), ..rules(4) });
    scene.take(1..=5);
    scene.delivers(&[1, 2, 3, 4], failed(Failed));
    scene.delivers(&[1, 2], Response::Delivered);
    scene.delivers(&[3, 4], failed(Failed));
    scene.delivers(&[3], failed(Failed));
    scene.delivers(&[3], failed(Failed));
    scene.gives_up(&[3], Condition::RetryAttemptsExhausted, 2);
    scene.delivers(&[4], Response::Delivered);
    scene.delivers(&[5], Response::Delivered);
}

#[test]
fn a_refused_batch_is_taken_apart_and_only_the_refused_record_is_given_up_or_blocks() {
    for give_up in [None, Some(GiveUp::default())] {
        let mut scene = Scene::new(Rules { give_up, ..rules(2) });
        scene.take(1..=2);
        scene.delivers(&[1, 2], failed(Refused));
        scene.delivers(&[1], Response::Delivered);
        scene.delivers(&[2], failed(Refused));
        if give_up.is_some() {
            assert_eq!(scene.it.standing(), Standing::Retrying(Refused));
            scene.gives_up(&[2], Condition::Refused, 1);
            assert!(scene.is_done_to(2));
        } else {
            assert_eq!(scene.it.standing(), Standing::Blocked(Refused));
            assert!(scene.is_done_to(1));
            scene.delivers(&[2], Response::Delivered);
            assert_eq!(scene.it.standing(), Standing::Delivering);
        }
    }
}

#[test]
fn who_refuses_us_or_is_not_there_is_waited_for_however_long_and_nothing_is_given_up() {
    let give_up = Some(GiveUp { retries_max: Some(0), age_max: Some(Duration::from_secs(60)) });
    let mut scene = Scene::new(Rules { give_up, bisect: true, ..rules(2) });
    scene.take(1..=2);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let settled = scene.delivers(&[1, 2], failed(Unauthorized));
        let Follows::Retry(wait) = settled.follows else { panic!("{settled:?}") };
        longest = longest.max(wait);
    }
    assert_eq!(scene.it.standing(), Standing::Blocked(Unauthorized));
    assert!(longest <= Duration::from_secs(60) && longest > Duration::from_secs(30));
    scene.pass(Duration::from_secs(3600));
    scene.delivers(&[1, 2], Response::Delivered);
    let mut scene = Scene::new(Rules { give_up: giving_up(0), ..rules(2) });
    scene.take(1..=2);
    for _ in 0..100 {
        scene.delivers(&[1, 2], failed(Unavailable));
    }
    assert_eq!(scene.it.standing(), Standing::Retrying(Unavailable));
    scene.delivers(&[1, 2], Response::Delivered);
}

#[test]
fn what_is_too_old_is_given_up_unsent_and_the_rest_of_its_batch_delivered() {
    let give_up = Some(GiveUp { retries_max: None, age_max: Some(Duration::from_secs(100)) });
    let mut scene = Scene::new(Rules { give_up, ..rules(4) });
    scene.take([1, 2, 10, 150]);
    scene.pass(Duration::from_secs(110));
    scene.gives_up(&[1, 2], Condition::RecordAgeExceeded, 0);
    scene.delivers(&[10, 150], failed(Failed)); // 10 is as old as a record may be
    scene.pass(Duration::from_secs(500));
    scene.gives_up(&[10, 150], Condition::RecordAgeExceeded, 1);
}

#[test]
fn nothing_is_done_before_its_dead_letter_is_kept() {
    let mut scene = Scene::new(Rules { give_up: giving_up(0), ..rules(1) });
    scene.take(1..=2);
    scene.delivers(&[1], failed(Failed));
    for _ in 0..3 {
        let letters = scene.letters();
        assert!(matches!(scene.it.turn(scene.now), Step::Wait(None)), "2 has to wait");
        scene.it.letters_kept(letters.id, &[0], scene.now.instant, &mut scene.rng);
        assert_eq!(scene.it.checkpoint(), None);
    }
    scene.gives_up(&[1], Condition::RetryAttemptsExhausted, 1);
    assert!(scene.is_done_to(1));
}

#[test]
fn a_dead_letter_that_cannot_be_kept_is_tried_again_alone() {
    // What could go wrong: one that is too large has the whole batch kept again with each try.
    let mut scene = Scene::new(Rules { give_up: giving_up(0), ..rules(4) });
    scene.take(1..=5);
    scene.delivers(&[1, 2, 3, 4], failed(Failed));
    let letters = scene.letters();
    scene.it.letters_kept(letters.id, &[1, 3], scene.now.instant, &mut scene.rng);
    assert!(scene.is_done_to(1), "2 is not");
    let tried = scene.now.instant;
    let letters = scene.letters();
    assert!(scene.now.instant > tried, "after a wait");
    assert_eq!(numbers_of(&letters.records), [2, 4]);
    scene.it.letters_kept(letters.id, &[0], scene.now.instant, &mut scene.rng);
    scene.gives_up(&[2], Condition::RetryAttemptsExhausted, 1);
    assert!(scene.is_done_to(4));
    scene.delivers(&[5], Response::Delivered);
}

#[test]
fn what_the_form_has_no_place_for_is_given_up_unsent_and_without_a_wait() {
    // What could go wrong: each counts as one more refusal of the target, and of a thousand in a
    // row one a minute is given up.
    let mut scene = Scene::new(Rules { give_up: giving_up(3), ..rules(100) });
    let odd =
        |number: u64, misfit| Read::Wanted(Delivered { misfit: Some(misfit), ..record(number) });
    let records = (0..1000).map(|number| match number % 10 {
        0 => Read::Wanted(record(number)),
        1 => odd(number, Misfit::NoType),
        _ => odd(number, Misfit::NotJson),
    });
    scene.it.take_in(records.collect(), (), scene.now.instant);
    let began = scene.now.instant;
    let (mut given_up, mut sent) = (0, 0);
    while sent < 100 {
        match scene.step() {
            Step::KeepLetters(letters) => {
                assert_eq!((letters.condition, letters.attempts), (Condition::Refused, 0));
                let misfits: Vec<_> = letters.records.iter().map(|it| it.misfit).collect();
                assert!(misfits.iter().all(|misfit| *misfit == misfits[0]), "one reason for all");
                let last = letters.last.expect("it says why").reason;
                assert!(last.ends_with(&misfits[0].expect("it has one").to_string()), "{last}");
                given_up += letters.records.len();
                scene.it.letters_kept(letters.id, &[], scene.now.instant, &mut scene.rng);
            }
            Step::Send(batch) => {
                sent += batch.records.len();
                scene.respond(&batch, Response::Delivered);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((given_up, scene.now.instant), (900, began));
}

#[test]
fn a_batch_goes_when_it_is_full_by_number_or_bytes_or_its_window_is_over_or_nothing_comes() {
    let window = Duration::from_secs(5);
    let mut scene = Scene::new(Rules { batch_window: window, batch_bytes: 45, ..rules(3) });
    scene.take(1..=3);
    let began = scene.now.instant;
    scene.delivers(&[1, 2, 3], Response::Delivered);
    assert_eq!(scene.now.instant, began, "it was full");
    scene.take(4..=5);
    scene.delivers(&[4, 5], Response::Delivered);
    assert_eq!(scene.now.instant, began + window);
    let large = |number| Read::Wanted(Delivered { data: vec![0; 30].into(), ..record(number) });
    scene.it.take_in(vec![large(6), large(7)], (), scene.now.instant);
    scene.delivers(&[6], Response::Delivered);
    assert_eq!(scene.now.instant, began + window, "two do not fit");
    let rest = Read::Wanted(Delivered { data: vec![0; 15].into(), ..record(8) });
    scene.it.take_in(vec![rest], (), scene.now.instant);
    scene.delivers(&[7, 8], Response::Delivered);
    assert_eq!(scene.now.instant, began + window, "with what was left it is just full");
    scene.take([9]);
    scene.it.read_to_end();
    scene.delivers(&[9], Response::Delivered);
    assert_eq!(scene.now.instant, began + window, "nothing more comes");
    let mut scene = Scene::new(Rules { batch_bytes: 5, ..rules(3) });
    scene.take(1..=2);
    scene.delivers(&[1], Response::Delivered);
    scene.delivers(&[2], Response::Delivered);
}

#[test]
fn whatever_is_handed_out_has_an_id_of_its_own() {
    let mut scene = Scene::new(Rules { give_up: giving_up(0), ..rules(1) });
    scene.take(1..=2);
    let first = scene.batch();
    scene.respond(&first, failed(Failed));
    let letters = scene.letters();
    scene.it.letters_kept(letters.id, &[0], scene.now.instant, &mut scene.rng);
    let again = scene.letters();
    scene.it.letters_kept(again.id, &[], scene.now.instant, &mut scene.rng);
    let ids = [first.id, letters.id, again.id, scene.batch().id];
    for (i, id) in ids.iter().enumerate() {
        assert!(!ids[..i].contains(id), "{ids:?}");
    }
}

#[test]
#[should_panic(expected = "is not under way")]
fn a_batch_that_comes_home_twice_is_not_taken_for_the_next_one() {
    let mut scene = Scene::new(rules(1));
    scene.take(1..=2);
    let first = scene.batch();
    scene.respond(&first, Response::Delivered);
    scene.batch();
    scene.respond(&first, Response::Delivered);
}

#[test]
fn one_batch_a_strand_and_all_records_of_a_key_in_one_strand() {
    let mut scene = Scene::new(Rules { strands: 4, ..rules(10) });
    let with_key = |number: u64, key: &str| {
        Read::Wanted(Delivered { partition_key: Some(key.to_owned()), ..record(number) })
    };
    let records = (0..100).map(|number| with_key(number, &format!("k{}", number % 7))).collect();
    scene.it.take_in(records, (), scene.now.instant);
    let mut sent: Vec<Batch> = Vec::new();
    while let Step::Send(batch) = scene.it.turn(scene.now) {
        sent.push(batch);
    }
    assert!((2..=4).contains(&sent.len()));
    for (i, one) in sent.iter().enumerate() {
        for other in &sent[i + 1..] {
            assert_ne!(one.id.strand, other.id.strand);
            let shares = |record: &Arc<Delivered>| {
                other.records.iter().any(|it| it.partition_key == record.partition_key)
            };
            assert!(!one.records.iter().any(shares));
        }
    }
}

#[test]
fn records_without_a_key_are_spread_over_the_strands() {
    let mut scene = Scene::new(Rules { strands: 3, ..rules(10) });
    let keyless =
        (0..9).map(|number| Read::Wanted(Delivered { partition_key: None, ..record(number) }));
    scene.it.take_in(keyless.collect(), (), scene.now.instant);
    for _ in 0..3 {
        assert_eq!(scene.batch().records.len(), 3);
    }
}

#[test]
fn it_goes_on_behind_its_checkpoint_inside_a_packed_record_too() {
    let sub = |number: &str, sub| Place {
        sequence_number: number.to_owned(),
        sub_sequence_number: Some(sub),
    };
    let mut scene = Scene::resumed(rules(9), Some(Checkpoint::After(sub("9", 1))));
    let members = (0..4).map(|n| Read::Wanted(Delivered { place: sub("9", n), ..record(9) }));
    scene.it.take_in(members.collect(), (), scene.now.instant);
    scene.take([10]);
    let batch = scene.batch();
    let places: Vec<_> = batch.records.iter().map(|record| record.place.clone()).collect();
    assert_eq!(places, [sub("9", 2), sub("9", 3), place(10)]);
    scene.respond(&batch, Response::Until(1));
    assert_eq!(scene.it.checkpoint(), Some(Checkpoint::After(sub("9", 2))));
}

#[test]
fn what_is_read_twice_is_delivered_once() {
    let mut scene = Scene::new(rules(9));
    scene.take(1..=3);
    scene.take(2..=4);
    scene.delivers(&[1, 2, 3, 4], Response::Delivered);
}

#[test]
fn what_is_skipped_moves_the_checkpoint_on_and_never_back() {
    let mut scene = Scene::new(rules(9));
    let skipped = || vec![Read::Skipped(place(1)), Read::Skipped(place(2))];
    scene.it.take_in(skipped(), (), scene.now.instant);
    assert!(scene.is_done_to(2));
    scene.take([3]);
    scene.delivers(&[3], Response::Delivered);
    scene.it.take_in(skipped(), (), scene.now.instant);
    assert!(scene.is_done_to(3), "they were read twice");
}

#[test]
fn a_shard_that_was_read_to_its_end_is_over_when_it_is_taken_up_again() {
    let mut scene = Scene::resumed(rules(1), Some(Checkpoint::End));
    assert_eq!(scene.it.checkpoint(), Some(Checkpoint::End));
    assert!(matches!(scene.it.turn(scene.now), Step::End(End::ShardRead)));
}

#[test]
fn a_checkpoint_is_persisted_at_most_once_a_second_again_if_it_failed_and_at_once_at_the_end() {
    let mut scene = Scene::new(rules(1));
    scene.it.began(SystemTime::UNIX_EPOCH);
    let persists = |scene: &mut Scene, expected: Checkpoint, kept| {
        let Step::Persist(checkpoint) = scene.it.turn(scene.now) else { panic!("{expected:?}") };
        assert_eq!(checkpoint, expected);
        let step = scene.it.turn(scene.now);
        assert!(matches!(step, Step::Wait(_)), "one at a time, not {step:?}");
        scene.it.persisted(kept, scene.now.instant, &mut scene.rng);
    };
    persists(&mut scene, Checkpoint::From(SystemTime::UNIX_EPOCH), true);
    scene.take(1..=2);
    for _ in 0..2 {
        let Step::Send(batch) = scene.it.turn(scene.now) else { panic!("a batch is due") };
        scene.respond(&batch, Response::Delivered);
    }
    let due = scene.now.instant + Duration::from_secs(1);
    assert!(matches!(scene.it.turn(scene.now), Step::Wait(Some(until)) if until == due));
    scene.pass(Duration::from_secs(1));
    persists(&mut scene, Checkpoint::After(place(2)), false);
    let Step::Wait(Some(again)) = scene.it.turn(scene.now) else { panic!("it failed") };
    assert!(again >= scene.now.instant + Duration::from_secs(1));
    scene.pass(again - scene.now.instant);
    persists(&mut scene, Checkpoint::After(place(2)), true);
    scene.it.read_to_end();
    persists(&mut scene, Checkpoint::End, true);
    assert!(matches!(scene.it.turn(scene.now), Step::End(End::ShardRead)));
}

#[test]
fn once_stopped_it_begins_nothing_waits_for_what_is_under_way_and_persists_that() {
    let mut scene = Scene::new(rules(1));
    scene.take(1..=2);
    let batch = scene.batch();
    scene.it.stop();
    assert!(matches!(scene.it.turn(scene.now), Step::Wait(None)));
    scene.respond(&batch, Response::Delivered);
    let Step::Persist(checkpoint) = scene.it.turn(scene.now) else { panic!("1 is done") };
    assert_eq!(checkpoint, Checkpoint::After(place(1)));
    scene.it.persisted(true, scene.now.instant, &mut scene.rng);
    assert!(matches!(scene.it.turn(scene.now), Step::End(End::Stopped)));
}

#[test]
fn an_operator_ends_the_waits_and_a_target_may_ask_for_longer_ones_up_to_a_bound() {
    let mut scene = Scene::new(rules(1));
    scene.take([1]);
    for (asked, waited) in [(20, 20), (3600, 300)] {
        let batch = scene.batch();
        let retry_after = Some(Duration::from_secs(asked));
        let response = Response::Failed(Failure { retry_after, ..failure(Unavailable) });
        let settled = scene.respond(&batch, response);
        assert_eq!(settled.follows, Follows::Retry(Duration::from_secs(waited)));
    }
    assert!(matches!(scene.it.turn(scene.now), Step::Wait(Some(_))));
    scene.it.retry_now();
    assert!(matches!(scene.it.turn(scene.now), Step::Send(_)));
}

#[test]
fn a_target_that_refuses_everything_is_asked_ever_more_slowly() {
    let mut scene = Scene::new(Rules { give_up: giving_up(0), ..rules(1) });
    scene.take(1..=50);
    let began = scene.now.instant;
    for number in 1..=50 {
        scene.delivers(&[number], failed(Refused));
        scene.gives_up(&[number], Condition::Refused, 1);
    }
    assert!(scene.now.instant - began > Duration::from_secs(600));
}

#[test]
fn what_is_held_is_shown_and_bounds_the_reading() {
    let mut scene = Scene::new(rules(2));
    scene.take(5..=7);
    let holding = scene.it.holding();
    assert_eq!((holding.records, holding.oldest), (3, record(5).arrived));
    assert_eq!(holding.bytes, 3 * record(5).bytes());
    assert!(scene.it.has_room());
    scene.take(8..10_008);
    assert!(!scene.it.has_room());
    scene.delivers(&[5, 6], failed(Failed));
    let (_, failure) = scene.it.failing().expect("the first batch failed");
    assert_eq!(failure.status, Some(500));
}

#[test]
fn there_is_room_for_two_batches_of_every_strand_by_number_and_by_bytes() {
    // What could go wrong: strands wait for records that are not read, since others lie there.
    let mut scene = Scene::new(Rules { strands: 4, ..rules(3_000) });
    scene.take(0..23_999);
    assert!(scene.it.has_room());
    scene.take([23_999]);
    assert!(!scene.it.has_room());
    let mut scene = Scene::new(Rules { strands: 4, batch_bytes: 3 * MIB, ..rules(1) });
    let of_bytes = |number, bytes: usize| {
        let empty = Delivered { data: Vec::new().into(), ..record(number) };
        let data = vec![0; bytes - empty.bytes()].into();
        vec![Read::Wanted(Delivered { data, ..empty })]
    };
    scene.it.take_in(of_bytes(1, 24 * MIB - 1_000), (), scene.now.instant);
    assert!(scene.it.has_room());
    scene.it.take_in(of_bytes(2, 1_000), (), scene.now.instant);
    assert!(!scene.it.has_room());
}

#[test]
fn the_memory_beside_pages_is_reckoned_for_what_all_strands_may_hold() {
    let records = 2 * 3_000 * 4;
    assert!(bytes_beside_pages_max(3_000, 4) >= records * size_of::<Delivered>());
    assert_eq!(bytes_beside_pages_max(3_000, 4), bytes_beside_pages_max(12_000, 1));
}
