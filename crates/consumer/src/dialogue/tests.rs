use std::time::SystemTime;

use super::*;
use proptest::prelude::*;
use range::pair_order;

const S1: &str = "49590338271490256608559692538361571095921575989136588898";
const S2: &str = "49590338271490256608559692540925702759324208523137515618";

fn at(number: &str, sub: impl Into<Option<u64>>) -> Place {
    Place { sequence_number: number.to_owned(), sub_sequence_number: sub.into() }
}

fn after(number: &str, sub: impl Into<Option<u64>>) -> Checkpoint {
    Checkpoint::After(at(number, sub))
}

fn status(action: Action) -> String {
    format!(r#"{{"action": "status", "responseFor": "{action}"}}"#)
}

fn checkpoint(number: Option<&str>, sub: Option<i64>) -> String {
    let json = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
    let (number, sub) =
        (json(number.map(|number| format!("{number:?}"))), json(sub.map(|sub| sub.to_string())));
    format!(r#"{{"action": "checkpoint", "sequenceNumber": {number}, "subSequenceNumber": {sub}}}"#)
}

/// A child that was initialized from this checkpoint, and then delivered up to each place in turn.
fn child(stored: Option<Checkpoint>, delivered: &[Place]) -> Dialogue {
    let mut dialogue = Dialogue::new(stored);
    dialogue.initialize("shardId-000000000000");
    done(&mut dialogue, Action::Initialize);
    for place in delivered {
        dialogue.records(RecordsMessage::default(), Some(place), 0);
        done(&mut dialogue, Action::ProcessRecords);
    }
    dialogue
}

fn done(dialogue: &mut Dialogue, action: Action) {
    assert_eq!(dialogue.heard(status(action).as_bytes()), Heard::Done(action));
}

fn told(stored: Option<Checkpoint>, delivered: &[Place], action: Action) -> Dialogue {
    let mut dialogue = child(stored, delivered);
    dialogue.tell(action);
    dialogue
}

fn text(line: &[u8]) -> &str {
    str::from_utf8(line).expect("it is JSON")
}

#[test]
fn a_child_is_told_where_it_begins() {
    let line = |stored| {
        let line = Dialogue::new(stored).initialize("s");
        text(&line).to_owned()
    };
    assert!(line(None).contains(r#""sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0"#));
    let from = Some(Checkpoint::From(SystemTime::UNIX_EPOCH));
    assert!(line(from).contains(r#""sequenceNumber":"AT_TIMESTAMP","subSequenceNumber":0"#));
    assert!(line(Some(after("12", 3))).contains(r#""sequenceNumber":"12","subSequenceNumber":3"#));
}

/// What a checkpoint resolves to, or the error that the child is told; `Ok(None)`: nothing to
/// store.
type Expected = Result<Option<Checkpoint>, Refusal>;

fn resolved(dialogue: &mut Dialogue, number: Option<&str>, sub: Option<i64>) -> Expected {
    let before = dialogue.turn.clone();
    match dialogue.heard(checkpoint(number, sub).as_bytes()) {
        Heard::Store(checkpoint) => {
            dialogue.stored(Err(Refusal::Throttling));
            assert_eq!(dialogue.turn, before);
            Ok(Some(checkpoint))
        }
        Heard::Answer(line) => {
            let refusals = [
                Refusal::Shutdown,
                Refusal::Throttling,
                Refusal::InvalidState,
                Refusal::Dependency,
                Refusal::IllegalArgument,
            ];
            match refusals.iter().find(|refusal| text(&line).contains(refusal.name())) {
                Some(refusal) => Err(*refusal),
                None => Ok(None),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_checkpoint_is_between_the_last_one_and_what_was_delivered() {
    let illegal = Err(Refusal::IllegalArgument);
    let open = || child(Some(after("10", 1)), &[at("11", None), at("12", 0), at("12", 2)]);
    let ended = || told(Some(after("10", 1)), &[at("12", 2)], Action::ShardEnded);
    let begun_by_time = || child(Some(Checkpoint::From(SystemTime::UNIX_EPOCH)), &[]);
    let idle_at_the_end = || told(Some(after("12", 2)), &[], Action::ShardEnded);
    // Each row's dialogue is made anew by one of these.
    let whole = || child(Some(after("9", None)), &[at("9", 0)]);
    let first = || child(None, &[at("12", 0)]);
    let makers: [&dyn Fn() -> Dialogue; 7] =
        [&open, &ended, &|| child(None, &[]), &begun_by_time, &idle_at_the_end, &whole, &first];
    let table: &[(usize, Option<&str>, Option<i64>, Expected)] = &[
        // In the middle of a shard.
        (0, None, None, Ok(Some(after("12", 2)))),
        (0, None, Some(1), Ok(Some(after("12", 2)))), // a sub number alone says nothing
        (0, Some("12"), Some(2), Ok(Some(after("12", 2)))),
        (0, Some("12"), Some(1), Ok(Some(after("12", 1)))),
        (0, Some("12"), None, Ok(Some(after("12", 0)))),
        (0, Some("0012"), None, Ok(Some(after("12", 0)))),
        (0, Some("11"), Some(7), Ok(Some(after("11", 7)))), // between two that were delivered
        (0, Some("10"), Some(1), Ok(None)),
        (0, Some("10"), Some(0), illegal.clone()), // back
        (0, Some("10"), None, illegal.clone()),
        (0, Some("9"), Some(9), illegal.clone()), // "9" > "10" as text
        (0, Some("12"), Some(3), illegal.clone()), // ahead
        (0, Some("100"), None, illegal.clone()),
        (0, Some("12"), Some(-1), illegal.clone()),
        (0, Some(""), None, illegal.clone()),
        (0, Some("x"), None, illegal.clone()),
        (0, Some("SHARD_END"), None, illegal.clone()),
        (0, Some("TRIM_HORIZON"), None, illegal.clone()),
        // At its end.
        (1, None, None, Ok(Some(Checkpoint::End))),
        (1, Some("12"), Some(2), Ok(Some(Checkpoint::End))),
        (1, Some("SHARD_END"), None, Ok(Some(Checkpoint::End))),
        (1, Some("12"), Some(1), Ok(Some(after("12", 1)))),
        (4, None, None, Ok(Some(Checkpoint::End))),
        (4, Some("12"), Some(2), Ok(Some(Checkpoint::End))),
        // Before anything was delivered.
        (2, None, None, Ok(None)),
        (2, Some("TRIM_HORIZON"), None, Ok(None)),
        (2, Some("12"), None, illegal.clone()),
        (3, None, None, Ok(None)),
        (3, Some("AT_TIMESTAMP"), None, Ok(None)),
        // A whole record is (number, 0).
        (5, Some("9"), None, Ok(None)),
        // No record has this number: reading could not go on behind it.
        (6, Some("0"), None, illegal.clone()),
        (6, Some("00"), Some(7), illegal.clone()),
    ];
    for (maker, number, sub, expected) in table {
        let found = resolved(&mut makers[*maker](), *number, *sub);
        assert_eq!(&found, expected, "{maker} {number:?} {sub:?}");
    }
}

#[test]
fn a_checkpoint_is_set_only_while_the_shard_is_the_child_s() {
    let mut new = Dialogue::new(None);
    assert_eq!(resolved(&mut new, None, None), Err(Refusal::InvalidState));
    new.initialize("s");
    assert_eq!(resolved(&mut new, None, None), Err(Refusal::InvalidState));
    let lost = &mut told(None, &[at("1", 0)], Action::LeaseLost);
    assert_eq!(resolved(lost, None, None), Err(Refusal::InvalidState));
    done(lost, Action::LeaseLost);
    assert_eq!(resolved(lost, None, None), Err(Refusal::InvalidState));
    let stopping = &mut told(None, &[at("1", 0)], Action::ShutdownRequested);
    assert_eq!(resolved(stopping, None, None), Ok(Some(after("1", 0))));
    let between_two = &mut child(None, &[at("1", 0)]);
    assert_eq!(resolved(between_two, None, None), Ok(Some(after("1", 0))));
}

#[test]
fn what_a_child_says_it_has_done_is_what_it_was_told() {
    let said = |dialogue: &mut Dialogue, said: &str| dialogue.heard(said.as_bytes());
    for (told_this, says, expected) in [
        (Action::ShutdownRequested, Some(Action::ShutdownRequested), None),
        (Action::ShutdownRequested, Some(Action::ProcessRecords), Some(())),
        (Action::LeaseLost, Some(Action::ShardEnded), Some(())),
        (Action::LeaseLost, None, Some(())),
    ] {
        let dialogue = &mut told(None, &[], told_this);
        let line = says.map_or(r#"{"action":"status"}"#.to_owned(), status);
        let broken = Heard::Broken(Breach::OtherStatus { told: told_this, said: says });
        let expected = if expected.is_some() { broken } else { Heard::Done(told_this) };
        assert_eq!(said(dialogue, &line), expected);
    }
    let idle = &mut child(None, &[at("1", 0)]);
    assert_eq!(said(idle, &status(Action::ProcessRecords)), Heard::Unasked);
    assert_eq!(said(idle, "hello"), Heard::Skipped(Skipped::NotJson));
    assert_eq!(said(idle, ""), Heard::Skipped(Skipped::Blank));
    let over = &mut told(None, &[], Action::LeaseLost);
    done(over, Action::LeaseLost);
    assert_eq!(said(over, &status(Action::LeaseLost)), Heard::Unasked);
}

/// If the children of the shard began now, what this child still has to do would be skipped.
#[test]
fn a_shard_has_not_ended_before_its_child_has_set_the_end() {
    let mut dialogue = told(None, &[at("1", 0)], Action::ShardEnded);
    let line = status(Action::ShardEnded);
    assert_eq!(dialogue.heard(line.as_bytes()), Heard::Broken(Breach::EndNotSet));

    let mut dialogue = told(None, &[at("1", 0)], Action::ShardEnded);
    let ask = checkpoint(None, None);
    assert_eq!(dialogue.heard(ask.as_bytes()), Heard::Store(Checkpoint::End));
    dialogue.stored(Err(Refusal::Dependency));
    assert_eq!(dialogue.checkpoint(), None);
    assert_eq!(dialogue.heard(line.as_bytes()), Heard::Broken(Breach::EndNotSet));

    let mut dialogue = told(None, &[at("1", 0)], Action::ShardEnded);
    assert_eq!(dialogue.heard(ask.as_bytes()), Heard::Store(Checkpoint::End));
    dialogue.stored(Ok(()));
    assert_eq!(dialogue.checkpoint(), Some(&Checkpoint::End));
    done(&mut dialogue, Action::ShardEnded);
    assert_eq!(dialogue.awaited(), None);
}

/// The KCL's own transcripts: what its daemon wrote to `amazon_kclpy`, and what came back.
#[test]
fn the_transcripts_of_the_kcl_go_as_they_went() {
    let answer = |number: &str, sub: &str, error: &str| {
        format!(
            "{{\"action\":\"checkpoint\",\"sequenceNumber\":{number},\"subSequenceNumber\":{sub},\
             \"error\":{error}}}\n"
        )
    };
    let ask = |dialogue: &mut Dialogue, number: Option<&str>, sub, stored: Result<(), Refusal>| {
        match dialogue.heard(checkpoint(number, sub).as_bytes()) {
            Heard::Store(_) => text(&dialogue.stored(stored)).to_owned(),
            Heard::Answer(line) => text(&line).to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let batch = |dialogue: &mut Dialogue, number: &str, sub: u64| {
        dialogue.records(RecordsMessage::default(), Some(&at(number, sub)), 0);
    };
    let null = answer("null", "null", "null");
    let (s2, throttled) = (format!("{S2:?}"), Err(Refusal::Throttling));

    // A lease that is lost.
    let dialogue = &mut child(Some(after(S1, 0)), &[]);
    batch(dialogue, S2, 1);
    assert_eq!(ask(dialogue, None, None, Ok(())), null);
    batch_done(dialogue);
    batch(dialogue, S2, 2);
    assert_eq!(
        ask(dialogue, Some(S2), Some(2), throttled),
        answer(&s2, "2", r#""ThrottlingException""#)
    );
    assert_eq!(ask(dialogue, Some(S2), Some(2), Ok(())), answer(&s2, "2", "null"));
    batch_done(dialogue);
    batch(dialogue, S2, 3);
    assert_eq!(
        ask(dialogue, None, None, Err(Refusal::Shutdown)),
        answer("null", "null", r#""ShutdownException""#)
    );
    assert_eq!(dialogue.heard(b"hello on stdout"), Heard::Skipped(Skipped::NotJson));
    batch_done(dialogue);
    assert_eq!(
        text(&dialogue.tell(Action::ShutdownRequested)).trim(),
        r#"{"action":"shutdownRequested"}"#
    );
    assert_eq!(ask(dialogue, None, None, Ok(())), null);
    done(dialogue, Action::ShutdownRequested);
    assert_eq!(text(&dialogue.tell(Action::LeaseLost)).trim(), r#"{"action":"leaseLost"}"#);
    done(dialogue, Action::LeaseLost);
    assert_eq!(dialogue.checkpoint(), Some(&after(S2, 3)));

    // A shard that ends.
    let dialogue = &mut child(Some(after(S1, 3)), &[]);
    assert_eq!(text(&dialogue.tell(Action::ShardEnded)).trim(), r#"{"action":"shardEnded"}"#);
    assert_eq!(ask(dialogue, None, None, Ok(())), null);
    done(dialogue, Action::ShardEnded);
}

fn batch_done(dialogue: &mut Dialogue) {
    done(dialogue, Action::ProcessRecords);
}

/// What one of many children does next, and what is done with it.
#[derive(Debug, Clone)]
enum Move {
    /// The next thing is told, if it is our turn.
    Tell {
        records_count: u64,
        ends: bool,
    },
    Says(Option<usize>),
    Asks {
        number: Option<u64>,
        sub: Option<i64>,
        stores: bool,
    },
    Prints(String),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let tell = (1u64..4, prop::bool::weighted(0.1))
        .prop_map(|(records_count, ends)| Move::Tell { records_count, ends });
    let asks = (prop::option::of(0u64..30), prop::option::of(-1i64..4), prop::bool::weighted(0.8))
        .prop_map(|(number, sub, stores)| Move::Asks { number, sub, stores });
    // Most children say what is right: an index is that action, nothing is the one they were told.
    let says = prop::option::weighted(0.05, 0usize..5).prop_map(Move::Says);
    let prints = ".*".prop_map(Move::Prints);
    prop::collection::vec(prop_oneof![4 => tell, 4 => says, 4 => asks, 1 => prints], 0..60)
}

proptest! {
    /// Whatever a child says, in whatever order: its checkpoint never passes what was delivered,
    /// never goes back, and is the end only once it was told of it.
    #[test]
    fn a_checkpoint_never_passes_what_was_delivered_and_never_goes_back(moves in moves()) {
        let mut dialogue = Dialogue::new(None);
        dialogue.initialize("s");
        let mut number = 0u64; // of the last record that was delivered
        let mut stored: Option<Checkpoint> = None;
        let (mut has_ended, mut over) = (false, false);
        for step in moves {
            let line = match step {
                Move::Tell { records_count, ends } => {
                    if dialogue.awaited().is_none() && !over && ends {
                        dialogue.tell(Action::ShardEnded);
                        has_ended = true;
                    } else if dialogue.awaited().is_none() && !over {
                        number += records_count;
                        let last = at(&number.to_string(), number % 3);
                        dialogue.records(RecordsMessage::default(), Some(&last), 0);
                    }
                    continue;
                }
                Move::Says(None) => match dialogue.awaited() {
                    Some(action) => status(action),
                    None => continue,
                },
                Move::Says(Some(index)) => status(Action::ALL[index]),
                Move::Asks { number, sub, .. } => {
                    checkpoint(number.map(|number| number.to_string()).as_deref(), sub)
                }
                Move::Prints(ref text) => text.clone(),
            };
            match dialogue.heard(line.as_bytes()) {
                Heard::Store(Checkpoint::End) => {
                    prop_assert!(has_ended);
                    prop_assert_ne!(&stored, &Some(Checkpoint::End));
                    if matches!(step, Move::Asks { stores: true, .. }) {
                        dialogue.stored(Ok(()));
                        stored = Some(Checkpoint::End);
                    } else {
                        dialogue.stored(Err(Refusal::Dependency));
                    }
                }
                Heard::Store(new) => {
                    let Checkpoint::After(place) = &new else { panic!("{new:?} was delivered") };
                    let last = at(&number.to_string(), number % 3);
                    prop_assert!(pair_order(place, &last).is_le(), "{place:?} {last:?}");
                    match &stored {
                        Some(Checkpoint::After(before)) => {
                            prop_assert!(pair_order(before, place).is_lt())
                        }
                        other => prop_assert_eq!(other, &None),
                    }
                    if matches!(step, Move::Asks { stores: true, .. }) {
                        dialogue.stored(Ok(()));
                        stored = Some(new);
                    } else {
                        dialogue.stored(Err(Refusal::Throttling));
                    }
                }
                Heard::Done(Action::ShardEnded) => {
                    prop_assert_eq!(&stored, &Some(Checkpoint::End));
                    over = true;
                }
                Heard::Broken(_) => return Ok(()),
                Heard::Done(_) | Heard::Answer(_) | Heard::Skipped(_) | Heard::Unasked => {}
            }
            prop_assert_eq!(dialogue.checkpoint(), stored.as_ref());
        }
    }
}
