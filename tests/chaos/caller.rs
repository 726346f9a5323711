//! Callers: they send numbered events of their own keys, come and go, and send again what was not
//! acked.
//!
//! Two temperaments, because they prove different things. A *careful* caller has one open event a
//! key and sends it until it is acked. A *hasty* one has many, and after a refusal or a lost
//! connection sends all that is open again, oldest first, before anything new. Neither judges more
//! than what a client must: one answer a line, and no refusal that makes no sense. Everything else
//! is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::scene::Scene;

/// Keys of one caller. Few, so that events of a key wait for each other.
const KEYS: usize = 24;
/// Open events of a hasty caller. Three such callers fill the daemon's budget while the stream
/// takes nothing.
const OPEN_MAX: usize = 1500;
/// A careful caller's large events, more than most streams take or all that the emulator takes.
/// Their key is its last.
const LARGE_BYTES: [usize; 2] = [400 << 10, 1500 << 10];
const LARGE_KEY: usize = KEYS;
const LARGE_RATIO: f64 = 0.02;
/// A caller that is not answered for so long says so instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    Careful,
    Hasty,
}

/// One event and every attempt to have it delivered.
pub(crate) struct Sent {
    pub id: String,
    pub key: String,
    /// Among the events of its key.
    pub number: u64,
    /// Bytes of its data that say nothing, the same in every attempt.
    pub pad: usize,
    pub attempts: Vec<Attempt>,
}

/// One line on one connection.
pub(crate) struct Attempt {
    /// Index in [`Journal::connections`].
    pub connection: usize,
    pub life: usize,
    /// The line's place on the connection, from 0.
    pub place: u64,
    /// When it was written, in the ledger's time.
    pub at: Duration,
    pub fate: Fate,
}

#[derive(Debug)]
pub(crate) enum Fate {
    Unanswered,
    /// `copy`: with the record of an earlier line of the same id.
    Acked {
        shard: String,
        sequence: String,
        copy: bool,
    },
    Refused {
        code: String,
        outcome: String,
        for_good: bool,
    },
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The daemon closed it after our half-close, or by itself, or was gone.
    Closed,
    /// We dropped it with answers open.
    Left,
    /// Not let in: too many connections.
    TurnedAway,
}

pub(crate) struct Connection {
    pub life: usize,
    pub lines: u64,
    pub unanswered: BTreeSet<u64>,
    pub end: End,
    /// The caller had said that it is done.
    pub half_closed: bool,
    /// The daemon had been told to end before the connection did.
    pub life_was_ending: bool,
}

/// All that a caller did and heard.
pub(crate) struct Journal {
    pub temper: Temper,
    pub events: Vec<Sent>,
    pub connections: Vec<Connection>,
}

pub(crate) struct Caller {
    name: usize,
    rng: StdRng,
    scene: Arc<Scene>,
    journal: Journal,
    /// The next number of each key.
    next: [u64; KEYS + 1],
    /// Events that are not acked, oldest first: indexes in the journal.
    open: BTreeSet<usize>,
}

/// A connection in use: which line asked for which event.
struct Talk {
    life: usize,
    lines: u64,
    asked: BTreeMap<u64, usize>,
    /// Whether we still send.
    speaking: bool,
    turned_away: bool,
}

/// Writes what is said, and ends our half when nothing more is.
async fn write_down(mut ink: mpsc::UnboundedReceiver<String>, mut write: OwnedWriteHalf) {
    while let Some(text) = ink.recv().await {
        if write.write_all(text.as_bytes()).await.is_err() {
            return; // the daemon is gone: the end of its answers tells
        }
    }
    let _ = write.shutdown().await;
}

impl Sent {
    /// Refused with the word that sending again is of no use.
    pub(crate) fn is_refused_for_good(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| matches!(attempt.fate, Fate::Refused { for_good: true, .. }))
    }
}

impl Caller {
    pub(crate) fn new(name: usize, temper: Temper, seed: u64, scene: Arc<Scene>) -> Caller {
        let journal = Journal { temper, events: Vec::new(), connections: Vec::new() };
        let rng = StdRng::seed_from_u64(seed.rotate_left(16) ^ name as u64);
        Caller { name, rng, scene, journal, next: [0; KEYS + 1], open: BTreeSet::new() }
    }

