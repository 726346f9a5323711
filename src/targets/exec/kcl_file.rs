//! The KCL's `.properties` file, as keys of ours: what an application that ran under the KCL was
//! configured by says the same here.
//!
//! What the KCL does with a key that has no meaning here is told, once, and changes nothing. A
//! value that the KCL would refuse is refused, with its key and line.

use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat};
use dispatchd_core::wire::properties::{self, PropertiesError, Property};

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KclFile {
    /// Keys of ours, with their values.
    pub presets: Vec<Preset>,
    /// What has no meaning here, in words for the log.
    pub notes: Vec<String>,
}

/// One key of ours, as if it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preset {
    pub key: &'static str,
    pub value: String,
    /// Where it was: the key of the file, and its line.
    pub from: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum KclFileError {
    #[error(transparent)]
    Syntax(#[from] PropertiesError),
    #[error("line {line}: {key} is {value:?}, expected {expected}")]
    Value { key: String, value: String, line: usize, expected: String },
}

/// Milliseconds between two reads, the least that the KCL takes: a shard gives five pages a second.
const IDLE_MS_MIN: u64 = 200;

/// Keys that an application may have and that mean nothing here, with what is so instead.
#[rustfmt::skip] // a table
const WITHOUT_MEANING: &[(&str, &str)] = &[
    ("tableName", "checkpoints are kept where forward.checkpoint says, not in DynamoDB"),
    ("dynamoDBEndpoint", "checkpoints are kept where forward.checkpoint says, not in DynamoDB"),
    ("billingMode", "there is no table"),
    ("failoverTimeMillis", "there are no leases: one process reads all shards"),
    ("maxLeasesForWorker", "there are no leases: one process reads all shards"),
    ("maxLeasesToStealAtOneTime", "there are no leases: one process reads all shards"),
    ("workerId", "there are no leases: one process reads all shards"),
    ("parentShardPollIntervalMillis", "the shards after a shard begin as soon as its end is set"),
    ("cleanupLeasesUponShardCompletion", "there are no leases to clean up"),
    ("taskBackoffTimeMillis", "waits after failures grow by themselves"),
    ("processingLanguage", "it is part of the KCL's user agent"),
    ("maxActiveThreads", "there is no pool of threads to bound"),
    ("maxGetRecordsThreadPool", "there is no pool of threads to bound"),
];

impl KclFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that is none, or whose value cannot be meant.
    pub(crate) fn read(file: &[u8]) -> Result<Self, KclFileError> {
        let mut read = Self::default();
        let properties = properties::read(file)?;
        for property in &properties {
            read.property(property)?;
        }
        if let Some(property) = properties.iter().find(|property| is_at_a_time(property))
            && !read.presets.iter().any(|preset| preset.value.starts_with("at="))
        {
            return Err(refused(property, "a time beside it, initialPositionInStreamExtended"));
        }
        // As in the KCL: the ARN wins over the name, and a time over the position.
        read.yields("stream.name", "stream.arn");
        read.time_wins("forward.target[1].from");
        Ok(read)
    }

    fn property(&mut self, property: &Property) -> Result<(), KclFileError> {
        let value = property.value.trim();
        match &*property.key {
            "executableName" => self.preset(property, "forward.target[1].exec", value),
            "applicationName" => self.preset(property, "forward.target[1].name", value),
            "streamName" => self.preset(property, "stream.name", value),
            "streamArn" => self.preset(property, "stream.arn", value),
            "regionName" => self.preset(property, "stream.region", value),
            "kinesisEndpoint" => self.preset(property, "stream.endpoint_url", value),
            "initialPositionInStream" => self.position(property)?,
            "initialPositionInStreamExtended" => {
                let time = time(property)?;
                self.preset(property, "forward.target[1].from", &format!("at={time}"));
            }
            "maxRecords" => {
                let count = number(property, 1..=10_000)?;
                self.preset(property, "forward.target[1].batch_size", &count.to_string());
            }
            "idleTimeBetweenReadsInMillis" => {
                let ms = number(property, 0..=u64::from(u32::MAX))?.max(IDLE_MS_MIN);
                self.preset(property, "forward.poll", &format!("{ms}ms"));
            }
            "callProcessRecordsEvenForEmptyRecordList" => {
                let switch = switch(property)?;
                self.preset(property, "forward.target[1].exec_empty", &switch.to_string());
            }
            "timeoutInSeconds" => {
                let seconds = number(property, 1..=u64::from(u32::MAX))?;
                self.preset(property, "forward.target[1].exec_timeout", &format!("{seconds}s"));
            }
            "shutdownGraceMillis" => match number(property, 0..=u64::from(u32::MAX))? {
                0 => self.note(property, "a child is asked to stop all the same, see exec_grace"),
                ms => self.preset(property, "forward.target[1].exec_grace", &format!("{ms}ms")),
            },
            "retrievalMode" => {
                if !value.eq_ignore_ascii_case("POLLING") {
                    self.note(property, "the stream is polled");
                }
            }
            key if key.to_ascii_lowercase().starts_with("awscredentialsprovider") => {
                // The one that is meant by the default chain needs no word.
                if !value.ends_with("DefaultCredentialsProvider")
                    && !value.ends_with("DefaultAWSCredentialsProviderChain")
                {
                    self.note(property, "credentials come from the default chain");
                }
            }
            key => match WITHOUT_MEANING.iter().find(|(known, _)| *known == key) {
                Some((_, why)) => self.note(property, why),
                None => self.note(property, "it has no meaning here"),
            },
        }
        Ok(())
    }

    fn position(&mut self, property: &Property) -> Result<(), KclFileError> {
        match &*property.value.trim().to_ascii_uppercase() {
            "LATEST" => self.preset(property, "forward.target[1].from", "latest"),
            "TRIM_HORIZON" => self.preset(property, "forward.target[1].from", "trim-horizon"),
            // The time is another key.
            "AT_TIMESTAMP" => {}
            _ => return Err(refused(property, "LATEST, TRIM_HORIZON or AT_TIMESTAMP")),
        }
        Ok(())
    }

    fn preset(&mut self, property: &Property, key: &'static str, value: &str) {
        let from = format!("{} on line {}", property.key, property.line);
        self.presets.push(Preset { key, value: value.to_owned(), from });
    }

    fn note(&mut self, property: &Property, why: &str) {
        self.notes.push(format!("{} on line {}: {why}", property.key, property.line));
    }

    fn yields(&mut self, key: &str, to: &str) {
        if self.presets.iter().any(|preset| preset.key == to) {
            self.presets.retain(|preset| preset.key != key);
        }
    }

    fn time_wins(&mut self, key: &str) {
        let time = |preset: &Preset| preset.key == key && preset.value.starts_with("at=");
        if self.presets.iter().any(time) {
            self.presets.retain(|preset| preset.key != key || time(preset));
        }
    }
}

