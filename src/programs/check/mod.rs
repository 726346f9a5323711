//! `check`: would `run` work here, or `forward`? Findings are values; whoever asked prints them.
//!
//! `online` asks the service, `host` and `loopback` look at this machine, `endpoint` says where
//! requests go; `forward` does all that for a forwarder.
//! Every check is made, whatever another one found, but for those that could not be asked: without
//! credentials no request is signed. Nothing is written to the stream, nothing is left on the host,
//! and no call takes longer than `kinesis.attempt_timeout`.

mod endpoint;
mod finding;
mod forward;
mod host;
mod loopback;
mod online;

use crate::config::{Config, Machine};

pub(crate) use endpoint::{Target, target};
pub(crate) use finding::{Finding, Level};
pub(crate) use forward::{forward, forward_places};
pub(crate) use host::memory_sum_here;

/// Makes every check, in the order in which they are printed.
pub(crate) async fn run(config: &Config, machine: &Machine) -> Vec<Finding> {
    let mut findings = online::check(config).await;
    findings.extend(places(config, machine).await);
    findings.push(host::memory(config, machine.memory_limit));
    findings.push(host::shutdown(config));
    findings
}

/// Whether the places that the configuration names are free on this host. A failure here is what
/// would keep `run` from starting.
pub(crate) async fn places(config: &Config, machine: &Machine) -> Vec<Finding> {
    let (socket, is_running) = host::socket(&config.socket).await;
    let endpoint = endpoint::target(config).await.ok();
    let loopback = loopback::loopback(
        config,
        endpoint.as_ref().and_then(Target::url),
        machine.is_on_host_network,
        is_running,
    );
    let admin = host::admin(&config.admin, is_running).await;
    let schemas = host::schemas(&config.schema);
    [Some(socket), loopback, Some(admin), schemas].into_iter().flatten().collect()
}
