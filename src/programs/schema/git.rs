//! A folder as it was at a revision of git: asked of the program `git`, which knows where it stands
//! in the repository.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use dispatchd_schema::bounds::{FILE_BYTES_MAX, FILES_MAX};
use dispatchd_schema::folder::{FileError, Folder, Part};

#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git cannot be run: {0}")]
    NotRun(std::io::Error),
    #[error("{revision} is no folder, and git knows no such revision of this one: {said}")]
    Refused { revision: String, said: String },
    #[error("at {revision}: {error}")]
    Name { revision: String, error: FileError },
    #[error("at {revision}: the folder has more than {FILES_MAX} files of types")]
    TooMany { revision: String },
    #[error("at {revision}: {file} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge { revision: String, file: String },
    #[error("git ended in the middle of an answer")]
    Torn,
}

/// A file as git lists it: the id of its text, and its name.
type Listed = (String, String);

/// Reads the files of a folder at a revision. A folder that was not there then has none.
pub(super) fn folder_at(folder: &Path, revision: &str) -> Result<Folder, GitError> {
    // The id first: nothing of what was typed is an option of a later command.
    let name = format!("{revision}^{{commit}}");
    let commit = said(folder, revision, &["rev-parse", "--verify", "--end-of-options", &name])?;
    let listed = said(folder, revision, &["ls-tree", "-z", commit.trim()])?;
    let mut files = Vec::new();
    for line in listed.split('\0').filter(|line| !line.is_empty()) {
        // MODE blob ID<tab>NAME
        let Some((about, name)) = line.split_once('\t') else { return Err(GitError::Torn) };
        let mut words = about.split(' ').skip(1);
        if words.next() == Some("blob") && Part::of(name).is_some() {
            files.push((words.next().ok_or(GitError::Torn)?.to_owned(), name.to_owned()));
        }
    }
    if files.len() > FILES_MAX {
        return Err(GitError::TooMany { revision: revision.to_owned() });
    }
    texts(folder, revision, &files)
}

/// What git says to a question.
fn said(folder: &Path, revision: &str, words: &[&str]) -> Result<String, GitError> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(words).stdin(Stdio::null());
    let output = git.output().map_err(GitError::NotRun)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(GitError::Refused { revision: revision.to_owned(), said })
}

/// The texts of files, all asked of one process.
fn texts(folder: &Path, revision: &str, files: &[Listed]) -> Result<Folder, GitError> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["cat-file", "--batch"]);
    let mut git =
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(GitError::NotRun)?;
    let mut questions = git.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(git.stdout.take().expect("it is piped"));
    let ids: String = files.iter().map(|(id, _)| format!("{id}\n")).collect();
    // In a thread: git stops reading while nobody takes its answers.
    let asked = thread::spawn(move || questions.write_all(ids.as_bytes()));
    let found = read_texts(&mut answers, revision, files);
    drop(answers);
    let is_asked = asked.join().is_ok_and(|written| written.is_ok());
    let is_done = git.wait().is_ok_and(|status| status.success());
    match found {
        Ok(_) if !(is_asked && is_done) => Err(GitError::Torn),
        found => found,
    }
}

fn read_texts(
    answers: &mut impl BufRead,
    revision: &str,
    files: &[Listed],
) -> Result<Folder, GitError> {
    let mut folder = Folder::default();
    for (_, file) in files {
        // ID blob SIZE<newline>TEXT<newline>
        let mut head = String::new();
        answers.read_line(&mut head).map_err(|_| GitError::Torn)?;
        let size = head.trim_end().rsplit(' ').next().and_then(|size| size.parse().ok());
        let size: usize = size.ok_or(GitError::Torn)?;
        if size > FILE_BYTES_MAX {
            let (revision, file) = (revision.to_owned(), file.clone());
            return Err(GitError::TooLarge { revision, file });
        }
        let mut text = vec![0; size + 1];
        answers.read_exact(&mut text).map_err(|_| GitError::Torn)?;
        text.truncate(size);
        folder
            .add(file, text)
            .map_err(|error| GitError::Name { revision: revision.to_owned(), error })?;
    }
    Ok(folder)
}
