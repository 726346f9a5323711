//! `forward`: delivers what is in the stream, from its configuration to its exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::common::{exit, fail, runtime, start_log};
use super::flags::{StreamFlags, running_local, typed};
use crate::config::{Flag, Inputs, Problems, kcl_presets, resolve_to_serve};
use crate::programs::forward::{Ended, Forwarder, Plan, StartError};
use crate::programs::manager::ServiceManager;
use crate::programs::signals::Signals;

#[derive(Debug, Args)]
#[command(
    after_help = "Any number of targets stand in the file, as [[forward.target]]; these flags are \
                  for one. KINESIS_ENDPOINT, STREAM_NAME, LISTENER_ENDPOINT and \
                  LISTENER_AUTH_TOKEN alone are enough, too.\n\nExit codes: 0: it was stopped, \
                  and what is done is kept; 1: the start failed, or the stream cannot be read; \
                  64: the configuration does not hold; 70: a defect; 75: the time was up before \
                  every request was answered and every checkpoint kept, and records will be sent \
                  again."
)]
pub(super) struct Forward {
    #[command(flatten)]
    flags: StreamFlags,
    #[command(flatten)]
    target: TargetFlags,
    /// Take what the KCL's own file says (executableName, streamName and others) where nothing else
    /// does
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// Where checkpoints are kept: file:DIRECTORY or none (forward.checkpoint)
    #[arg(long, value_name = "PLACE")]
    checkpoint: Option<String>,
    /// Where metrics and probes are served, or "off" (admin.listen)
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Where `dispatchd admin --forward` asks, or "off" (admin.socket)
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<String>,
}

/// The keys of one target.
#[derive(Debug, Args)]
struct TargetFlags {
    /// Where records are sent (url)
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Instead of a URL: a program that is told of records by the KCL's protocol (exec)
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// With --exec: how long the program may take to answer, e.g. 10m (exec_timeout)
    #[arg(long, value_name = "DURATION")]
    exec_timeout: Option<String>,
    /// With --exec: how long the program may take to stop, e.g. 10s (exec_grace)
    #[arg(long, value_name = "DURATION")]
    exec_grace: Option<String>,
    /// With --exec: tell the program of pages without records (exec_empty)
    #[arg(long)]
    exec_empty: bool,
    /// record, lambda, event, cloudevents or batch (format)
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// What the target is called (name)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The file that holds what is sent as Authorization (token_file)
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// The variable that holds it (token_env)
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// Certificates (PEM) that the target's may be signed by (ca_file)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Only events of these types, e.g. a,b (type)
    #[arg(long = "type", value_name = "TYPES")]
    types: Option<String>,
    /// Only events that this pattern takes; of several, any will do (filter)
    #[arg(long, value_name = "PATTERN")]
    filter: Vec<String>,
    /// The same for the record, as Lambda's filters see it (filter_record)
    #[arg(long, value_name = "PATTERN")]
    filter_record: Vec<String>,
    /// Whether the events of a packed record are sent apart: auto, whole or apart (aggregates)
    #[arg(long, value_name = "HOW")]
    aggregates: Option<String>,
    /// latest, trim-horizon or at=TIME, where no checkpoint is kept (from)
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    /// Records of a request (batch_size)
    #[arg(long, value_name = "N")]
    batch_size: Option<String>,
    /// How long a request that is not full waits for more, e.g. 5s (batch_window)
    #[arg(long, value_name = "DURATION")]
    batch_window: Option<String>,
    /// Bytes of a request, e.g. 1MiB (batch_bytes)
    #[arg(long, value_name = "SIZE")]
    batch_bytes: Option<String>,
    /// Into how many parts a shard is split by key (parallelization)
    #[arg(long, value_name = "N")]
    parallelization: Option<String>,
    /// Halve a request that failed, to find the record that it failed for (bisect)
    #[arg(long)]
    bisect: bool,
    /// block or dead-letter (on_failure)
    #[arg(long, value_name = "WHAT")]
    on_failure: Option<String>,
    /// Where records that are given up are kept: file:PATH or stream:NAME (dead_letter)
    #[arg(long, value_name = "PLACE")]
    dead_letter: Option<String>,
    /// How often a request that failed is sent again (max_retries)
    #[arg(long, value_name = "N")]
    max_retries: Option<String>,
    /// How old a record may be that is still sent, e.g. 24h (max_age)
    #[arg(long, value_name = "DURATION")]
    max_age: Option<String>,
    /// How long connecting may take (connect_timeout)
    #[arg(long, value_name = "DURATION")]
    connect_timeout: Option<String>,
    /// Requests in flight at once, of all shards together (max_in_flight)
    #[arg(long, value_name = "N")]
    max_in_flight: Option<String>,
    /// With --format lambda: what is sent as invokeIdentityArn (role_arn)
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// How long one request may take (timeout)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// auto, record or monotonic (sequence)
    #[arg(long, value_name = "WHICH")]
    sequence: Option<String>,
}

