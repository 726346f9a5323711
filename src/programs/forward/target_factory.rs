//! Builds targets from their settings, at the start and by a reload. A target whose settings stay
//! the same stays the same.
//!
//! It starts no delivery. It owns the books of checkpoints, which outlive a target's change of
//! settings, and the tasks that write them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dispatchd_aws::{Kinesis, SdkEnv};
use dispatchd_core::model::StreamId;
use dispatchd_core::model::stream_id::{StreamArn, is_stream_name};
use dispatchd_core::wire::forward::lambda::Mapping;
use dispatchd_pattern::PatternError;
use tokio::task::JoinSet;

use super::target::{Parts, Target, Way};
use crate::config::Config;
use crate::producer::direct;
use crate::progress::{Book, Keep, OpenError};
use crate::targets::board::Board;
use crate::targets::dead_letters::{
    self, DeadLetters, FileSettings, Handle, OpenError as OpenLettersError, Origin, StreamSettings,
};
use crate::targets::exec::{self, CommandError, ExecMetrics};
use crate::targets::http::{
    BadSetting, HttpTarget, Sequence as HttpSequence, Settings as HttpSettings, TokenFrom,
};
use crate::targets::metrics::TargetMetrics;
use crate::targets::settings::{DeadLetterKeep, Sequence, Target as Settings};
use crate::telemetry::exporter::Exporter;

/// How long numbers may have been sent after the last checkpoint was kept: one is kept within a
/// second of a record that is done, so this is ample.
const NUMBERED_AFTER_WRITING: Duration = Duration::from_secs(60);

/// What targets are built with.
#[derive(Debug)]
pub(super) struct TargetFactory {
    pub board: Board,
    exporter: Exporter,
    keep: Keep,
    stream: String,
    /// What records say of the stream in the format `lambda`.
    mapping: Mapping,
    sdk_env: SdkEnv,
    /// By the names of targets. A book stays open after its target is gone: it may come back.
    books: HashMap<String, Book>,
    /// What dead letters in another stream are written with.
    kinesis: Kinesis,
    lanes: direct::Settings,
    /// By their places.
    letters: HashMap<DeadLetterKeep, Handle>,
    writers: JoinSet<()>,
    built: Vec<Arc<Target>>,
}

/// Why a target cannot be built; it names the target.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the target {target}: {source}")]
    Target { target: String, source: BadSetting },
    #[error("the target {target}: {name} (token_env) is not set, or empty")]
    Variable { target: String, name: String },
    #[error("the target {target}: exec: {source}")]
    Command { target: String, source: CommandError },
    #[error("the target {target}: type: {source}")]
    Types { target: String, source: PatternError },
    #[error("the target {target}: dead_letter: {source}")]
    Letters { target: String, source: LettersError },
    #[error("the target {target}: {source}")]
    Checkpoints { target: String, source: OpenError },
}

/// Why there is no place for dead letters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LettersError {
    #[error(transparent)]
    Open(#[from] OpenLettersError),
    #[error(
        "expected stream:NAME or stream:ARN of another stream than the one that is read, in region \
         {region}"
    )]
    Stream { region: String },
}

impl TargetFactory {
    /// `stream_arn`: what records say in the format `lambda`.
    pub(super) fn new(
        config: &Config,
        kinesis: &Kinesis,
        stream_arn: String,
        exporter: Exporter,
    ) -> Self {
        Self {
            board: Board::default(),
            exporter,
            keep: config.forward.checkpoint.clone().unwrap_or(Keep::Nowhere),
            stream: config.stream.id.as_str().to_owned(),
            mapping: Mapping {
                stream_arn,
                region: kinesis.region().to_owned(),
                role_arn: String::new(),
            },
            sdk_env: config.sdk_env.clone(),
            kinesis: kinesis.clone(),
            lanes: direct::Settings::of(config),
            books: HashMap::new(),
            letters: HashMap::new(),
            writers: JoinSet::new(),
            built: Vec::new(),
        }
    }

    /// The targets of these settings. Those that were built from the same settings before are the
    /// same ones; nothing is changed if one cannot be built.
    ///
    /// # Errors
    /// The first target that cannot be built.
    pub(super) fn build(&mut self, settings: &[Settings]) -> Result<Vec<Arc<Target>>, BuildError> {
        let targets: Result<Vec<_>, _> =
            settings.iter().map(|settings| self.same_or_new(settings)).collect();
        let targets = targets?;
        self.built.clone_from(&targets);
        Ok(targets)
    }

    fn same_or_new(&mut self, settings: &Settings) -> Result<Arc<Target>, BuildError> {
        if let Some(same) = self.built.iter().find(|target| target.settings == *settings) {
            return Ok(Arc::clone(same));
        }
        let filter = settings
            .filter()
            .map_err(|source| BuildError::Types { target: settings.name.clone(), source })?;
        let book = self.book(&settings.name)?;
        let way = self.way(settings, &book)?;
        let metrics = self.exporter.register(|| TargetMetrics::register(&settings.name));
        let parts = Parts { board: &self.board, metrics, book, way, filter };
        Ok(Arc::new(Target::new(settings.clone(), parts)))
    }