    /// Until the curtain has fallen and everything is acked.
    pub(crate) async fn run(mut self) -> Journal {
        while !(self.scene.is_over() && self.open.is_empty()) {
            if let Some((life, stream)) = self.connect().await {
                self.converse(life, stream).await;
            }
            let pause = self.rng.random_range(5..100);
            sleep(Duration::from_millis(pause)).await;
        }
        self.journal
    }

    /// A connection, and the daemon it leads to. `None` while none is there, or one goes and
    /// another comes.
    async fn connect(&self) -> Option<(usize, UnixStream)> {
        let life = self.scene.life();
        let stream = UnixStream::connect(&self.scene.socket).await.ok()?;
        (self.scene.life() == life).then_some((life, stream))
    }

    async fn converse(&mut self, life: usize, stream: UnixStream) {
        let (read, write) = stream.into_split();
        // Written by a task of its own: a caller that does not read while it writes loses answers
        // at a deadline.
        let (pen, ink) = mpsc::unbounded_channel();
        let (mut pen, _writing) =
            (Some(pen), AbortOnDropHandle::new(tokio::spawn(write_down(ink, write))));
        let mut answers = BufReader::new(read).lines();
        let mut talk =
            Talk { life, lines: 0, asked: BTreeMap::new(), speaking: true, turned_away: false };
        let leaves_at = Instant::now() + Duration::from_millis(self.rng.random_range(300..6000));
        let is_rude = self.rng.random_bool(0.5);
        let (mut end, mut half_closed) = (End::Closed, false);
        let again: Vec<usize> = self.open.iter().copied().collect();
        self.say(&again, &mut talk, pen.as_ref());
        let mut speaks_next = Instant::now();
        loop {
            let is_done = if self.scene.is_over() {
                self.open.is_empty()
            } else {
                Instant::now() >= leaves_at
            };
            if talk.speaking && is_done && is_rude && !self.scene.is_over() {
                end = End::Left;
                break;
            }
            talk.speaking &= !is_done;
            if !talk.speaking && !half_closed {
                pen = None;
                half_closed = true;
            }
            tokio::select! {
                biased;
                line = timeout(PATIENCE, answers.next_line()) => match line {
                    Ok(Ok(Some(line))) => {
                        let again: Vec<usize> = self.hear(&line, &mut talk).into_iter().collect();
                        if talk.speaking {
                            self.say(&again, &mut talk, pen.as_ref());
                        }
                    }
                    Ok(_) => break, // what was read before an error was all there was
                    Err(_) => panic!("caller {}: {} lines wait for {PATIENCE:?}", self.name, talk.asked.len()),
                },
                () = sleep_until(speaks_next), if talk.speaking => {
                    let words = self.think();
                    self.say(&words, &mut talk, pen.as_ref());
                    let pause = Duration::from_millis(self.rng.random_range(5..60));
                    speaks_next = Instant::now() + pause;
                }
            }
        }
        self.journal.connections.push(Connection {
            life,
            lines: talk.lines,
            unanswered: talk.asked.into_keys().collect(),
            end: if talk.turned_away { End::TurnedAway } else { end },
            half_closed,
            life_was_ending: self.scene.is_ending(life),
        });
    }

    /// New events, if it is time for any.
    fn think(&mut self) -> Vec<usize> {
        if self.scene.is_over() {
            return Vec::new();
        }
        let keys: Vec<usize> = match self.journal.temper {
            Temper::Careful => {
                let open: BTreeSet<&str> = self
                    .open
                    .iter()
                    .map(|event| self.journal.events[*event].key.as_str())
                    .collect();
                let mut wants = self.rng.random::<[bool; KEYS]>().to_vec();
                wants.push(self.rng.random_bool(LARGE_RATIO));
                (0..=LARGE_KEY)
                    .filter(|key| wants[*key] && !open.contains(self.key(*key).as_str()))
                    .collect()
            }
            Temper::Hasty if self.open.len() >= OPEN_MAX => Vec::new(),
            Temper::Hasty => {
                let count = self.rng.random_range(1..25);
                (0..count).map(|_| self.rng.random_range(0..KEYS)).collect()
            }
        };
        keys.into_iter().map(|key| self.invent(key)).collect()
    }

    fn key(&self, key: usize) -> String {
        format!("caller-{}-key-{key}", self.name)
    }

