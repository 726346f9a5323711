//! What each way in costs the daemon, beside the socket's lines of the same run: batches, HTTP and
//! the Kinesis API. The cases take turns, so that all of them meet the same machine; medians of the
//! rounds are printed.
//!
//! Default settings, four shards, a stream that answers at once, 10,000 keys, 200 bytes of `data`.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::orders;

use crate::load::{Callers, Load, Pace, Shape, Window};
use crate::process::{DISPATCHD, Process, Server, usage};
use crate::server;
use crate::transport::median;
use crate::{BUSY, WARM_UP};

const KEYS: usize = 10_000;
const DATA_BYTES: usize = 200;
/// Events of a batch, of an array and of a PutRecords call.
const MANY: usize = 100;
const SHARDS: usize = 4;

/// One line of the table.
struct Case {
    name: &'static str,
    way: Way,
    /// The case that its CPU is compared with, and the most that the ratio may be.
    beside: Option<(&'static str, f64)>,
}

#[derive(Clone, Copy)]
enum Way {
    /// Lines of the socket.
    Lines(usize, Pace),
    /// Requests over so many connections, each with so many of them unanswered, or one in so much
    /// time.
    Requests(Form, usize, Turn),
    /// PutRecords by AWS's SDK, from a process of its own.
    Sdk,
}

#[derive(Clone, Copy)]
enum Form {
    /// `{"op":"batch"}` of the socket.
    Batch,
    /// POST /v1/events with one event.
    HttpEvent,
    /// The same with an array.
    HttpArray,
}

#[derive(Clone, Copy)]
enum Turn {
    Unanswered(usize),
    Every(Duration),
}

const CASES: [Case; 9] = [
    Case { name: "lines, 4 connections", way: Way::Lines(4, Pace::InFlight(BUSY)), beside: None },
    Case {
        name: "batches of 100, 4 connections",
        way: Way::Requests(Form::Batch, 4, Turn::Unanswered(BUSY / MANY / 4)),
        beside: Some(("lines, 4 connections", 1.05)),
    },
    Case { name: "lines at 5,000/s", way: Way::Lines(1, Pace::PerSecond(5_000)), beside: None },
    Case {
        name: "batches of 100 at 5,000/s",
        way: Way::Requests(Form::Batch, 1, Turn::Every(Duration::from_millis(20))),
        beside: Some(("lines at 5,000/s", 0.3)),
    },
    Case {
        name: "lines, 64 connections, 1 unanswered",
        way: Way::Lines(64, Pace::InFlight(64)),
        beside: None,
    },
    Case {
        name: "HTTP, 64 connections, one event a request",
        way: Way::Requests(Form::HttpEvent, 64, Turn::Unanswered(1)),
        beside: Some(("lines, 64 connections, 1 unanswered", 1.6)),
    },
    Case {
        name: "lines, 64 connections, 100 unanswered",
        way: Way::Lines(64, Pace::InFlight(64 * MANY)),
        beside: None,
    },
    Case {
        name: "HTTP, 64 connections, arrays of 100",
        way: Way::Requests(Form::HttpArray, 64, Turn::Unanswered(1)),
        beside: Some(("lines, 64 connections, 100 unanswered", 1.3)),
    },
    Case {
        name: "Kinesis API, PutRecords of 100 by AWS's SDK, 32 at once",
        way: Way::Sdk,
        beside: Some(("lines, 64 connections, 100 unanswered", 1.5)),
    },
];

/// Prints a line for each case, or for those whose name has all of the words.
pub(crate) fn table(words: &[String], rounds: usize, measured: Duration) -> Result<()> {
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| words.iter().all(|word| case.name.contains(word.as_str())))
        .collect();
    let mut costs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); chosen.len()];
    for _ in 0..rounds {
        for (case, costs) in chosen.iter().zip(&mut costs) {
            costs.push(case.way.run(measured)?);
        }
    }
    let cpu = |name: &str| {
        let at = chosen.iter().position(|case| case.name == name)?;
        Some(median(costs[at].iter().map(|cost| cost.1)))
    };
    println!("way in | events/s | CPU µs/event | × lines' CPU | at most");
    println!("---|---|---|---|---");
    for (case, costs) in chosen.iter().zip(&costs) {
        let rate = median(costs.iter().map(|cost| cost.0));
        let own = median(costs.iter().map(|cost| cost.1));
        let beside = case.beside.and_then(|(name, most)| Some((own / cpu(name)?, most)));
        let (ratio, most) = beside.map_or(("-".into(), "-".into()), |(ratio, most)| {
            (format!("{ratio:.2}"), format!("{most}"))
        });
        println!("{} | {rate:.0} | {own:.2} | {ratio} | {most}", case.name);
    }
    Ok(())
}

