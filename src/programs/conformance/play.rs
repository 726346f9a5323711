//! Plays one case: does its lines one after the other, waits for what each expects, and judges.
//!
//! Whatever comes is put in order by [`Play::take`]: a `hello` is answered, lines and outcomes wait
//! until a line of the case asks for them. What is left over at the end is a failure too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::daemon::ScriptedDaemon;
use super::driver::{Driver, Introduction};
use super::failure::Failure;
use super::happening::{HAPPENINGS_MAX, Happening};
use super::ledger::{Asked, Call, Ledger, Line, error, judge_counters, shortened};
use super::pattern::{difference, expand, parse};
use super::transcript::{self, Does, Refused, Sending, Step, Transcript, Writing};
use crate::programs::private_directory::PrivateDirectory;

/// What names the directory of a socket.
pub(super) const PURPOSE: &str = "conformance";
/// How long the driver may take to start, once it is built.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long the driver may take to end: its client has 5 s to close.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How long *nothing* lasts at least. A right client never does what it must not, however long this
/// is; on a machine where the driver took longer to start, a wrong one is given that long.
const QUIET_MIN: Duration = Duration::from_millis(300);
/// How long a driver may be gone before what it left in the pipes has come.
const LEFT_WITHIN: Duration = Duration::from_secs(2);
/// Lines that no line of the case has asked for yet.
const LINES_MAX: usize = 20_000;
/// A line that no daemon of any version writes.
const NO_JSON: &[u8] = b"{\"ref\":1,\"ok\":tru\n";
/// What a failure shows of all that was said: the last lines.
const SAID_LINES_MAX: usize = 60;

/// How a case went.
#[derive(Debug)]
pub(crate) enum CaseResult {
    Kept,
    /// The driver cannot do what the case needs.
    Skipped {
        needs: String,
    },
    Broken {
        failure: Failure,
        said: Vec<String>,
        told: Vec<String>,
    },
}

/// Whether UTF-8 has this byte inside of a character, and not at its start.
fn is_inside_character(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Why a step fails, before it is known which step it is.
struct Broken {
    expected: String,
    came: String,
}

type Played<T = ()> = Result<T, Broken>;

fn broken<T>(expected: impl Into<String>, came: impl Into<String>) -> Played<T> {
    Err(Broken { expected: expected.into(), came: came.into() })
}

/// What the driver said of a call.
struct Outcome {
    value: Value,
    at: Instant,
}

/// The last control line of a transaction.
struct Control {
    op: String,
    tx: String,
    line: Line,
}

pub(super) struct Play<'a> {
    command: &'a str,
    /// How long anything may take that a client does at once, or after waits of a few seconds.
    step_within: Duration,
    _directory: PrivateDirectory,
    daemon: ScriptedDaemon,
    tell: mpsc::Sender<Happening>,
    happenings: mpsc::Receiver<Happening>,
    driver: Option<Driver>,
    quiet: Duration,
    /// When the driver ended.
    ended: Option<(Instant, Option<i32>)>,
    ledger: Ledger,
    lines: VecDeque<Line>,
    outcomes: BTreeMap<String, VecDeque<Outcome>>,
    introduced: bool,
    /// Whether the case answers `hello` itself.
    leaves_hello: bool,
    /// Connections so far; the last one is the newest.
    connections: usize,
    /// Of them those that a line of the case has asked for.
    connections_seen: usize,
    hung_up: usize,
    /// Lines of each connection.
    numbers: BTreeMap<usize, u64>,
    greeted: BTreeSet<usize>,
    turned_away: usize,
    turned_away_max: usize,
    /// The wire's names of transactions, and the events that were staged in each, by the case's.
    txs: BTreeMap<String, Control>,
    staged: BTreeMap<String, Vec<String>>,
    /// Those, by the wire's names, of which a rollback may come or not.
    may_roll_back: BTreeSet<String>,
    counts: usize,
    said: VecDeque<String>,
    began: Instant,
}

