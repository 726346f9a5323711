//! `local`: runs the embedded stream alone; and what a person is told who runs one.

use std::process::ExitCode;

use clap::Args;

use super::common::{exit, fail, runtime, start_log};
use super::flags::EmbeddedFlags;
use super::out::{self, Taken};
use crate::config::Config;
use crate::embedded_stream::{Limits, Local as EmbeddedStream};
use crate::programs::signals::stop_signal;
use dispatchd_core::model::StreamId;

/// The region that the embedded stream is in, as its ARNs say.
const REGION: &str = "us-east-1";

#[derive(Debug, Args)]
pub(super) struct Local {
    #[command(flatten)]
    flags: EmbeddedFlags,
}

impl Local {
    pub(super) fn main(self) -> ExitCode {
        let config = match self.flags.resolve() {
            Ok(resolved) => resolved.config,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let _log = match start_log(&config.log) {
            Ok(log) => log,
            Err(code) => return code,
        };
        let served = runtime(1)
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(serve(&config)));
        match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let (Some(local), StreamId::Name(stream)) = (&config.local, &config.stream.id) else {
        unreachable!("with `local` the configuration has both")
    };
    let server = EmbeddedStream::start(local.port, local.shards, stream, Limits::default()).await?;
    let (shards, endpoint, program) = (local.shards, server.endpoint(), program());
    let settings = client_settings(endpoint);
    let text = format!(
        "stream {stream:?} ({shards} shards) at {endpoint}

  {settings} \\
    {program} run --stream {stream}\n"
    );
    if out::print(&text)?.is_continue() {
        stop.cancelled().await;
    }
    Ok(())
}

/// Prints what `run --local` tells: where everything is, and what to paste next.
pub(super) fn welcome(config: &Config, endpoint: &str) -> Taken {
    let (Some(local), StreamId::Name(stream)) = (&config.local, &config.stream.id) else {
        unreachable!("with `--local` the configuration has both")
    };
    let (program, socket) = (program(), config.socket.path.display());
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    let (shards, settings) = (local.shards, client_settings(endpoint));
    out::print(&format!(
        "socket    {socket}
stream    {stream:?}, {shards} shards, at {endpoint}

let a consumer, or the AWS CLI, find it: any credentials do

  export {settings}

send an event, and see it in the stream:

  {program} send --socket {socket} --type order.placed --key customer-9 --data '{{\"total\":12.50}}'
  {program} tail --local --local-port {port} --stream {stream} --from trim-horizon\n\n"
    ))
}

/// The variables by which an SDK finds the embedded stream, which looks at no signature; an SDK
/// sends nothing without one.
fn client_settings(endpoint: &str) -> String {
    format!(
        "AWS_ENDPOINT_URL_KINESIS={endpoint} AWS_REGION={REGION} AWS_ACCESS_KEY_ID=local \
         AWS_SECRET_ACCESS_KEY=local"
    )
}

/// This program, as it can be typed again.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "dispatchd".into())
}
