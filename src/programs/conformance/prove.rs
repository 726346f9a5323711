//! Plays the cases against a driver, some at a time, and hands over how each went.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::cases::Case;
use super::driver::{Driver, Introduction};
use super::happening::{HAPPENINGS_MAX, Happening};
use super::play::{CaseResult, PURPOSE, Play};
use crate::programs::private_directory::PrivateDirectory;

/// How long the driver may take to say its first line the first time: it may build itself.
const FIRST_START_WITHIN: Duration = Duration::from_secs(300);
/// Cases that are played at the same time: most of their time is waiting.
const AT_ONCE: usize = 4;
/// How one case went.
#[derive(Debug)]
pub(crate) struct Report {
    pub case: Case,
    pub promise: String,
    pub took: Duration,
    pub result: CaseResult,
}

/// Why there is no driver to be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the driver cannot be started: {0}")]
    Io(#[from] io::Error),
    #[error("the driver said no first line within {} s{told}", FIRST_START_WITHIN.as_secs())]
    Silent { told: String },
    #[error("the driver ended ({status}) before its first line{told}")]
    Ended { status: ExitStatus, told: String },
    #[error(
        "the driver's first line is {line:?}, and not {{\"driver\":NAME,\"version\":…,\"can\":[…]}}"
    )]
    Introduction { line: String },
}

/// Starts the driver once, alone, so that it has built what it needs, and hears what it is.
///
/// # Errors
/// If it says nothing, or something else.
pub(crate) async fn introduce(command: &str) -> Result<Introduction, StartError> {
    let (tell, mut happenings) = mpsc::channel(HAPPENINGS_MAX);
    let directory = PrivateDirectory::made(PURPOSE)?;
    let mut driver = Driver::start(command, &directory.socket(), tell)?;
    driver.end_commands();
    let told = |driver: &Driver| {
        driver.told().iter().map(|line| format!("\n  {line}")).collect::<String>()
    };
    match timeout(FIRST_START_WITHIN, happenings.recv()).await {
        Ok(Some(Happening::Said { line, .. })) => {
            let introduction = Introduction::read(&line);
            let _ = timeout(FIRST_START_WITHIN, happenings.recv()).await; // its end
            introduction.ok_or(StartError::Introduction { line })
        }
        Ok(Some(Happening::Ended(status))) => {
            Err(StartError::Ended { status, told: told(&driver) })
        }
        _ => Err(StartError::Silent { told: told(&driver) }),
    }
}

/// Plays the cases, some at a time, and hands each report over in their order. `within`: how long
/// one waits for what is to come.
///
/// # Errors
/// What `report` fails with; the rest is not played then.
pub(crate) async fn prove<E>(
    command: &str,
    introduction: &Introduction,
    cases: &[Case],
    within: Duration,
    mut report: impl FnMut(Report) -> Result<(), E>,
) -> Result<(), E> {
    let mut playing = JoinSet::new();
    let mut waiting = cases.iter().copied().enumerate();
    let mut done: Vec<Option<Report>> = cases.iter().map(|_| None).collect();
    let mut shown = 0;
    while shown < cases.len() {
        while playing.len() < AT_ONCE
            && let Some((at, case)) = waiting.next()
        {
            let (command, introduction) = (command.to_owned(), introduction.clone());
            playing
                .spawn(async move { (at, play_case(&command, &introduction, case, within).await) });
        }
        let (at, played) =
            playing.join_next().await.expect("a case is left").expect("no case panics");
        done[at] = Some(played);
        while let Some(next) = done.get_mut(shown).and_then(Option::take) {
            report(next)?;
            shown += 1;
        }
    }
    Ok(())
}

async fn play_case(
    command: &str,
    introduction: &Introduction,
    case: Case,
    within: Duration,
) -> Report {
    let began = Instant::now();
    let transcript = case.transcript();
    let promise = transcript.promise.clone();
    let report = |result| Report { case, promise, took: began.elapsed(), result };
    if let Some(needs) = transcript.needs.clone()
        && !introduction.can.contains(&needs)
    {
        return report(CaseResult::Skipped { needs });
    }
    report(Play::of(command, &transcript, within).await)
}
