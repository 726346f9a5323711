//! Reads a case: a page of plain lines, each of which says who does what. It knows the words, and
//! never what follows from them: `play` does what a line says.
//!
//! `clients/conformance/README.md` has the words for those who write a case.

use super::failure::Failure;

/// A case as it is written.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// The comment at the head: what is promised, and what goes wrong without it.
    pub promise: String,
    /// What the driver has to be able to do (`case needs fork`).
    pub needs: Option<String>,
    pub steps: Vec<Step>,
}

/// One line of a case.
#[derive(Debug)]
pub(crate) struct Step {
    /// The line's number in the file, from 1.
    pub line: usize,
    pub text: String,
    pub does: Does,
}

/// Who does what. Events, transactions and calls have the names that the case gives them; JSON is
/// kept as it is written, since it may hold names.
#[derive(Debug)]
pub(crate) enum Does {
    Opens(String),
    Publishes {
        names: Vec<String>,
        call: Call,
        within_ms: Option<u64>,
        event: String,
    },
    PublishesBatch {
        batch: String,
        names: Vec<String>,
        within_ms: Option<u64>,
        event: String,
    },
    Begins {
        tx: String,
    },
    Stages {
        names: Vec<String>,
        tx: String,
        event: String,
    },
    Checks {
        tx: String,
        name: String,
        within_ms: Option<u64>,
    },
    Commits {
        tx: String,
        name: String,
        within_ms: Option<u64>,
    },
    RollsBack {
        tx: String,
        name: String,
    },
    Ends {
        call: Call,
        name: String,
        within_ms: Option<u64>,
    },
    Counts(String),
    Hears {
        names: Vec<String>,
        is_ok: Option<bool>,
        pattern: String,
    },

    Writes {
        names: Vec<String>,
        how: Writing,
        tx: Option<String>,
    },
    SaysHello(String),
    Controls {
        op: &'static str,
        tx: String,
    },
    MayRollBack {
        tx: String,
    },
    Connects,
    HangsUp,
    IsQuiet,
    IsTurnedAwayTwice,
    HasNotConnected,

    Acks {
        names: Vec<String>,
        how: Sending,
        members: String,
    },
    Refuses {
        names: Vec<String>,
        refusal: Refused,
        every_time: Option<usize>,
    },
    /// Half of an ack; the rest never comes.
    BeginsAnswer {
        name: String,
    },
    SaysNoJson,
    RefusesNoMore {
        name: String,
    },
    Holds {
        names: Vec<String>,
    },
    Agrees {
        tx: String,
    },
    RefusesControl {
        tx: String,
        refusal: Refused,
    },
    Settles {
        tx: String,
        results: Vec<(Vec<String>, Option<Refused>)>,
    },
    Answers(String),
    LeavesHello,
    Cuts,
    Stops,
    Dies,
    Starts,
    IsReplaced,
    TurnsAway {
        at_most: usize,
    },
    StopsReading,
    ReadsOn,
}

/// The driver's command, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Publish,
    TryPublish,
    Fork,
    Flush,
    Close,
}

/// How the lines of some events come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Writing {
    pub in_any_order: bool,
    /// Each line has the bytes that it had before.
    pub again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    EachAlone,
    InOneWrite,
    InHalves,
    ByteByByte,
}

/// What a refusal says besides its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub code: String,
    /// The field `outcome` of the answer, if it has one.
    pub outcome: Option<String>,
}

impl Transcript {
    /// # Errors
    /// If a line says nothing that is known; the failure names it.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut promise = Vec::new();
        let (mut needs, mut steps) = (None, Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                if steps.is_empty() {
                    promise.push(comment.trim());
                }
            } else if let Some(ability) = line.strip_prefix("case needs ") {
                needs = Some(ability.to_owned());
            } else if !line.is_empty() {
                let does = read(line).ok_or_else(|| {
                    Failure::at(index + 1, line, "a line that the language has", "this line")
                })?;
                steps.push(Step { line: index + 1, text: line.to_owned(), does });
            }
        }
        Ok(Self { promise: promise.join(" "), needs, steps })
    }
}

fn read(line: &str) -> Option<Does> {
    let json = line.find(['{', '[']).unwrap_or(line.len());
    let (head, json) = (line[..json].trim(), line[json..].to_owned());
    let (who, what) = head.split_once(' ').unwrap_or((head, ""));
    match who {
        "app" => app(what, json),
        "client" => client(what, json),
        "daemon" => daemon(what, json),
        _ => None,
    }
}