impl<'a> Play<'a> {
    /// Plays a case to its end.
    pub(super) async fn of(
        command: &'a str,
        transcript: &Transcript,
        within: Duration,
    ) -> CaseResult {
        let mut play = match Self::new(command, within) {
            Ok(play) => play,
            Err(error) => {
                let failure = failure(
                    None,
                    Broken {
                        expected: "a socket in the temporary directory".into(),
                        came: error.to_string(),
                    },
                );
                return CaseResult::Broken { failure, said: Vec::new(), told: Vec::new() };
            }
        };
        match play.all(&transcript.steps).await {
            Ok(()) => CaseResult::Kept,
            Err(failure) => CaseResult::Broken {
                failure,
                said: play.said.into(),
                told: play.driver.as_ref().map(Driver::told).unwrap_or_default(),
            },
        }
    }

    fn new(command: &'a str, within: Duration) -> io::Result<Self> {
        let directory = PrivateDirectory::made(PURPOSE)?;
        let (tell, happenings) = mpsc::channel(HAPPENINGS_MAX);
        let mut daemon = ScriptedDaemon::new(directory.socket(), tell.clone());
        daemon.listen()?;
        Ok(Self {
            command,
            step_within: within,
            _directory: directory,
            daemon,
            tell,
            happenings,
            driver: None,
            quiet: QUIET_MIN,
            ended: None,
            ledger: Ledger::new(),
            lines: VecDeque::new(),
            outcomes: BTreeMap::new(),
            introduced: false,
            leaves_hello: false,
            connections: 0,
            connections_seen: 0,
            hung_up: 0,
            numbers: BTreeMap::new(),
            greeted: BTreeSet::new(),
            turned_away: 0,
            turned_away_max: 0,
            txs: BTreeMap::new(),
            staged: BTreeMap::new(),
            may_roll_back: BTreeSet::new(),
            counts: 0,
            said: VecDeque::new(),
            began: Instant::now(),
        })
    }

