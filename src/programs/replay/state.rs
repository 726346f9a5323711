//! What was confirmed of a replay, in a file, so that the next run leaves it out.
//!
//! NDJSON: a line that says what is replayed where, a line for each file that was read, and then
//! one line after the other that says what is confirmed; the last whole one holds. A line is
//! written and synced before the program goes on, so the file is right after a crash; half a line
//! at its end is cut off.
//!
//! Events are named by their numbers in the index. They mean the same events as long as files and
//! selection are the same, which is why both stand here, and anything else is refused by name.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dispatchd_core::limits::MIB;
use dispatchd_core::model::envelope::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::index::Source;
use super::{Index, Selection};

const MODE: u32 = 0o600;
const VERSION: u32 = 1;

/// Bytes of a line. What is confirmed has gaps for what is in flight alone: 400 KB of them at most.
/// The file may have a line for each second of days, of which one at a time is held.
const LINE_BYTES_MAX: usize = 16 * MIB;

/// The stream that is replayed to. Streams of one name in two regions or two accounts are two, and
/// so are an emulator's, and one that was deleted and made again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To<'a> {
    pub stream: &'a str,
    pub endpoint: &'a str,
    /// Its ARN, which has the account; `None` if the service does not tell.
    pub arn: Option<&'a str>,
    /// When it was made; `None` if the service does not tell.
    pub made: Option<SystemTime>,
}

/// The numbers that are confirmed, as ranges: where each begins, and the first number after it. No
/// two of them touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Confirmed(BTreeMap<u64, u64>);

/// The file, and what it says.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    /// Locked for as long as this lives.
    file: File,
    pub(super) confirmed: Confirmed,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot use the state file {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("another replay uses the state file {}", path.display())]
    Locked { path: PathBuf },
    #[error("{} is no state file of `dispatchd replay`: {why}", path.display())]
    NoState { path: PathBuf, why: String },
    #[error(
        "the state file {} is of another replay: its {what} was {was}, and is {is} now. Take \
         another --state FILE for another replay",
        path.display()
    )]
    Other { path: PathBuf, what: &'static str, was: String, is: String },
    #[error(
        "{} {how} since the state file {} was written, so nobody can say which events are confirmed: \
         give the files as they were, or take another --state FILE",
        input.display(), path.display()
    )]
    Changed { input: PathBuf, how: &'static str, path: PathBuf },
}

/// The first line.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Head {
    replay: u32,
    stream: String,
    endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<String>,
    selection: String,
    events: u64,
    files: usize,
}

/// A line for a file.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Input {
    path: PathBuf,
    bytes: u64,
    md5: String,
}

/// A line for what is confirmed.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    confirmed: Vec<(u64, u64)>,
}

impl Confirmed {
    /// Takes note of a number. It comes once.
    pub(super) fn insert(&mut self, number: u64) {
        let (mut begin, mut end) = (number, number + 1);
        if let Some((before, before_end)) = self.0.range(..=number).next_back()
            && *before_end >= number
        {
            (begin, end) = (*before, end.max(*before_end));
        }
        if let Some(after_end) = self.0.remove(&end) {
            end = after_end;
        }
        self.0.insert(begin, end);
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(begin, end)| end - begin).sum()
    }
}

