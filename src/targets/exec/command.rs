//! The command that children are started with: words between spaces, as the KCL reads it. No shell,
//! no quotes.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum CommandError {
    #[error("is empty")]
    Empty,
    #[error("{0} is not found in PATH")]
    NotFound(String),
    #[error("{0} cannot be executed: {1}")]
    NotExecutable(String, String),
}

impl CommandLine {
    /// # Errors
    /// If there is no word.
    pub(crate) fn parse(text: &str) -> Result<Self, CommandError> {
        let mut words = text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        let program = words.next().ok_or(CommandError::Empty)?;
        Ok(Self { program, arguments: words.collect() })
    }

    /// Looks whether the program is there, before a child is to be started for every shard.
    ///
    /// # Errors
    /// If it is not, or may not be executed.
    pub(crate) fn find(&self) -> Result<PathBuf, CommandError> {
        let program = Path::new(&self.program);
        if self.program.contains('/') {
            return match executable(program) {
                Ok(()) => Ok(program.to_owned()),
                Err(error) => {
                    Err(CommandError::NotExecutable(self.program.clone(), error.to_string()))
                }
            };
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|candidate| candidate.is_file() && executable(candidate).is_ok())
            .ok_or_else(|| CommandError::NotFound(self.program.clone()))
    }
}

fn executable(path: &Path) -> io::Result<()> {
    Ok(access(path, Access::EXEC_OK)?)
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_words_between_spaces() {
        let command = CommandLine::parse(" python3  -u app.py 'two words' ").expect("it has words");
        assert_eq!(command.program, "python3");
        assert_eq!(command.arguments, ["-u", "app.py", "'two", "words'"]);
        assert_eq!(command.to_string(), "python3 -u app.py 'two words'");
        assert_eq!(CommandLine::parse("  "), Err(CommandError::Empty));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let find = |text| CommandLine::parse(text).expect("it has a word").find();
        assert!(find("sh -c x").is_ok_and(|path| path.ends_with("sh")));
        assert!(find("/bin/sh").is_ok());
        let missing = find("no-such-program --flag").map_err(|error| error.to_string());
        assert_eq!(missing, Err("no-such-program is not found in PATH".to_owned()));
        let folder = find("/no/such/program").map_err(|error| error.to_string());
        assert!(folder.is_err_and(|text| text.starts_with("/no/such/program cannot be executed")));
    }
}
