//! A network namespace beside ours, at the other end of a link, and a filter in it that drops what
//! belongs to some connections: what a firewall that forgot them, or a path that died, looks like.
//! Names that resolve as a test says.
//!
//! The daemon stays in the machine's own namespace; servers listen in the other one. Needs root,
//! `ip` and `nft`: where something is missing the test says so and passes, never on CI.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpListener;

use super::packages::{run, unless_on_ci};

/// Namespaces that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The handle. Dropped, it takes the namespace and the link away.
pub struct Namespace {
    name: String,
    /// Our end of the link; the other one is the next address.
    ours: Ipv4Addr,
}

impl Namespace {
    /// `None` where there can be none.
    pub fn new() -> Option<Self> {
        unless_on_ci("network namespaces (root, iproute2, nftables)", Self::make())
    }

    fn make() -> Result<Self, String> {
        let (process, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // A network of four addresses in the range that is set apart for tests of networks (RFC
        // 2544), by the process.
        let slot = (process.wrapping_mul(8) + number) % (1 << 15);
        let ours = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + slot * 4 + 1);
        // Names of links have at most 15 bytes.
        let namespace = Self { name: format!("dd{process}-{number}"), ours };
        let (name, theirs) = (&namespace.name, namespace.theirs());
        for command in [
            format!("ip netns add {name}"),
            format!("ip link add {name} type veth peer name far netns {name}"),
            format!("ip address add {ours}/30 dev {name}"),
            format!("ip link set {name} up"),
            format!("ip -n {name} address add {theirs}/30 dev far"),
            format!("ip -n {name} link set far up"),
            format!("ip netns exec {name} nft add table inet t"),
            format!(
                "ip netns exec {name} nft add set inet t dead {{ type inet_service; flags dynamic; }}"
            ),
            format!(
                "ip netns exec {name} nft add chain inet t in {{ type filter hook input priority 0; }}"
            ),
            // The port of a dead connection may be taken by a new one.
            format!(
                "ip netns exec {name} nft add rule inet t in tcp flags syn delete @dead {{ tcp sport }}"
            ),
            format!("ip netns exec {name} nft add rule inet t in tcp sport @dead drop"),
            format!(
                "ip netns exec {name} nft add chain inet t out {{ type filter hook output priority 0; }}"
            ),
            format!("ip netns exec {name} nft add rule inet t out tcp dport @dead drop"),
        ] {
            words(&command)?;
        }
        Ok(namespace)
    }

    /// Where its servers are.
    pub fn theirs(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ours.to_bits() + 1)
    }

    /// Listens in it.
    pub fn listen(&self) -> TcpListener {
        let (path, address) =
            (format!("/run/netns/{}", self.name), SocketAddr::from((self.theirs(), 0)));
        // A thread of its own: it goes to the other namespace, and does not come back.
        let there = move || {
            let namespace = std::fs::File::open(path)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        };
        let listener =
            std::thread::spawn(there).join().expect("it does not panic").expect("the port is free");
        TcpListener::from_std(listener).expect("a test has a runtime")
    }

    /// Drops every packet of the connections from these addresses, from now on and both ways.
    pub fn drop_packets(&self, peers: impl IntoIterator<Item = SocketAddr>) {
        let ports: Vec<_> = peers.into_iter().map(|peer| peer.port().to_string()).collect();
        let add = format!(
            "ip netns exec {} nft add element inet t dead {{ {} }}",
            self.name,
            ports.join(", ")
        );
        words(&add).expect("the set was made");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Sockets may keep a namespace for a while, and with it the link. What was never made is
        // not there to take away.
        let _ = words(&format!("ip link del {}", self.name));
        let _ = words(&format!("ip netns del {}", self.name));
    }
}

/// Whether a daemon can be given names of its own.
pub fn can_mount() -> bool {
    let probe = words("unshare --mount mount --bind /etc/hosts /etc/hosts");
    unless_on_ci("mount namespaces (root)", probe).is_some()
}

/// Runs a command whose words hold no blank.
fn words(command: &str) -> Result<(), String> {
    let (program, rest) = command.split_once(' ').expect("it has arguments");
    run(Command::new(program).args(rest.split(' ')))
}