/// Whether it says that another key has the time from which on is read.
fn is_at_a_time(property: &Property) -> bool {
    property.key == "initialPositionInStream"
        && property.value.trim().eq_ignore_ascii_case("AT_TIMESTAMP")
}

fn refused(property: &Property, expected: impl Into<String>) -> KclFileError {
    let Property { key, value, line } = property.clone();
    KclFileError::Value { key, value, line, expected: expected.into() }
}

fn number(property: &Property, range: RangeInclusive<u64>) -> Result<u64, KclFileError> {
    let read = property.value.trim().parse().ok().filter(|number| range.contains(number));
    read.ok_or_else(|| {
        refused(property, format!("a whole number from {} to {}", range.start(), range.end()))
    })
}

fn switch(property: &Property) -> Result<bool, KclFileError> {
    match &*property.value.trim().to_ascii_lowercase() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(refused(property, "true or false")),
    }
}

/// Seconds since 1970, as RFC 3339 has them.
fn time(property: &Property) -> Result<String, KclFileError> {
    let seconds: Option<i64> = property.value.trim().parse().ok();
    let time = seconds.filter(|seconds| *seconds >= 0);
    let time = time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let time = time.ok_or_else(|| refused(property, "seconds since 1970"))?;
    Ok(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presets(text: &str) -> Vec<(&'static str, String)> {
        let file = KclFile::read(text.as_bytes()).expect("it holds");
        file.presets.into_iter().map(|preset| (preset.key, preset.value)).collect()
    }

    fn refusal(text: &str) -> String {
        KclFile::read(text.as_bytes()).expect_err("it does not hold").to_string()
    }

    /// The sample of amazon_kclpy in its keys.
    const SAMPLE: &str = "# a comment\n\
        executableName = sample_kclpy_app.py\n\
        streamName = words\n\
        applicationName = PythonKCLSample\n\
        AwsCredentialsProvider = DefaultCredentialsProvider\n\
        processingLanguage = python/3.8\n\
        initialPositionInStream = TRIM_HORIZON\n\
        regionName = us-east-1\n\
        #failoverTimeMillis = 10000\n";

    #[test]
    fn the_keys_of_a_sample_are_keys_of_ours() {
        let file = KclFile::read(SAMPLE.as_bytes()).expect("it holds");
        let found: Vec<_> =
            file.presets.iter().map(|one| (one.key, &*one.value, &*one.from)).collect();
        assert_eq!(
            found,
            [
                ("forward.target[1].exec", "sample_kclpy_app.py", "executableName on line 2"),
                ("stream.name", "words", "streamName on line 3"),
                ("forward.target[1].name", "PythonKCLSample", "applicationName on line 4"),
                ("forward.target[1].from", "trim-horizon", "initialPositionInStream on line 7"),
                ("stream.region", "us-east-1", "regionName on line 8"),
            ]
        );
        assert_eq!(
            file.notes,
            ["processingLanguage on line 6: it is part of the KCL's user agent"]
        );
    }

    #[test]
    fn each_value_becomes_what_means_the_same_here() {
        for (line, key, value) in [
            ("initialPositionInStream=latest", "forward.target[1].from", "latest"),
            (
                "initialPositionInStreamExtended=1732650000",
                "forward.target[1].from",
                "at=2024-11-26T19:40:00Z",
            ),
            ("maxRecords=500", "forward.target[1].batch_size", "500"),
            ("idleTimeBetweenReadsInMillis=1000", "forward.poll", "1000ms"),
            ("idleTimeBetweenReadsInMillis=50", "forward.poll", "200ms"),
            ("timeoutInSeconds=60", "forward.target[1].exec_timeout", "60s"),
            ("shutdownGraceMillis=5000", "forward.target[1].exec_grace", "5000ms"),
            (
                "callProcessRecordsEvenForEmptyRecordList=TRUE",
                "forward.target[1].exec_empty",
                "true",
            ),
            (
                "kinesisEndpoint=http://127.0.0.1:4567",
                "stream.endpoint_url",
                "http://127.0.0.1:4567",
            ),
        ] {
            assert_eq!(presets(line), [(key, value.to_owned())], "{line}");
        }
        let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
        assert_eq!(
            presets(&format!("streamName=s\nstreamArn={arn}")),
            [("stream.arn", arn.to_owned())]
        );
        for position in ["LATEST", "at_timestamp"] {
            let both =
                format!("initialPositionInStreamExtended=0\ninitialPositionInStream={position}");
            assert_eq!(
                presets(&both),
                [("forward.target[1].from", "at=1970-01-01T00:00:00Z".to_owned())]
            );
        }
    }

    #[test]
    fn a_value_that_cannot_be_meant_is_told_with_its_key_and_line() {
        assert_eq!(
            refusal("streamName=s\nmaxRecords=many"),
            "line 2: maxRecords is \"many\", expected a whole number from 1 to 10000"
        );
        assert_eq!(
            refusal("initialPositionInStream=START"),
            "line 1: initialPositionInStream is \"START\", expected LATEST, TRIM_HORIZON or \
             AT_TIMESTAMP"
        );
        // What could go wrong: it is read from the tip, and what came before is skipped.
        assert_eq!(
            refusal("initialPositionInStream=AT_TIMESTAMP"),
            "line 1: initialPositionInStream is \"AT_TIMESTAMP\", expected a time beside it, \
             initialPositionInStreamExtended"
        );
        for line in [
            "maxRecords=10001",
            "maxRecords=0",
            "timeoutInSeconds=0",
            "shutdownGraceMillis=-1",
            "callProcessRecordsEvenForEmptyRecordList=yes",
            "initialPositionInStreamExtended=yesterday",
            "initialPositionInStreamExtended=99999999999999999",
            "idleTimeBetweenReadsInMillis=1.5",
            "x=\\u1",
        ] {
            assert!(refusal(line).starts_with("line 1: "), "{line}");
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_said_and_changes_nothing() {
        for line in [
            "workerId=me",
            "metricsLevel=NONE",
            "retrievalMode=FANOUT",
            "AwsCredentialsProvider=StsAssumeRoleCredentialsProvider",
            "shutdownGraceMillis=0",
            "noSuchKey=1",
        ] {
            let file = KclFile::read(line.as_bytes()).expect("it holds");
            assert_eq!((file.presets.len(), file.notes.len()), (0, 1), "{line}");
        }
        for line in
            ["retrievalMode=polling", "AWSCredentialsProvider=DefaultAWSCredentialsProviderChain"]
        {
            assert_eq!(KclFile::read(line.as_bytes()), Ok(KclFile::default()), "{line}");
        }
    }
}