impl TargetFlags {
    /// The flags that were typed, as keys of the file's first target.
    fn typed(&self) -> Vec<Flag> {
        let [bisect, exec_empty] =
            [self.bisect, self.exec_empty].map(|is_set| is_set.then(|| "true".to_owned()));
        let (filter, filter_record) = (list(&self.filter), list(&self.filter_record));
        let named = [
            ("exec", "--exec", &self.exec),
            ("exec_timeout", "--exec-timeout", &self.exec_timeout),
            ("exec_grace", "--exec-grace", &self.exec_grace),
            ("exec_empty", "--exec-empty", &exec_empty),
            ("type", "--type", &self.types),
            ("filter", "--filter", &filter),
            ("filter_record", "--filter-record", &filter_record),
            ("name", "--name", &self.name),
            ("url", "--to", &self.to),
            ("format", "--format", &self.format),
            ("token_file", "--token-file", &self.token_file),
            ("token_env", "--token-env", &self.token_env),
            ("ca_file", "--ca-file", &self.ca_file),
            ("aggregates", "--aggregates", &self.aggregates),
            ("from", "--from", &self.from),
            ("batch_size", "--batch-size", &self.batch_size),
            ("batch_window", "--batch-window", &self.batch_window),
            ("batch_bytes", "--batch-bytes", &self.batch_bytes),
            ("parallelization", "--parallelization", &self.parallelization),
            ("bisect", "--bisect", &bisect),
            ("on_failure", "--on-failure", &self.on_failure),
            ("dead_letter", "--dead-letter", &self.dead_letter),
            ("max_retries", "--max-retries", &self.max_retries),
            ("max_age", "--max-age", &self.max_age),
            ("connect_timeout", "--connect-timeout", &self.connect_timeout),
            ("max_in_flight", "--max-in-flight", &self.max_in_flight),
            ("role_arn", "--role-arn", &self.role_arn),
            ("timeout", "--timeout", &self.timeout),
            ("sequence", "--sequence", &self.sequence),
        ];
        let of_target =
            |flag: Flag| Flag { key: format!("forward.target[1].{}", flag.key), ..flag };
        typed(named).map(of_target).collect()
    }
}

/// Texts as the file would have them; `None` if there are none.
fn list(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| serde_json::to_string(texts).expect("texts are JSON"))
}

impl Forward {
    pub(super) fn main(self) -> ExitCode {
        let (inputs, notes) = match self.inputs() {
            Ok(inputs) => inputs,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let (plan, runtime) = match prepare(inputs) {
            Ok(prepared) => prepared,
            Err(code) => return code,
        };
        notes.iter().for_each(|note| tracing::info!("{note}"));
        let served = runtime.block_on(serve(plan));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        served.unwrap_or_else(|error| {
            let is_usage = matches!(error, StartError::Connect(_));
            fail(&error, if is_usage { exit::USAGE } else { exit::FAILED })
        })
    }

    /// The inputs, and what is to be told of them once there is a log.
    fn inputs(&self) -> Result<(Inputs, Vec<String>), Problems> {
        let own = typed([
            ("forward.checkpoint", "--checkpoint", &self.checkpoint),
            ("admin.listen", "--admin-listen", &self.admin_listen),
            ("admin.socket", "--admin-socket", &self.admin_socket),
        ]);
        let own: Vec<Flag> = own.chain(self.target.typed()).collect();
        let mut inputs = self.flags.inputs(own).for_forward();
        let Some(path) = &self.properties else { return Ok((inputs, Vec::new())) };
        let (presets, notes) = kcl_presets(path)?;
        inputs.kcl = Some((path.clone(), presets));
        let shown = path.display();
        Ok((inputs, notes.into_iter().map(|note| format!("{shown}: {note}")).collect()))
    }
}

/// Resolves the configuration, starts the log and makes the runtime. An error is the exit code of
/// what was told already.
fn prepare(inputs: Inputs) -> Result<(Plan, tokio::runtime::Runtime), ExitCode> {
    let resolved = resolve_to_serve(&inputs).map_err(|problems| fail(problems, exit::USAGE))?;
    let log = start_log(&resolved.config.log)?;
    let runtime =
        runtime(resolved.config.runtime.threads).map_err(|error| fail(error, exit::FAILED))?;
    let local_url = running_local(&resolved.config)
        .map_err(|error| fail(format_args!("{error:#}"), exit::USAGE))?;
    let manager = ServiceManager::of_environment().map_err(|error| {
        let told = format_args!("NOTIFY_SOCKET names no socket that can be told: {error}");
        fail(told, exit::FAILED)
    })?;
    let emulator = resolved.names_an_emulator();
    Ok((Plan { inputs, resolved, local_url, emulator, log, manager }, runtime))
}

async fn serve(plan: Plan) -> Result<ExitCode, StartError> {
    // Before anything else, so that a signal during the start ends it in order.
    let mut signals = Signals::listen()?;
    let forwarder = tokio::select! {
        biased;
        _ = signals.stop.recv() => {
            tracing::info!("stopped before the start was done: nothing was delivered");
            return Ok(ExitCode::SUCCESS);
        }
        built = Forwarder::build(plan) => built?,
    };
    Ok(code_of(forwarder.run(signals).await?).into())
}

fn code_of(ended: Ended) -> u8 {
    match ended {
        Ended { task_died: true, .. } => exit::DEFECT,
        Ended { failed: true, .. } => exit::FAILED,
        Ended { cut_short: true, .. } => exit::UNCONFIRMED,
        Ended { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::config::TARGET_KEYS;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        target: TargetFlags,
    }

    #[test]
    fn every_key_of_a_target_has_a_flag_of_its_name() {
        const SWITCHES: [&str; 2] = ["bisect", "exec_empty"];
        let flag = |name: &str| match name {
            "url" => "--to".to_owned(),
            name => format!("--{}", name.replace('_', "-")),
        };
        let typed = TARGET_KEYS.iter().flat_map(|key| {
            let value = (!SWITCHES.contains(&key.name)).then(|| "1".to_owned());
            [Some(flag(key.name)), value].into_iter().flatten()
        });
        let parsed = Command::parse_from(["forward".to_owned()].into_iter().chain(typed));
        let set: BTreeSet<String> = parsed.target.typed().into_iter().map(|it| it.key).collect();
        let all = TARGET_KEYS.iter().map(|key| format!("forward.target[1].{}", key.name));
        assert_eq!(set, all.collect());
    }
}