impl State {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// If it cannot be used, or is of another replay, or an input was changed since.
    pub(crate) fn open(
        path: &Path,
        to: To<'_>,
        index: &Index,
        selection: &Selection,
    ) -> Result<Self, StateError> {
        let failed = |error| StateError::Io { path: path.to_owned(), error };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(MODE);
        let mut file = options.open(path).map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateError::Locked { path: path.to_owned() })?;
        let head = Head {
            replay: VERSION,
            stream: to.stream.to_owned(),
            endpoint: to.endpoint.to_owned(),
            arn: to.arn.map(str::to_owned),
            made: to.made.map(|time| Timestamp::from(time).as_str().to_owned()),
            selection: selection.in_words(),
            events: index.len() as u64,
            files: index.files_count(),
        };
        let confirmed = if file.metadata().map_err(failed)?.len() == 0 {
            begin(&mut file, &head, index).and_then(|()| sync_folder(path)).map_err(failed)?;
            Confirmed::default()
        } else {
            let mut reading =
                Reading { path, reader: BufReader::new(&file), text: Vec::new(), whole: 0 };
            let confirmed = reading.read(&head, index)?;
            let whole = reading.whole;
            file.set_len(whole).map_err(failed)?; // the half of a line that a crash left
            confirmed
        };
        Ok(Self { path: path.to_owned(), file, confirmed })
    }

    /// How many events are confirmed.
    pub(crate) fn confirmed_count(&self) -> u64 {
        self.confirmed.count()
    }

    /// Writes down what is confirmed, and syncs it.
    pub(super) fn save(&mut self, confirmed: &Confirmed) -> Result<(), StateError> {
        let line = Line { confirmed: confirmed.0.iter().map(|(a, b)| (*a, *b)).collect() };
        let written = write_line(&mut self.file, &line).and_then(|()| self.file.sync_data());
        written.map_err(|error| StateError::Io { path: self.path.clone(), error })
    }
}

/// Writes what is replayed where. Until the last of it is there, the file says nothing.
fn begin(file: &mut File, head: &Head, index: &Index) -> io::Result<()> {
    let mut text = Vec::new();
    write_line(&mut text, head)?;
    for source in &index.files {
        write_line(&mut text, &Input::of(source))?;
    }
    write_line(&mut text, &Line { confirmed: Vec::new() })?;
    file.write_all(&text)?;
    file.sync_all()
}

/// A file that was made is there after a crash once its folder is on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

impl Input {
    fn of(source: &Source) -> Self {
        let md5 = source.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path: source.path.clone(), bytes: source.bytes, md5 }
    }
}

/// A state file that is read, line after line.
struct Reading<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    /// The last line.
    text: Vec<u8>,
    /// Bytes of the lines that are whole.
    whole: u64,
}

