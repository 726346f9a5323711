//! The inputs on loopback: whether their addresses can be had, and who reaches them there. Whether
//! a pod shares its node's network is seen by its interfaces, and only as far as those tell.

use super::finding::Finding;
use crate::config::Config;
use crate::inputs::loopback::{Loopback, OwnEndpoint};

/// The finding for the inputs that are switched on; `None` where none is. A daemon that runs has
/// its addresses taken. `endpoint`: where requests go, if that is known.
pub(super) fn loopback(
    config: &Config,
    endpoint: Option<&str>,
    is_on_host_network: bool,
    is_running: bool,
) -> Option<Finding> {
    const NAME: &str = "loopback";
    if let Some(Err(error)) = endpoint.map(|url| OwnEndpoint::refuse(url, config.loopback())) {
        let fix = "take the variable away from this container";
        return Some(Finding::fail(NAME, error.to_string(), fix));
    }
    let mut served = Vec::new();
    for (key, address) in config.loopback() {
        match Loopback::try_address(key, address) {
            Ok(()) => served.push(format!("{key} {address}")),
            Err(_) if is_running => served.push(format!("{key} {address}, in use now")),
            Err(error) => {
                let fix = format!("choose another address for {key}, or \"off\"");
                return Some(Finding::fail(NAME, error.to_string(), fix));
            }
        }
    }
    if served.is_empty() {
        return None;
    }
    let served = served.join("; ");
    if is_on_host_network {
        let what = format!("{served}: this pod shares the network of its node (hostNetwork)");
        let fix = "every process and such pod of the node may write to the stream: use the socket, \
                   or a pod with a network of its own";
        return Some(Finding::warn(NAME, what, fix));
    }
    Some(Finding::ok(
        NAME,
        format!("{served}: every process in this pod, or on this host, may write"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flag, Inputs, resolve};
    use crate::programs::check::Level;

    fn config(listen: &str) -> Config {
        let (key, value, flag) = ("http.listen".into(), listen.into(), "--set".into());
        let flags = vec![Flag { key, value, flag }];
        resolve(&Inputs { flags, local: true, ..Inputs::default() }).expect("it holds").config
    }

    #[test]
    fn who_reaches_an_input_on_loopback_is_told_and_a_nodes_network_is_warned_of() {
        assert_eq!(loopback(&config("off"), None, true, false), None);
        let own = loopback(&config("127.0.0.1:0"), None, false, false).expect("it is on");
        assert_eq!(own.level, Level::Ok);
        let shared = loopback(&config("127.0.0.1:0"), None, true, false).expect("it is on");
        assert_eq!(shared.level, Level::Warn);
        assert!(shared.what.contains("hostNetwork"), "{}", shared.what);
    }

    #[test]
    fn an_endpoint_that_is_our_own_is_a_failure() {
        let config = config("127.0.0.1:4580");
        let own = loopback(&config, Some("http://localhost:4580/"), false, false);
        assert_eq!(own.expect("it is on").level, Level::Fail);
        let other = loopback(&config, Some("http://localhost:4581/"), false, true);
        assert_eq!(other.expect("it is on").level, Level::Ok);
    }

    #[test]
    fn an_address_that_is_taken_is_a_failure_unless_the_daemon_itself_has_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let config = config(&taken.local_addr().expect("it is bound").to_string());
        let level =
            |is_running| loopback(&config, None, false, is_running).expect("it is on").level;
        assert_eq!((level(false), level(true)), (Level::Fail, Level::Ok));
    }
}
