//! The answer to `GET /status` of a forwarder: how its targets and their shards stand, in the words
//! of `wire::admin`. It asks nobody: the shards' tasks write a board.

use std::time::{Instant, SystemTime};

use dispatchd_aws::CredentialsCache;
use dispatchd_consumer::delivery::{Checkpoint, Failure, Standing};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::wire::admin as wire;
use tokio::sync::watch;

use super::status::{LiveSettings, Start, credentials, identity, rfc3339, seconds, thousandths};
use crate::http_server::probes::State;
use crate::targets::board::{Board, ShardShown};
use crate::targets::settings::Target;

/// Everything that is shown of a forwarder, but for its state and its settings.
#[derive(Debug)]
pub(crate) struct ForwardShown {
    /// The stream's name or ARN, as configured.
    pub stream: String,
    pub endpoint: String,
    pub region: String,
    pub credentials: CredentialsCache,
    /// The targets that are wanted now.
    pub targets: watch::Receiver<Vec<Target>>,
    pub board: Board,
}

impl ForwardShown {
    /// A running forwarder at this moment.
    pub(super) fn status(
        &self,
        start: Start,
        state: State,
        live: &watch::Receiver<LiveSettings>,
    ) -> wire::ForwardStatus {
        let live = live.borrow();
        wire::ForwardStatus {
            state: state.as_str().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: rfc3339(start.wall),
            uptime_seconds: start.monotonic.elapsed().as_secs(),
            stream: self.stream.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            targets: self.targets.borrow().iter().map(|target| self.target(target)).collect(),
            identity: self.credentials.info().map(identity),
            credentials: self.credentials.expiry().get().map(credentials),
            log: live.log(),
            last_reload: live.last_reload.clone(),
        }
    }

    fn target(&self, settings: &Target) -> wire::Target {
        let (wall, now) = (SystemTime::now(), Instant::now());
        let shards = self.board.target(&settings.name).shards();
        let behind = shards.iter().map(|(_, shown)| shown.behind_seconds(wall));
        let worst = shards.iter().map(|(_, shown)| shown.standing).max_by_key(rank);
        wire::Target {
            name: settings.name.clone(),
            to: match (&settings.url, &settings.exec) {
                (Some(url), _) => url.clone(),
                (None, Some(command)) => command.to_string(),
                (None, None) => String::new(),
            },
            format: match &settings.exec {
                Some(_) => "exec".into(),
                None => settings.format.name().into(),
            },
            state: worst.map_or("starting", word).into(),
            batch_size: settings.batch_records(),
            behind_seconds: thousandths(behind.fold(0.0, f64::max)),
            shards: shards.iter().map(|(id, shown)| shard(id, shown, wall, now)).collect(),
        }
    }
}

fn shard(id: &str, shown: &ShardShown, wall: SystemTime, now: Instant) -> wire::TargetShard {
    let since = |time: Instant| seconds(now.saturating_duration_since(time));
    wire::TargetShard {
        id: id.to_owned(),
        state: word(shown.standing).into(),
        last_result: shown.failing.as_ref().map_or("OK".into(), |(_, failure)| result(failure)),
        failing_seconds: shown.failing.as_ref().map(|(time, _)| since(*time)),
        checkpoint: shown.checkpoint.as_ref().map(place),
        checkpoint_age_seconds: shown.kept_at.map(since),
        behind_seconds: thousandths(shown.behind_seconds(wall)),
        in_flight: shown.in_flight,
    }
}

fn rank(standing: &Standing) -> u8 {
    match standing {
        Standing::Delivering => 0,
        Standing::Retrying(_) => 1,
        Standing::Blocked(_) => 2,
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Delivering => "delivering",
        Standing::Retrying(_) => "retrying",
        Standing::Blocked(_) => "blocked",
    }
}

fn result(failure: &Failure) -> String {
    match failure.status {
        Some(status) => format!("{status}: {}", failure.reason),
        None => failure.reason.clone(),
    }
}

fn place(checkpoint: &Checkpoint) -> String {
    match checkpoint {
        Checkpoint::From(time) => format!("from {}", Timestamp::from(*time).as_str()),
        Checkpoint::After(place) => match place.sub_sequence_number {
            None => place.sequence_number.clone(),
            Some(index) => format!("{} event {index}", place.sequence_number),
        },
        Checkpoint::End => "end".to_owned(),
    }
}