impl Reading<'_> {
    fn read(&mut self, head: &Head, index: &Index) -> Result<Confirmed, StateError> {
        let was: Head = self.line()?;
        if was.replay != VERSION {
            return Err(self.no_state(format!("it has version {}", was.replay)));
        }
        self.same("stream", &was.stream, &head.stream)?;
        self.same("endpoint", &was.endpoint, &head.endpoint)?;
        self.same_if_told("ARN", was.arn.as_deref(), head.arn.as_deref())?;
        self.same_if_told("stream's time of creation", was.made.as_deref(), head.made.as_deref())?;
        self.same("selection", &was.selection, &head.selection)?;
        let mut files = index.files.iter();
        for _ in 0..was.files {
            let input: Input = self.line()?;
            let next = files.next();
            if next.is_some_and(|source| Input::of(source) == input) {
                continue;
            }
            let is_there = index.files.iter().any(|source| source.path == input.path);
            let (input, how) = match next {
                Some(source) if source.path == input.path => (input.path, "was changed"),
                Some(source) if is_there => (source.path.clone(), "was added"),
                _ => (input.path, "is gone"),
            };
            return Err(self.changed(input, how));
        }
        if let Some(source) = files.next() {
            return Err(self.changed(source.path.clone(), "was added"));
        }
        let mut last: Line = self.line()?;
        while self.next()? {
            last = self.parsed()?;
        }
        let ranges = last.confirmed.iter();
        if ranges.clone().any(|(_, end)| *end > head.events) {
            return Err(self.no_state("it confirms events that there are not"));
        }
        if !last.confirmed.is_sorted_by(|a, b| a.1 < b.0) || ranges.clone().any(|(a, b)| a >= b) {
            return Err(self.no_state("its ranges are in no order"));
        }
        Ok(Confirmed(ranges.copied().collect()))
    }

    /// Reads the next line; says no at the end, or where a crash left half a line.
    fn next(&mut self) -> Result<bool, StateError> {
        self.text.clear();
        let read =
            self.reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.text);
        let read = read.map_err(|error| StateError::Io { path: self.path.to_owned(), error })?;
        if self.text.last() == Some(&b'\n') {
            self.whole += read as u64;
            return Ok(true);
        }
        self.text.clear();
        if read < LINE_BYTES_MAX { Ok(false) } else { Err(self.no_state("a line is too long")) }
    }

    fn line<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, StateError> {
        self.next()?;
        self.parsed()
    }

    fn parsed<T: for<'de> Deserialize<'de>>(&self) -> Result<T, StateError> {
        serde_json::from_slice(&self.text).map_err(|error| self.no_state(error))
    }

    fn same(&self, what: &'static str, was: &str, is: &str) -> Result<(), StateError> {
        if was == is {
            return Ok(());
        }
        let (was, is) = (was.to_owned(), is.to_owned());
        Err(StateError::Other { path: self.path.to_owned(), what, was, is })
    }

    /// The same of what the service may not have told, then or now.
    fn same_if_told(
        &self,
        what: &'static str,
        was: Option<&str>,
        is: Option<&str>,
    ) -> Result<(), StateError> {
        was.zip(is).map_or(Ok(()), |(was, is)| self.same(what, was, is))
    }

    fn no_state(&self, why: impl ToString) -> StateError {
        StateError::NoState { path: self.path.to_owned(), why: why.to_string() }
    }

    fn changed(&self, input: PathBuf, how: &'static str) -> StateError {
        StateError::Changed { input, how, path: self.path.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use dispatchd_consumer::filter::Filter;
    use proptest::prelude::*;

    const ONE: To<'_> = To {
        stream: "s",
        endpoint: "https://one",
        arn: Some("arn:aws:kinesis:eu-west-1:1:stream/s"),
        made: Some(SystemTime::UNIX_EPOCH),
    };

    /// A folder with two files, and a state file beside it.
    struct Scene {
        folder: tempfile::TempDir,
        state_name: &'static str,
        selection: Selection,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(folder.path().join("in")).expect("it is made");
            let selection =
                Selection { from: None, to: None, filter: Filter::default(), wanted: Vec::new() };
            let scene = Self { folder, state_name: "state", selection };
            scene.write("a", "{\"type\":\"a\"}\n");
            scene.write("b", "{\"type\":\"b\"}\n");
            scene
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join("in").join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.file(name), text).expect("it is written");
        }

        fn state(&self) -> PathBuf {
            self.folder.path().join(self.state_name)
        }

        fn open(&self, stream: &str) -> Result<State, StateError> {
            self.open_to(To { stream, ..ONE })
        }

        fn open_to(&self, to: To<'_>) -> Result<State, StateError> {
            let inputs = [self.folder.path().join("in")];
            let index = Index::read(&inputs, &self.selection, Some(&self.state()));
            State::open(&self.state(), to, &index.expect("it is read"), &self.selection)
        }

        fn refusal(&self, stream: &str) -> String {
            self.open(stream).expect_err("it is another replay").to_string()
        }
    }

    fn confirmed(numbers: impl IntoIterator<Item = u64>) -> Confirmed {
        let mut confirmed = Confirmed::default();
        numbers.into_iter().for_each(|number| confirmed.insert(number));
        confirmed
    }

    #[test]
    fn what_was_saved_last_holds_and_half_a_line_of_a_crash_does_not() {
        let scene = Scene::new();
        let mut state = scene.open("s").expect("it is new");
        state.save(&confirmed([0])).expect("it is written");
        state.save(&confirmed([0, 1])).expect("it is written");
        let error = scene.refusal("s");
        assert!(error.contains("another replay uses"), "{error}");
        drop(state);
        let mut file = OpenOptions::new().append(true).open(scene.state()).expect("it is there");
        file.write_all(b"{\"confirmed\":[[0").expect("it is written");
        let mut state = scene.open("s").expect("it is the same replay");
        assert_eq!(state.confirmed, confirmed([0, 1]));
        state.save(&confirmed([1])).expect("it is written");
        drop(state);
        assert_eq!(scene.open("s").expect("it still is").confirmed, confirmed([1]));
    }

    #[test]
    fn another_replay_is_refused_and_says_what_is_other() {
        let mut scene = Scene::new();
        scene.open("s").expect("it is new");
        let error = scene.refusal("t");
        assert!(error.contains("its stream was s, and is t now"), "{error}");
        // What could go wrong: it was tried with an emulator first, and then sends nothing to AWS.
        let refusal = |to| scene.open_to(to).expect_err("it is another stream").to_string();
        let error = refusal(To { endpoint: "https://two", ..ONE });
        assert!(error.contains("its endpoint was https://one, and is https://two now"), "{error}");
        // Or it was tried in a test account, or the stream was emptied by being made again.
        let error = refusal(To { arn: Some("arn:aws:kinesis:eu-west-1:2:stream/s"), ..ONE });
        assert!(error.contains("eu-west-1:1:stream/s, and is arn:"), "{error}");
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let error = refusal(To { made: Some(later), ..ONE });
        assert!(error.contains("creation was 1970-01-01T00:00:00.000Z, and is 1970-"), "{error}");
        scene.open_to(To { arn: None, made: None, ..ONE }).expect("nobody says that it is another");
        scene.selection.wanted.push("a".to_owned());
        let error = scene.refusal("s");
        assert!(error.contains("its selection was"), "{error}");
    }

    #[test]
    fn an_input_that_was_changed_is_refused_by_its_name() {
        let scene = Scene::new();
        scene.open("s").expect("it is new");
        scene.write("b", "{\"type\":\"c\"}\n");
        assert!(scene.refusal("s").contains("in/b was changed"), "of the same length");
        scene.write("b", "{\"type\":\"b\"}\n");
        for (name, how) in
            [("0", "in/0 was added"), ("ab", "in/ab was added"), ("c", "in/c was added")]
        {
            scene.write(name, "{\"type\":\"b\"}\n");
            let error = scene.refusal("s");
            assert!(error.contains(how), "{error}");
            fs::remove_file(scene.file(name)).expect("it is there");
        }
        for name in ["b", "a"] {
            fs::remove_file(scene.file(name)).expect("it is there");
            let error = scene.refusal("s");
            assert!(error.contains(&format!("in/{name} is gone")), "{error}");
            scene.write(name, &format!("{{\"type\":\"{name}\"}}\n"));
        }
        scene.open("s").expect("everything is as it was");
    }

    #[test]
    fn events_that_there_are_not_cannot_be_confirmed() {
        // What could go wrong: what is left is counted as less than nothing.
        let scene = Scene::new();
        let mut state = scene.open("s").expect("it is new");
        state.save(&confirmed([0, 1])).expect("there are two");
        state.save(&confirmed([2])).expect("it is written");
        drop(state);
        assert!(scene.refusal("s").contains("events that there are not"));
    }

    #[test]
    fn a_state_file_among_the_inputs_is_none_of_them() {
        // What could go wrong: `replay . --state state` works once, and never goes on.
        let mut scene = Scene::new();
        scene.state_name = "in/state";
        scene.open("s").expect("it is new").save(&confirmed([1])).expect("it is written");
        assert_eq!(scene.open("s").expect("it goes on").confirmed, confirmed([1]));
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_left_as_it_is() {
        let scene = Scene::new();
        for text in ["hello\n", "{\"type\":\"t\"}\n", "half a line"] {
            fs::write(scene.state(), text).expect("it is written");
            let error = scene.refusal("s");
            assert!(error.contains("is no state file"), "{error}");
            assert_eq!(fs::read_to_string(scene.state()).expect("it is there"), text);
        }
    }

    proptest! {
        #[test]
        fn numbers_are_remembered_in_any_order(mut numbers in Just((0..40u64).collect::<Vec<_>>())
            .prop_shuffle(), count in 0..40usize)
        {
            numbers.truncate(count);
            let confirmed = confirmed(numbers.iter().copied());
            prop_assert_eq!(confirmed.count(), count as u64);
            for number in 0..41 {
                prop_assert_eq!(confirmed.contains(number), numbers.contains(&number));
            }
            let ranges: Vec<_> = confirmed.0.iter().collect();
            prop_assert!(ranges.is_sorted_by(|a, b| a.1 < b.0), "no two touch");
        }
    }
}