fn app(what: &str, json: String) -> Option<Does> {
    let (what, within_ms) = match what.split_once(" within ") {
        None => (what, None),
        Some((what, wait)) => (what, Some(wait.strip_suffix(" ms")?.parse().ok()?)),
    };
    let words: Vec<&str> = what.split_whitespace().collect();
    let one = |name: &str| name.to_owned();
    Some(match words.as_slice() {
        ["opens"] => Does::Opens(json),
        ["publishes", "batch", batch, rest @ ..] => Does::PublishesBatch {
            batch: one(batch.strip_suffix(':')?),
            names: names(rest)?,
            within_ms,
            event: json,
        },
        ["publishes", rest @ ..] => publishes(Call::Publish, rest, within_ms, json)?,
        ["tries", rest @ ..] => publishes(Call::TryPublish, rest, within_ms, json)?,
        ["forks", name] => publishes(Call::Fork, &[name], within_ms, json)?,
        ["begins", tx] => Does::Begins { tx: one(tx) },
        ["stages", rest @ .., "in", tx] => {
            Does::Stages { names: names(rest)?, tx: one(tx), event: json }
        }
        ["checks", tx, "as", name] => Does::Checks { tx: one(tx), name: one(name), within_ms },
        ["commits", tx, "as", name] => Does::Commits { tx: one(tx), name: one(name), within_ms },
        ["rolls", "back", tx, "as", name] => Does::RollsBack { tx: one(tx), name: one(name) },
        ["flushes", "as", name] => Does::Ends { call: Call::Flush, name: one(name), within_ms },
        ["closes", "as", name] => Does::Ends { call: Call::Close, name: one(name), within_ms },
        ["counts"] => Does::Counts(json),
        ["hears", rest @ .., "ok"] => hears(rest, Some(true), json)?,
        ["hears", rest @ .., "failed"] => hears(rest, Some(false), json)?,
        ["hears", rest @ ..] => hears(rest, None, json)?,
        _ => return None,
    })
}

fn publishes(call: Call, of: &[&str], within_ms: Option<u64>, event: String) -> Option<Does> {
    Some(Does::Publishes { names: names(of)?, call, within_ms, event })
}

fn hears(of: &[&str], is_ok: Option<bool>, json: String) -> Option<Does> {
    let pattern = if json.is_empty() { "{}".to_owned() } else { json };
    Some(Does::Hears { names: names(of)?, is_ok, pattern })
}

fn client(what: &str, json: String) -> Option<Does> {
    let words: Vec<&str> = what.split_whitespace().collect();
    let controls = |op, tx: &str| Some(Does::Controls { op, tx: tx.to_owned() });
    match words.as_slice() {
        ["writes", rest @ ..] => writes(rest),
        ["says", "hello"] => Some(Does::SaysHello(json)),
        ["begins", tx] => controls("begin", tx),
        ["commits", tx] => controls("commit", tx),
        ["rolls", "back", tx] => controls("rollback", tx),
        ["may", "roll", "back", tx] => Some(Does::MayRollBack { tx: (*tx).to_owned() }),
        ["connects"] => Some(Does::Connects),
        ["hangs", "up"] => Some(Does::HangsUp),
        ["is", "quiet"] => Some(Does::IsQuiet),
        ["is", "turned", "away", "twice"] => Some(Does::IsTurnedAwayTwice),
        ["has", "not", "connected"] => Some(Does::HasNotConnected),
        _ => None,
    }
}

fn writes(mut words: &[&str]) -> Option<Does> {
    let (mut how, mut tx) = (Writing::default(), None);
    if let [rest @ .., "in", "any", "order"] = words {
        (words, how.in_any_order) = (rest, true);
    } else if let [rest @ .., "in", name] = words {
        (words, tx) = (rest, Some((*name).to_owned()));
    }
    if let [rest @ .., "again"] = words {
        (words, how.again) = (rest, true);
    }
    Some(Does::Writes { names: names(words)?, how, tx })
}