    async fn all(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            self.step(&step.does).await.map_err(|broken| failure(Some(step), broken))?;
        }
        self.end().await.map_err(|broken| failure(None, broken))
    }

    /// No more commands: the driver ends, and nothing is left.
    async fn end(&mut self) -> Played {
        if let Some(driver) = &mut self.driver {
            driver.end_commands();
            self.wait(END_WITHIN, "the driver ends once its commands have ended", |play| {
                Ok(play.ended.is_some().then_some(()))
            })
            .await?;
        }
        if let Some(line) = self.lines.pop_front() {
            return broken("nothing more from the client", written(&line));
        }
        if let Some((_, outcomes)) = self.outcomes.pop_first() {
            let value = outcomes.front().map(|outcome| outcome.value.to_string());
            return broken("nothing more from the driver", shortened(&value.unwrap_or_default()));
        }
        match self.ended {
            Some((_, code)) if code != Some(0) => {
                broken("the driver ends with exit code 0", format!("{code:?}"))
            }
            _ => Ok(()),
        }
    }

    async fn step(&mut self, does: &Does) -> Played {
        match does {
            Does::Opens(json) => self.opens(json).await,
            Does::Publishes { names, call, within_ms, event } => {
                self.publishes(names, *call, *within_ms, event).await
            }
            Does::PublishesBatch { batch, names, within_ms, event } => {
                self.publishes_batch(batch, names, *within_ms, event).await
            }
            Does::Begins { tx } => {
                self.staged.insert(tx.clone(), Vec::new());
                self.command(json!({ "do": "begin", "as": tx }).to_string()).await?;
                let outcome = self.outcome(tx).await?;
                expect(&json!({ "ok": true }), &outcome.value)
            }
            Does::Stages { names, tx, event } => self.stages(names, tx, event).await,
            Does::Checks { tx, name, within_ms } => {
                let asked = self.call("staged", tx, name, *within_ms).await?;
                self.ledger.calls.insert(name.clone(), Call::Check(asked));
                Ok(())
            }
            Does::Commits { tx, name, within_ms } => {
                let asked = self.call("commit", tx, name, *within_ms).await?;
                let names = self.staged.get(tx).cloned().unwrap_or_default();
                self.ledger.calls.insert(name.clone(), Call::Many(names, asked));
                Ok(())
            }
            Does::RollsBack { tx, name } => {
                self.call("rollback", tx, name, None).await?;
                self.ledger.calls.insert(name.clone(), Call::Rollback);
                Ok(())
            }
            Does::Ends { call, name, within_ms } => {
                let what = if *call == transcript::Call::Flush { "flush" } else { "close" };
                let mut command = json!({ "do": what, "as": name });
                if let Some(ms) = within_ms {
                    command["timeoutMs"] = (*ms).into();
                }
                self.ledger.calls.insert(name.clone(), Call::End);
                self.command(command.to_string()).await
            }
            Does::Counts(pattern) => self.counts(pattern).await,
            Does::Hears { names, is_ok, pattern } => {
                for name in names {
                    self.hears(name, *is_ok, pattern).await?;
                }
                Ok(())
            }
            Does::Writes { names, how, tx } => self.writes(names, *how, tx.as_deref()).await,
            Does::SaysHello(pattern) => self.says_hello(pattern).await,
            Does::Controls { op, tx } => self.controls(op, tx).await,
            Does::MayRollBack { tx } => {
                let tx = self.control(tx)?.tx.clone();
                self.may_roll_back.insert(tx);
                Ok(())
            }
            Does::Connects => {
                self.connections_seen += 1;
                let wanted = self.connections_seen;
                self.wait(self.step_within, "one more connection", |play| {
                    Ok((play.connections >= wanted).then_some(()))
                })
                .await
            }
            Does::HangsUp => {
                self.wait(self.step_within, "the client ends its connection", |play| {
                    Ok((play.hung_up > 0).then_some(()))
                })
                .await
            }
            Does::IsQuiet => self.is_quiet().await,
            Does::IsTurnedAwayTwice => {
                self.wait(self.step_within, "a connection that is turned away again", |play| {
                    Ok((play.turned_away >= 2).then_some(()))
                })
                .await
            }
            Does::HasNotConnected => match self.connections {
                0 => Ok(()),
                _ => broken("no connection", "one"),
            },
            Does::Acks { names, how, members } => self.acks(names, *how, members).await,
            Does::Refuses { names, refusal, every_time } => {
                for name in names {
                    self.refuses(name, refusal, *every_time)?;
                }
                Ok(())
            }
            Does::RefusesNoMore { name } => {
                if let Some(event) = self.ledger.events.get_mut(name) {
                    event.refusing = None;
                }
                Ok(())
            }
            Does::BeginsAnswer { name } => {
                let ack = said(self.ledger.ack(name, &json!({})))?.to_string();
                self.note("daemon", format!("{} (half of it)", &ack[..ack.len() / 2]).as_bytes());
                let connection = said(self.ledger.line(name))?.connection;
                self.daemon.write(connection, ack.as_bytes()[..ack.len() / 2].to_vec());
                Ok(())
            }
            Does::SaysNoJson => {
                self.note("daemon", NO_JSON);
                self.daemon.write(self.connections, NO_JSON.to_vec());
                Ok(())
            }
            Does::Holds { names } => self.holds(names),
            Does::Agrees { tx } => {
                let control = self.control(tx)?;
                let mut answer = json!({ "op": control.op, "tx": control.tx, "ok": true });
                with_reference(&mut answer, control);
                let connection = control.line.connection;
                self.answer(connection, &answer);
                Ok(())
            }
            Does::RefusesControl { tx, refusal } => {
                let mut answer = said(error(refusal))?;
                let control = self.control(tx)?;
                answer["op"] = control.op.clone().into();
                answer["ref"] = control.line.reference();
                let connection = control.line.connection;
                self.answer(connection, &answer);
                Ok(())
            }
            Does::Settles { tx, results } => self.settles(tx, results),
            Does::Answers(text) => {
                let text = self.expanded(text, None)?;
                self.note("daemon", text.as_bytes());
                self.daemon.write(self.connections, (text + "\n").into_bytes());
                Ok(())
            }
            Does::LeavesHello => {
                self.leaves_hello = true;
                Ok(())
            }
            Does::Cuts => self.cut().await,
            Does::Stops => {
                self.daemon.remove_socket();
                self.cut().await
            }
            Does::Dies => {
                self.daemon.stop_listening();
                self.cut().await
            }
            Does::Starts | Does::IsReplaced => match self.daemon.listen() {
                Ok(()) => Ok(()),
                Err(error) => broken("a socket", error.to_string()),
            },
            Does::TurnsAway { at_most } => {
                self.turned_away_max = *at_most;
                self.daemon.turn_away();
                Ok(())
            }
            Does::StopsReading => {
                self.daemon.set_reading(false);
                Ok(())
            }
            Does::ReadsOn => {
                self.daemon.set_reading(true);
                Ok(())
            }
        }
    }

    // What the application does.

    /// Gives the driver a command. The first one starts it.
    async fn command(&mut self, line: String) -> Played {
        if self.driver.is_none() {
            let began = Instant::now();
            match Driver::start(self.command, self.daemon.path(), self.tell.clone()) {
                Ok(driver) => self.driver = Some(driver),
                Err(error) => return broken("the driver starts", error.to_string()),
            }
            self.wait(START_WITHIN, "the driver's first line", |play| {
                Ok(play.introduced.then_some(()))
            })
            .await?;
            self.quiet = QUIET_MIN.max(began.elapsed());
        }
        self.note("app", line.as_bytes());
        self.driver.as_ref().expect("it was started").command(line);
        Ok(())
    }

    async fn opens(&mut self, json: &str) -> Played {
        let mut command = self.value(json, None)?;
        command["do"] = "open".into();
        self.ledger.is_disabled = command["disabled"] == true;
        if let Some(producer) = command["producerId"].as_str() {
            self.ledger.producer = producer.to_owned();
        }
        self.command(command.to_string()).await
    }

    async fn publishes(
        &mut self,
        names: &[String],
        call: transcript::Call,
        within_ms: Option<u64>,
        event: &str,
    ) -> Played {
        let what = match call {
            transcript::Call::TryPublish => "tryPublish",
            transcript::Call::Fork => "fork",
            _ => "publish",
        };
        for name in names {
            let event = self.expanded(event, Some(name))?;
            let mut command = format!(r#"{{"do":"{what}","as":"{name}","event":{event}"#);
            if let Some(ms) = within_ms {
                command.push_str(&format!(r#","timeoutMs":{ms}"#));
            }
            command.push('}');
            let asked = asked(within_ms);
            self.ledger.ask(name, read(&event)?, asked);
            self.ledger.calls.insert(name.clone(), Call::Event);
            self.command(command).await?;
        }
        Ok(())
    }

    async fn publishes_batch(
        &mut self,
        batch: &str,
        names: &[String],
        within_ms: Option<u64>,
        event: &str,
    ) -> Played {
        let (mut events, asked) = (Vec::new(), asked(within_ms));
        for name in names {
            let event = self.expanded(event, Some(name))?;
            self.ledger.ask(name, read(&event)?, asked);
            events.push(event);
        }
        let timeout = within_ms.map(|ms| format!(r#","timeoutMs":{ms}"#)).unwrap_or_default();
        let events = events.join(",");
        self.ledger.calls.insert(batch.to_owned(), Call::Many(names.to_vec(), asked));
        let command =
            format!(r#"{{"do":"publishBatch","as":"{batch}","events":[{events}]{timeout}}}"#);
        self.command(command).await
    }

    /// The id of a staged event is told at once.
    async fn stages(&mut self, names: &[String], tx: &str, event: &str) -> Played {
        for name in names {
            let event = self.expanded(event, Some(name))?;
            self.ledger.ask(name, read(&event)?, asked(None));
            self.staged.entry(tx.to_owned()).or_default().push(name.clone());
            let command = format!(r#"{{"do":"stage","tx":"{tx}","as":"{name}","event":{event}}}"#);
            self.command(command).await?;
            let outcome = self.outcome(name).await?.value;
            expect(&json!({ "ok": true, "id": { "$any": true } }), &outcome)?;
            let event = self.ledger.events.get_mut(name).expect("it was asked for");
            let id = outcome["id"].as_str().unwrap_or_default();
            if event.id.as_deref().is_some_and(|known| known != id) {
                return broken("the id that the event came with", outcome.to_string());
            }
            event.id = Some(id.to_owned());
        }
        Ok(())
    }

    async fn call(
        &mut self,
        what: &str,
        tx: &str,
        name: &str,
        within_ms: Option<u64>,
    ) -> Played<Asked> {
        let mut command = json!({ "do": what, "tx": tx, "as": name });
        if let Some(ms) = within_ms {
            command["timeoutMs"] = ms.into();
        }
        let asked = asked(within_ms);
        self.command(command.to_string()).await?;
        Ok(asked)
    }

    async fn counts(&mut self, pattern: &str) -> Played {
        self.counts += 1;
        let name = format!("count{}", self.counts);
        self.command(json!({ "do": "counters", "as": name }).to_string()).await?;
        let outcome = self.outcome(&name).await?;
        let counters = &outcome.value["counters"];
        if let Err(why) = judge_counters(counters) {
            return broken("counters that add up", format!("{why}: {counters}"));
        }
        expect(&self.value(pattern, None)?, counters)
    }

    async fn hears(&mut self, name: &str, is_ok: Option<bool>, pattern: &str) -> Played {
        let outcome = self.outcome(name).await?;
        let mut pattern = self.value(pattern, Some(name))?;
        if let Some(is_ok) = is_ok
            && outcome.value["ok"] != is_ok
        {
            let wanted = if is_ok { "that it is published" } else { "that it is not published" };
            return broken(
                format!("{name} is told {wanted}"),
                shortened(&outcome.value.to_string()),
            );
        }
        if let Err(why) = self.ledger.judge(name, &outcome.value, outcome.at) {
            let told = shortened(&outcome.value.to_string());
            return broken(format!("what the daemon said of {name}"), format!("{why}: {told}"));
        }
        if difference(&pattern, &outcome.value).is_some() && self.ledger.is_refusing(name) {
            // What was written before the outcome may come behind it.
            let until = Instant::now() + self.quiet;
            while self.happens(until).await? {}
            self.ledger.excuse(name, &mut pattern, outcome.at);
        }
        expect(&pattern, &outcome.value)
    }

    async fn outcome(&mut self, name: &str) -> Played<Outcome> {
        let expected = format!("the driver says what became of {name}");
        self.wait(self.step_within, &expected, |play| {
            let Some(outcomes) = play.outcomes.get_mut(name) else { return Ok(None) };
            let outcome = outcomes.pop_front();
            if outcomes.is_empty() {
                play.outcomes.remove(name);
            }
            Ok(outcome)
        })
        .await
    }

    // What the client does.

    async fn line(&mut self, expected: &str) -> Played<Line> {
        self.wait(self.step_within, expected, |play| Ok(play.lines.pop_front())).await
    }

    async fn writes(&mut self, names: &[String], how: Writing, tx: Option<&str>) -> Played {
        let tx = tx.map(|tx| self.control(tx).map(|control| control.tx.clone())).transpose()?;
        let mut open = names.to_vec();
        while let Some(first) = open.first() {
            let expected = match how.in_any_order {
                true => format!("one of {}", open.join(", ")),
                false => format!("the line of {first}"),
            };
            let line = self.line(&expected).await?;
            let fits = |name: &String| self.ledger.fits(name, &line, tx.as_deref());
            let place = match how.in_any_order {
                true => open.iter().position(|name| fits(name).is_ok()),
                false => Some(0),
            };
            let Some(place) = place else { return broken(expected, written(&line)) };
            let name = open.remove(place);
            let judged = fits(&name).and_then(|()| match how.again {
                true => self.ledger.comes_again(&name, &line),
                false => Ok(()),
            });
            if let Err(why) = judged {
                return broken(expected, format!("{why}: {}", written(&line)));
            }
            self.ledger.wrote(&name, line);
        }
        Ok(())
    }

    async fn says_hello(&mut self, pattern: &str) -> Played {
        let line = self.line("a hello").await?;
        let pattern = if pattern.is_empty() { "{}" } else { pattern };
        let mut pattern = self.value(pattern, None)?;
        pattern["op"] = "hello".into();
        expect(&pattern, &line.value)
    }

    async fn controls(&mut self, op: &str, tx: &str) -> Played {
        let expected = format!("the {op} of {tx}");
        let line = self.line(&expected).await?;
        let name = line.value["tx"].as_str().unwrap_or_default().to_owned();
        let is_known = self.txs.get(tx).is_none_or(|control| control.tx == name);
        let is_new = self.txs.values().all(|control| control.tx != name);
        if line.op() != Some(op) || name.is_empty() || !(is_known && (op != "begin" || is_new)) {
            return broken(expected, written(&line));
        }
        self.txs.insert(tx.to_owned(), Control { op: op.to_owned(), tx: name, line });
        Ok(())
    }

    async fn is_quiet(&mut self) -> Played {
        let until = Instant::now() + self.quiet;
        loop {
            if let Some(line) = self.lines.front() {
                return broken("nothing from the client", written(line));
            }
            if let Some((_, outcomes)) = self.outcomes.first_key_value() {
                let said = outcomes.front().map(|outcome| outcome.value.to_string());
                return broken("nothing from the driver", shortened(&said.unwrap_or_default()));
            }
            if !self.happens(until).await? {
                return Ok(());
            }
        }
    }

    // What the daemon does.

    async fn acks(&mut self, names: &[String], how: Sending, members: &str) -> Played {
        let mut together: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for name in names {
            let members = self.value(members, Some(name))?;
            let ack = said(self.ledger.ack(name, &members))?;
            let connection = said(self.ledger.line(name))?.connection;
            self.note("daemon", ack.to_string().as_bytes());
            let bytes = (ack.to_string() + "\n").into_bytes();
            match how {
                Sending::EachAlone => self.daemon.write(connection, bytes),
                Sending::InOneWrite => together.entry(connection).or_default().extend(bytes),
                Sending::InHalves => {
                    let (first, second) = bytes.split_at(bytes.len() / 2);
                    self.daemon.write(connection, first.to_vec());
                    self.is_quiet().await?;
                    self.daemon.write(connection, second.to_vec());
                }
                Sending::ByteByByte => {
                    let mut is_split = false;
                    for byte in bytes {
                        // A character of two bytes or more: its first comes alone, surely.
                        if is_inside_character(byte) && !is_split {
                            is_split = true;
                            self.is_quiet().await?;
                        }
                        self.daemon.write(connection, vec![byte]);
                        sleep(Duration::from_millis(1)).await; // so that most come alone
                    }
                }
            }
        }
        for (connection, bytes) in together {
            self.daemon.write(connection, bytes);
        }
        Ok(())
    }

    fn refuses(&mut self, name: &str, refusal: &Refused, every_time: Option<usize>) -> Played {
        let answer = said(self.ledger.refuse(name, refusal))?;
        let connection = said(self.ledger.line(name))?.connection;
        let event = self.ledger.events.get_mut(name).expect("it was refused");
        event.refusing = every_time.map(|at_most| (refusal.clone(), at_most));
        self.answer(connection, &answer);
        Ok(())
    }

    fn holds(&mut self, names: &[String]) -> Played {
        for name in names {
            let line = said(self.ledger.line(name))?;
            let id = &line.value["options"]["id"];
            let answer = json!({ "ref": line.value["ref"], "ok": true, "staged": true, "id": id });
            let connection = line.connection;
            self.answer(connection, &answer);
        }
        Ok(())
    }

    fn settles(&mut self, tx: &str, became: &[(Vec<String>, Option<Refused>)]) -> Played {
        let mut results = Vec::new();
        for (names, refused) in became {
            for name in names {
                results.push(said(match refused {
                    None => self.ledger.ack(name, &json!({})),
                    Some(refused) => self.ledger.refuse(name, refused),
                })?);
            }
        }
        let is_ok = became.iter().all(|(_, refused)| refused.is_none());
        let control = self.control(tx)?;
        let mut answer =
            json!({ "op": "commit", "tx": control.tx, "ok": is_ok, "results": results });
        with_reference(&mut answer, control);
        let connection = control.line.connection;
        self.answer(connection, &answer);
        Ok(())
    }

    fn control(&self, tx: &str) -> Played<&Control> {
        let expected = || Broken {
            expected: format!("a control line of {tx}, which the case has seen"),
            came: "none".into(),
        };
        self.txs.get(tx).ok_or_else(expected)
    }

    fn answer(&mut self, connection: usize, answer: &Value) {
        let text = answer.to_string();
        self.note("daemon", text.as_bytes());
        self.daemon.write(connection, (text + "\n").into_bytes());
    }

    async fn cut(&mut self) -> Played {
        self.note("daemon", b"(ends every connection)");
        self.daemon.cut().await;
        self.lines.clear(); // what was written and not looked at is lost, as in a daemon
        Ok(())
    }

    // What happens.

    /// Waits until `look` finds something.
    async fn wait<T>(
        &mut self,
        within: Duration,
        expected: &str,
        mut look: impl FnMut(&mut Self) -> Played<Option<T>>,
    ) -> Played<T> {
        let until = Instant::now() + within;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            let until = match self.ended {
                Some((at, _)) => until.min(at + LEFT_WITHIN),
                None => until,
            };
            if !self.happens(until).await? {
                let came = match self.ended {
                    Some((_, code)) => format!("the driver ended, exit code {code:?}"),
                    None => format!("nothing within {} s", within.as_secs()),
                };
                return broken(expected, self.with_next(came));
            }
        }
    }

    /// What waits to be looked at is the best hint at what went wrong.
    fn with_next(&self, came: String) -> String {
        let outcomes = self.outcomes.values().flatten().map(|outcome| outcome.value.to_string());
        let waiting = self.lines.iter().map(written).chain(outcomes).next();
        match waiting {
            None => came,
            Some(waiting) => format!("{came}; what came and was not asked for: {waiting}"),
        }
    }

    /// Takes the next thing that happens, if one does before `until`.
    async fn happens(&mut self, until: Instant) -> Played<bool> {
        match timeout_at(until, self.happenings.recv()).await {
            Ok(happening) => {
                self.take(happening.expect("the play holds a sender"))?;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn take(&mut self, happening: Happening) -> Played {
        match happening {
            Happening::Connected(stream) => {
                self.connections += 1;
                self.note("client", b"(connects)");
                self.daemon.take(self.connections, stream);
                Ok(())
            }
            Happening::TurnedAway => {
                self.turned_away += 1;
                match self.turned_away > self.turned_away_max {
                    false => Ok(()),
                    true => broken(
                        format!("at most {} connections to be turned away", self.turned_away_max),
                        "one more",
                    ),
                }
            }
            Happening::Line { connection, line } => self.take_line(connection, line),
            Happening::HungUp { connection, torn_bytes } => {
                if self.daemon.is_open(connection) {
                    self.hung_up += 1;
                    self.note("client", format!("(ends, {torn_bytes} bytes torn)").as_bytes());
                    self.daemon.let_go(connection);
                }
                Ok(())
            }
            Happening::Said { line, at } => self.take_said(&line, at),
            Happening::Ended(status) => {
                self.ended = Some((Instant::now(), status.code()));
                Ok(())
            }
        }
    }

    fn take_line(&mut self, connection: usize, bytes: Vec<u8>) -> Played {
        if !self.daemon.is_open(connection) {
            return Ok(()); // it came after the cut
        }
        self.note("client", &bytes);
        let number = self.numbers.entry(connection).or_default();
        *number += 1;
        let line = match Line::read(connection, *number, bytes) {
            Ok(line) => line,
            Err(why) => return broken("a line of the protocol", why),
        };
        if self.greeted.insert(connection) && line.op() != Some("hello") {
            return broken("hello, before anything else on a connection", written(&line));
        }
        if line.op() == Some("hello") && !self.leaves_hello {
            let producer = &self.ledger.producer;
            let mut answer = json!({
                "op": "hello", "ok": true, "version": 1, "maxEventBytes": 1 << 20,
                "producerId": producer,
            });
            if let Some(reference) = line.value.get("ref") {
                answer["ref"] = reference.clone();
            }
            self.answer(connection, &answer);
            return Ok(());
        }
        if line.op() == Some("rollback")
            && let Some(tx) = line.value["tx"].as_str()
            && self.may_roll_back.contains(tx)
        {
            let answer = json!({ "op": "rollback", "tx": tx, "ok": true, "ref": line.reference() });
            self.answer(connection, &answer);
            return Ok(());
        }
        if let Some(name) = self.ledger.refused_again(&line) {
            return self.refuse_again(&name, line);
        }
        self.lines.push_back(line);
        match self.lines.len() > LINES_MAX {
            true => broken("a client that waits for answers", format!("{LINES_MAX} lines")),
            false => Ok(()),
        }
    }

    fn refuse_again(&mut self, name: &str, line: Line) -> Played {
        let event = self.ledger.events.get_mut(name).expect("it is refused");
        let (refusal, left) = event.refusing.take().expect("it is refused");
        let Some(left) = left.checked_sub(1) else {
            return broken("a client that waits before it sends again", "too many lines");
        };
        self.ledger.wrote_again(name, line, Instant::now());
        self.refuses(name, &refusal, Some(left))
    }

    fn take_said(&mut self, line: &str, at: Instant) -> Played {
        if !self.introduced {
            self.introduced = true;
            return match Introduction::read(line) {
                Some(_) => Ok(()),
                None => broken("the driver's name", line),
            };
        }
        self.note("app", format!("hears {line}").as_bytes());
        let value = parse(line).unwrap_or_default();
        match value["as"].as_str() {
            None => broken("an outcome with `as`", shortened(line)),
            Some(name) => {
                let outcomes = self.outcomes.entry(name.to_owned()).or_default();
                outcomes.push_back(Outcome { value, at });
                Ok(())
            }
        }
    }

    /// Writes down what was said, for a failure to show.
    fn note(&mut self, who: &str, bytes: &[u8]) {
        if self.said.len() == SAID_LINES_MAX {
            self.said.pop_front();
        }
        let at = self.began.elapsed().as_millis();
        let text = shortened(&String::from_utf8_lossy(bytes));
        self.said.push_back(format!("{at:>6} ms  {who:<6}  {text}"));
    }

    // Names.

    fn expanded(&self, text: &str, event: Option<&str>) -> Played<String> {
        let line = |name: Option<&str>| self.ledger.line(name?).ok();
        let meaning = |word: &str, argument: Option<&str>| match word {
            "n" => {
                let digits = event?.trim_start_matches(|c: char| !c.is_ascii_digit());
                (!digits.is_empty()).then(|| digits.to_owned())
            }
            "name" => Some(format!("\"{}\"", event?)),
            "text" => Some(format!("\"{}\"", "x".repeat(argument?.parse().ok()?))),
            "ref" => Some(line(argument)?.value["ref"].to_string()),
            "id" => {
                let id = self.ledger.events.get(argument?)?.id.as_ref()?;
                Some(format!("\"{id}\""))
            }
            "tx" => Some(Value::from(self.txs.get(argument?)?.tx.as_str()).to_string()),
            "socket" => Some(Value::from(self.daemon.path().to_string_lossy()).to_string()),
            _ => None,
        };
        expand(text, &meaning).map_err(|name| Broken {
            expected: format!("a case that knows what {name} stands for"),
            came: "one that does not".into(),
        })
    }

    fn value(&self, text: &str, event: Option<&str>) -> Played<Value> {
        read(&self.expanded(text, event)?)
    }
}

fn failure(step: Option<&Step>, broken: Broken) -> Failure {
    let (line, text) = match step {
        Some(step) => (Some(step.line), step.text.clone()),
        None => (None, "the end".to_owned()),
    };
    Failure { line, text, expected: broken.expected, came: broken.came }
}

fn asked(within_ms: Option<u64>) -> Asked {
    Asked { at: Instant::now(), timeout: within_ms.map(Duration::from_millis) }
}

fn read(json: &str) -> Played<Value> {
    parse(json)
        .map_err(|error| Broken { expected: "JSON in the case".into(), came: error.to_string() })
}

fn expect(pattern: &Value, value: &Value) -> Played {
    match difference(pattern, value) {
        None => Ok(()),
        Some(what) => broken(
            format!("something like {}", shortened(&pattern.to_string())),
            format!("{what}, in {}", shortened(&value.to_string())),
        ),
    }
}

/// What goes wrong here is the case's own fault: it names what is not there.
fn said<T>(of: Result<T, String>) -> Played<T> {
    of.map_err(|came| Broken { expected: "a case that can be played".into(), came })
}

fn with_reference(answer: &mut Value, control: &Control) {
    if let Some(reference) = control.line.value.get("ref") {
        answer["ref"] = reference.clone();
    }
}

fn written(line: &Line) -> String {
    shortened(&String::from_utf8_lossy(&line.bytes))
}
