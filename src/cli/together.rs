//! Lines that hold an event each, as the requests that keep them together: batches of many, or one
//! transaction. The events are not read: what is wrong with one is the daemon's to say.

use std::io::{self, BufRead, Read};

use dispatchd_core::limits::KIB;

/// Events of one batch.
const BATCH_EVENTS_MAX: usize = 500;
/// Bytes of one batch, but for its last event.
const BATCH_BYTES_MAX: usize = 256 * KIB;
/// The name of our only transaction.
const TX: &str = "send";

/// What is made of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    Batches,
    Transaction,
}

/// The requests, as bytes.
#[derive(Debug)]
pub(super) struct Requests<R> {
    lines: R,
    together: Together,
    /// Made, and not read yet.
    made: Vec<u8>,
    taken: usize,
    has_begun: bool,
    has_ended: bool,
}

impl<R: BufRead> Requests<R> {
    pub(super) fn new(lines: R, together: Together) -> Self {
        let (has_begun, has_ended) = (false, false);
        Self { lines, together, made: Vec::new(), taken: 0, has_begun, has_ended }
    }

    /// Makes what comes next. Of input that cannot be read to its end, nothing is committed.
    fn make(&mut self) -> io::Result<()> {
        self.made.clear();
        self.taken = 0;
        match self.together {
            Together::Batches => self.make_batch(),
            Together::Transaction => self.make_step(),
        }
    }

    fn make_batch(&mut self) -> io::Result<()> {
        let mut events = 0;
        while events < BATCH_EVENTS_MAX && self.made.len() < BATCH_BYTES_MAX {
            let Some(line) = self.next_line()? else { break };
            let before: &[u8] = if events == 0 { b"{\"op\":\"batch\",\"events\":[" } else { b"," };
            self.made.extend_from_slice(before);
            self.made.extend_from_slice(&line);
            events += 1;
        }
        if events > 0 {
            self.made.extend_from_slice(b"]}\n");
        }
        Ok(())
    }

    fn make_step(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.made = format!("{{\"op\":\"begin\",\"tx\":\"{TX}\"}}\n").into_bytes();
            return Ok(());
        }
        match self.next_line()? {
            Some(line) => {
                // What is no object stays as it is, and is refused.
                match line.strip_prefix(b"{") {
                    Some(fields) if !fields.trim_ascii_start().starts_with(b"}") => {
                        self.made = format!("{{\"tx\":\"{TX}\",").into_bytes();
                        self.made.extend_from_slice(fields);
                    }
                    _ => self.made = line,
                }
                self.made.push(b'\n');
            }
            None if !std::mem::replace(&mut self.has_ended, true) => {
                self.made = format!("{{\"op\":\"commit\",\"tx\":\"{TX}\"}}\n").into_bytes();
            }
            None => {}
        }
        Ok(())
    }

    /// The next line that is not blank, without its end.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut line = Vec::new();
            if self.lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Ok(Some(text.to_vec()));
            }
        }
    }
}

impl<R: BufRead> Read for Requests<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.made.len() {
            self.make()?;
        }
        let mut rest = &self.made[self.taken..];
        let read = rest.read(buf)?;
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(lines: &str, together: Together) -> Vec<String> {
        let mut text = String::new();
        let mut requests = Requests::new(lines.as_bytes(), together);
        requests.read_to_string(&mut text).expect("it is UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_become_batches_of_a_bounded_size() {
        let lines = made("{\"a\":1}\r\n\n {\"a\":2}\n{\"a\":3}", Together::Batches);
        assert_eq!(lines, [r#"{"op":"batch","events":[{"a":1},{"a":2},{"a":3}]}"#]);
        assert!(made("\n", Together::Batches).is_empty());
        let many = made(&"{}\n".repeat(2 * BATCH_EVENTS_MAX + 1), Together::Batches);
        assert_eq!(many.len(), 3);
        let long = format!("{{\"x\":\"{}\"}}\n", "x".repeat(BATCH_BYTES_MAX));
        assert_eq!(made(&long.repeat(2), Together::Batches).len(), 2);
    }

    #[test]
    fn lines_become_a_transaction_that_is_committed_at_their_end() {
        let lines = made("{\"a\":1}\n{}\nnonsense\n", Together::Transaction);
        assert_eq!(
            lines,
            [
                r#"{"op":"begin","tx":"send"}"#,
                r#"{"tx":"send","a":1}"#,
                "{}",
                "nonsense",
                r#"{"op":"commit","tx":"send"}"#
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_not_committed() {
        struct Broken;

        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::Other.into())
            }
        }
        let lines = io::BufReader::new(b"{\"a\":1}\n".chain(Broken));
        let (mut text, mut requests) = (Vec::new(), Requests::new(lines, Together::Transaction));
        assert!(requests.read_to_end(&mut text).is_err());
        assert!(!String::from_utf8_lossy(&text).contains("commit"));
    }
}