    fn way(&mut self, settings: &Settings, book: &Book) -> Result<Way, BuildError> {
        let target = || settings.name.clone();
        if let Some(command) = &settings.exec {
            let found = command.find();
            found.map_err(|source| BuildError::Command { target: target(), source })?;
            let metrics = self.exporter.register(|| ExecMetrics::register(&settings.name));
            let settings = exec::Settings {
                target_name: target(),
                command: command.clone(),
                answer_timeout: settings.exec_timeout,
                stop_grace: settings.exec_grace,
                records_max: settings.batch_records(),
                tells_empty: settings.exec_empty,
            };
            return Ok(Way::Exec { settings: Arc::new(settings), metrics: Arc::new(metrics) });
        }
        let numbered_until = book.written().map(|time| time + NUMBERED_AFTER_WRITING);
        let mapping = Mapping {
            role_arn: settings.role_arn.clone().unwrap_or_default(),
            ..self.mapping.clone()
        };
        let http = http_target(settings, mapping, numbered_until, &self.sdk_env)?;
        let origin = Origin { target: target(), stream_arn: self.mapping.stream_arn.clone() };
        let handle = settings.dead_letter.as_ref().map(|keep| self.letters(keep)).transpose();
        let handle = handle.map_err(|source| BuildError::Letters { target: target(), source })?;
        Ok(Way::Http { http: Box::new(http), dead_letters: handle.map(|handle| (handle, origin)) })
    }

    /// The place of dead letters, which targets may share.
    fn letters(&mut self, keep: &DeadLetterKeep) -> Result<Handle, LettersError> {
        if let Some(handle) = self.letters.get(keep) {
            return Ok(handle.clone());
        }
        let settings = match keep {
            DeadLetterKeep::File(path) => {
                dead_letters::Settings::File(FileSettings::new(path.clone()))
            }
            DeadLetterKeep::Stream(stream) => {
                let kinesis = self.kinesis.of_stream(self.other_stream(stream)?);
                let lanes = self.lanes.clone();
                dead_letters::Settings::Stream(Box::new(StreamSettings { kinesis, lanes }))
            }
        };
        let (task, handle) = DeadLetters::open(settings)?;
        self.writers.spawn(task.run());
        self.letters.insert(keep.clone(), handle.clone());
        Ok(handle)
    }

    /// The stream of this name or ARN. In the stream that is read, letters would come round again;
    /// in another region, they would be written to a stream of the same name in this one.
    fn other_stream(&self, text: &str) -> Result<StreamId, LettersError> {
        let refused = || LettersError::Stream { region: self.kinesis.region().to_owned() };
        let (id, name) = match text.parse::<StreamArn>() {
            Ok(arn) if arn.region() == self.kinesis.region() => {
                (StreamId::Arn(text.to_owned()), arn.name().to_owned())
            }
            Err(_) if is_stream_name(text) => (StreamId::Name(text.to_owned()), text.to_owned()),
            _ => return Err(refused()),
        };
        let read = self.mapping.stream_arn.rsplit('/').next();
        if read == Some(&*name) { Err(refused()) } else { Ok(id) }
    }

    fn book(&mut self, name: &str) -> Result<Book, BuildError> {
        if let Some(book) = self.books.get(name) {
            return Ok(book.clone());
        }
        let (book, task) = Book::open(&self.keep, &self.stream, name)
            .map_err(|source| BuildError::Checkpoints { target: name.to_owned(), source })?;
        self.writers.spawn(task.run());
        self.books.insert(name.to_owned(), book.clone());
        Ok(book)
    }
}

/// A target of HTTP's, without a connection.
///
/// # Errors
/// Names the setting that cannot be used.
pub(crate) fn http_target(
    settings: &Settings,
    mapping: Mapping,
    numbered_until: Option<SystemTime>,
    sdk_env: &SdkEnv,
) -> Result<HttpTarget, BuildError> {
    let target = || settings.name.clone();
    let token = match (&settings.token_file, &settings.token_env) {
        (Some(file), _) => Some(TokenFrom::File(file.clone())),
        (None, Some(name)) => match std::env::var(name) {
            Ok(token) if !token.is_empty() => Some(TokenFrom::Text(token)),
            _ => return Err(BuildError::Variable { target: target(), name: name.clone() }),
        },
        (None, None) => None,
    };
    let http = HttpSettings {
        url: settings.url.clone().unwrap_or_default(),
        format: settings.format,
        sequence: match settings.sequence {
            Sequence::Monotonic => HttpSequence::Monotonic,
            Sequence::Record | Sequence::Auto => HttpSequence::Record,
        },
        numbered_until,
        token,
        ca_file: settings.ca_file.clone(),
        connect_timeout: settings.connect_timeout,
        timeout: settings.timeout.unwrap_or_else(|| settings.format.timeout_default()),
        in_flight_max: settings
            .max_in_flight
            .unwrap_or_else(|| settings.format.in_flight_default()),
        mapping,
    };
    let variable = |name: &str| sdk_env.get(name).map(str::to_owned);
    HttpTarget::new(http, variable)
        .map_err(|source| BuildError::Target { target: target(), source })
}