    fn invent(&mut self, key: usize) -> usize {
        let id = uuid::Builder::from_random_bytes(self.rng.random()).into_uuid().to_string();
        let (name, number, event) = (self.key(key), self.next[key], self.journal.events.len());
        self.next[key] += 1;
        let pad = match key {
            LARGE_KEY => LARGE_BYTES[self.rng.random_range(0..LARGE_BYTES.len())],
            _ => {
                let most = if self.rng.random_bool(0.1) { 8000 } else { 600 };
                self.rng.random_range(0..most)
            }
        };
        self.journal.events.push(Sent { id, key: name, number, pad, attempts: Vec::new() });
        self.open.insert(event);
        event
    }

    /// Sends these, in this order. A daemon that takes no more ends our part of the talk.
    fn say(
        &mut self,
        events: &[usize],
        talk: &mut Talk,
        pen: Option<&mpsc::UnboundedSender<String>>,
    ) {
        let mut text = String::new();
        for &event in events {
            let Sent { id, key, number, pad, .. } = &self.journal.events[event];
            let pad = "x".repeat(*pad);
            let place = talk.lines;
            // The line's number: what an answer has that could not read the line.
            let reference = place + 1;
            text.push_str(&format!(
                r#"{{"ref":{reference},"type":"chaos","data":{{"number":{number},"pad":"{pad}"}},"options":{{"partitionKey":"{key}","id":"{id}"}}}}"#
            ));
            text.push('\n');
            let (connection, life, at) =
                (self.journal.connections.len(), talk.life, self.scene.now());
            let attempt = Attempt { connection, life, place, at, fate: Fate::Unanswered };
            self.journal.events[event].attempts.push(attempt);
            talk.asked.insert(place, event);
            talk.lines += 1;
        }
        talk.speaking &= pen.is_some_and(|pen| pen.send(text).is_ok());
    }

    /// Writes an answer down. Gives the event back that is to be sent again on this connection, if
    /// one is.
    fn hear(&mut self, line: &str, talk: &mut Talk) -> Option<usize> {
        let Ok(answer) = serde_json::from_str::<Value>(line) else {
            // A daemon that is killed may leave half an answer.
            assert!(
                self.scene.is_ending(talk.life),
                "caller {}: this is no answer: {line}",
                self.name
            );
            return None;
        };
        let code = answer["error"]["code"].as_str().unwrap_or_default().to_owned();
        if code == "Overloaded" {
            (talk.turned_away, talk.speaking) = (true, false);
            return None;
        }
        let asked = answer["ref"].as_u64().and_then(|reference| {
            let place = reference.checked_sub(1)?;
            Some((place, talk.asked.remove(&place)?))
        });
        let (place, event) = asked.unwrap_or_else(|| {
            panic!("caller {}: nobody asked, or it was answered before: {line}", self.name)
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is_acked = answer["ok"] == true;
        let fate = if is_acked {
            self.scene.hear_ack(talk.life);
            let (shard, sequence) = (text(&answer["shardId"]), text(&answer["sequenceNumber"]));
            Fate::Acked { shard, sequence, copy: answer["deduplicated"] == true }
        } else {
            let for_good = answer["error"]["retryable"] == false;
            Fate::Refused {
                code: code.clone(),
                outcome: text(&answer["error"]["outcome"]),
                for_good,
            }
        };
        let sent = &mut self.journal.events[event];
        assert!(!is_acked || answer["id"] == sent.id.as_str(), "another event's id: {line}");
        let attempt = sent.attempts.last_mut().expect("it was sent");
        assert_eq!(attempt.place, place, "only the last attempt can be open on this connection");
        let is_done = matches!(fate, Fate::Acked { .. } | Fate::Refused { for_good: true, .. });
        attempt.fate = fate;
        if is_done {
            self.open.remove(&event);
            return None;
        }
        // It is also what a ticket says that was dropped: while the daemon lives, that is a defect.
        let may_end = code != "ShuttingDown" || self.scene.is_ending(talk.life);
        assert!(may_end, "a daemon that nobody stops says {line}");
        if code == "ShuttingDown" || self.journal.temper == Temper::Hasty {
            // What is behind it would overtake it: hear the rest, then begin again from it.
            talk.speaking = false;
            return None;
        }
        Some(event)
    }
}