impl Way {
    /// Events a second that reach the stream, and microseconds of the daemon's CPU for one.
    fn run(self, measured: Duration) -> Result<(f64, f64)> {
        let server = Server::start(SHARDS, 0)?;
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("d.sock");
        let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let setting = format!("kinesis_api.listen={api}");
        let settings: &[&str] = if matches!(self, Self::Sdk) { &[&setting] } else { &[] };
        let environment = server.environment(false);
        let daemon = Process::daemon(Path::new(DISPATCHD), &environment, &socket, settings)?;
        let window = Window::new(WARM_UP, measured);
        let look = |at: Instant| {
            sleep(at.saturating_duration_since(Instant::now()));
            let records = server::counts(server.port)?.records;
            Ok::<_, Error>((Instant::now(), records, usage(daemon.id())?))
        };
        let looks = || Ok::<_, Error>((look(window.from)?, look(window.to)?));
        let (before, after) = match self {
            Self::Lines(connections, pace) => {
                let shape = Shape::Members;
                let load = Load { data_bytes: DATA_BYTES, shape, keys: KEYS, connections, pace };
                let _callers = Callers::start(&socket, load, window)?;
                looks()?
            }
            Self::Requests(form, connections, turn) => {
                let requests = form.requests();
                std::thread::scope(|scope| {
                    for number in 0..connections {
                        let socket = UnixStream::connect(&socket)?;
                        let first = number * requests.len() / connections;
                        let requests = requests.iter().cycle().skip(first).map(Vec::as_slice);
                        scope.spawn(move || form.drive(&socket, requests, turn, window));
                    }
                    looks()
                })?
            }
            Self::Sdk => {
                let (many, seconds) = (MANY.to_string(), measured.as_secs().to_string());
                let (bytes, keys) = (DATA_BYTES.to_string(), KEYS.to_string());
                let args = ["as-plain", "batcher", &bytes, &keys, &seconds, &many];
                let environment = environment.map(|(name, value)| match name {
                    "AWS_ENDPOINT_URL_KINESIS" => (name, format!("http://{api}")),
                    _ => (name, value),
                });
                std::thread::scope(|scope| {
                    scope.spawn(|| Process::role(&args, &environment));
                    looks()
                })?
            }
        };
        let events = (after.1 - before.1) as f64;
        let seconds = (after.0 - before.0).as_secs_f64();
        Ok((events / seconds, after.2.since(&before.2).as_secs_f64() * 1e6 / events))
    }
}

impl Form {
    /// Requests that hold every key once.
    fn requests(self) -> Vec<Vec<u8>> {
        let data = orders::data(DATA_BYTES);
        let lines: Vec<_> = (0..KEYS).map(|key| orders::line(&data, key)).collect();
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        let post = |body: &str| {
            format!(
                "POST /v1/events HTTP/1.1\r\nhost: dispatchd\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let many = lines.chunks(MANY).map(|lines| lines.join(","));
        let texts: Vec<String> = match self {
            Self::Batch => {
                many.map(|events| format!("{{\"op\":\"batch\",\"events\":[{events}]}}\n")).collect()
            }
            Self::HttpEvent => lines.iter().map(|line| post(line)).collect(),
            Self::HttpArray => many.map(|events| post(&format!("[{events}]"))).collect(),
        };
        texts.into_iter().map(String::into_bytes).collect()
    }

    /// Writes requests and reads their answers for as long as the window is open.
    ///
    /// # Panics
    /// If an event is refused: what is measured is what is acked.
    fn drive<'r>(
        self,
        mut socket: &UnixStream,
        mut requests: impl Iterator<Item = &'r [u8]>,
        turn: Turn,
        window: Window,
    ) {
        const ALIVE: &str = "the daemon outlives its callers";
        let mut answers = BufReader::with_capacity(64 * 1024, socket);
        let mut buf = Vec::new();
        let mut write = || {
            let request = requests.next().expect("they go round for ever");
            socket.write_all(request).expect(ALIVE);
        };
        if let Turn::Unanswered(count) = turn {
            (1..count).for_each(|_| write());
        }
        for number in 0.. {
            if let Turn::Every(time) = turn {
                let due = window.began + time * number;
                sleep(due.saturating_duration_since(Instant::now()));
            }
            if Instant::now() >= window.to {
                return;
            }
            write();
            self.read(&mut answers, &mut buf).expect(ALIVE);
        }
    }

    fn read(self, answers: &mut BufReader<&UnixStream>, buf: &mut Vec<u8>) -> Result<()> {
        buf.clear();
        answers.read_until(b'\n', buf)?;
        if matches!(self, Self::Batch) {
            let acked = br#"{"op":"batch","ok":true,"#;
            assert!(buf.starts_with(acked), "not acked: {}", String::from_utf8_lossy(buf));
            return Ok(());
        }
        assert!(buf.starts_with(b"HTTP/1.1 200"), "not acked: {}", String::from_utf8_lossy(buf));
        let mut length = 0;
        while !buf.ends_with(b"\r\n\r\n") {
            let begin = buf.len();
            answers.read_until(b'\n', buf)?;
            let line = String::from_utf8_lossy(&buf[begin..]).to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(Error::other)?;
            }
        }
        buf.resize(length, 0);
        answers.read_exact(buf)
    }
}