fn daemon(what: &str, json: String) -> Option<Does> {
    let words: Vec<&str> = what.split_whitespace().collect();
    let acks = |of: &[&str], how, members: String| {
        let members = if members.is_empty() { "{}".to_owned() } else { members };
        Some(Does::Acks { names: names(of)?, how, members })
    };
    match words.as_slice() {
        ["acks", rest @ .., "in", "one", "write"] => acks(rest, Sending::InOneWrite, json),
        ["acks", rest @ .., "in", "halves"] => acks(rest, Sending::InHalves, json),
        ["acks", rest @ .., "byte", "by", "byte"] => acks(rest, Sending::ByteByByte, json),
        ["acks", rest @ ..] => acks(rest, Sending::EachAlone, json),
        ["refuses", "to", "begin" | "commit", tx, code, rest @ ..] => {
            let refusal = Refused { code: (*code).to_owned(), outcome: outcome(rest)? };
            Some(Does::RefusesControl { tx: (*tx).to_owned(), refusal })
        }
        ["refuses", name, "no", "more"] => Some(Does::RefusesNoMore { name: (*name).to_owned() }),
        ["refuses", rest @ ..] => refuses(rest),
        ["begins", "an", "answer", "to", name] => {
            Some(Does::BeginsAnswer { name: (*name).to_owned() })
        }
        ["says", "something", "that", "is", "no", "JSON"] => Some(Does::SaysNoJson),
        ["holds", rest @ ..] => Some(Does::Holds { names: names(rest)? }),
        ["agrees", "to", tx] => Some(Does::Agrees { tx: (*tx).to_owned() }),
        ["settles", tx, ..] => {
            let tx = tx.strip_suffix(':')?;
            let results = what.split_once(':')?.1.split(',').map(result).collect::<Option<_>>()?;
            Some(Does::Settles { tx: tx.to_owned(), results })
        }
        ["answers", "no", "hello"] => Some(Does::LeavesHello),
        ["answers"] => Some(Does::Answers(json)),
        ["cuts"] => Some(Does::Cuts),
        ["stops"] => Some(Does::Stops),
        ["dies"] => Some(Does::Dies),
        ["starts"] => Some(Does::Starts),
        ["is", "replaced"] => Some(Does::IsReplaced),
        ["turns", "away", "at", "most", count] => {
            Some(Does::TurnsAway { at_most: count.parse().ok()? })
        }
        ["stops", "reading"] => Some(Does::StopsReading),
        ["reads", "on"] => Some(Does::ReadsOn),
        _ => None,
    }
}

/// `a CODE`, with `not_stored` or `unknown` and `every time, at most N` after it.
fn refuses(words: &[&str]) -> Option<Does> {
    let (words, every_time) = match words {
        [rest @ .., "every", "time", "at", "most", count] => (rest, Some(count.parse().ok()?)),
        _ => (words, None),
    };
    let code = words.iter().position(|word| word.starts_with(char::is_uppercase))?;
    let refusal = Refused { code: words[code].to_owned(), outcome: outcome(&words[code + 1..])? };
    Some(Does::Refuses { names: names(&words[..code])?, refusal, every_time })
}

/// What became of some events of a transaction: `acks s1 s2`, `refuses s3 CODE unknown`.
fn result(text: &str) -> Option<(Vec<String>, Option<Refused>)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["acks", rest @ ..] => Some((names(rest)?, None)),
        ["refuses", rest @ ..] => match refuses(rest)? {
            Does::Refuses { names, refusal, every_time: None } => Some((names, Some(refusal))),
            _ => None,
        },
        _ => None,
    }
}

fn outcome(words: &[&str]) -> Option<Option<String>> {
    match words {
        [] => Some(None),
        [outcome @ ("not_stored" | "unknown")] => Some(Some((*outcome).to_owned())),
        _ => None,
    }
}

/// Names, where `a1..a9` is nine of them and `a9..a1` the same the other way round.
fn names(words: &[&str]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for word in words {
        let Some((first, last)) = word.split_once("..") else {
            names.push((*word).to_owned());
            continue;
        };
        let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
        let from: usize = first[stem.len()..].parse().ok()?;
        let to: usize = last.strip_prefix(stem)?.parse().ok()?;
        let name = |n: usize| format!("{stem}{n}");
        if from <= to {
            names.extend((from..=to).map(name));
        } else {
            names.extend((to..=from).rev().map(name));
        }
    }
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_names_runs_both_ways() {
        assert_eq!(names(&["a2..a4", "b"]), Some(["a2", "a3", "a4", "b"].map(String::from).into()));
        assert_eq!(names(&["a3..a2"]), Some(["a3", "a2"].map(String::from).into()));
        assert_eq!(names(&["a1..b2"]), None);
    }

    #[test]
    fn a_line_that_says_nothing_known_is_named() {
        for line in ["client sings", "app publishes {}", "daemon refuses a", "nobody writes a"] {
            let text = format!("# A promise.\n\napp begins t\n{line}\n");
            let failure = Transcript::parse(&text).expect_err(line);
            assert_eq!((failure.line, failure.text.as_str()), (Some(4), line));
        }
    }
}
