//! What the machine knows and the person who configures should not have to: names, directories, the
//! memory limit. One function reads; what follows from the facts is pure. Nothing here fails: a
//! fact that cannot be read is absent.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use dispatchd_core::limits::BUDGET_BYTES_DEFAULT;
use rustix::process::{Resource, getrlimit};

use super::rule::show_size;
use crate::inputs::socket::directory::{could_make_files, foreign_owner};

/// The directory of the socket where we may write there: an application shares it by a volume that
/// is mounted there.
const RUN_DIR: &str = "/run/dispatchd";

/// The directory of checkpoints where we may write there: that of a service, or of a volume.
const STATE_DIR: &str = "/var/lib/dispatchd";

const SOCKET_NAME: &str = "dispatchd.sock";

/// The folder of our own in a directory that was not made for us.
const OWN_FOLDER: &str = "dispatchd";

/// A cgroup of version 1 without a limit says so with a number near 2^63.
const LIMIT_BYTES_MAX: usize = 1 << 60;

/// Facts about the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The file name that this program was started by.
    pub program: String,
    pub hostname: String,
    /// `DISPATCHD_SOCKET`, where clients look; `None` if it is not set.
    pub client_socket: Option<String>,
    /// The smallest memory limit, in bytes, of our cgroup and those above it; `None` where there is
    /// none.
    pub memory_limit: Option<usize>,
    /// `XDG_RUNTIME_DIR`, if a folder of ours in it could hold files; otherwise `None`.
    pub runtime_dir: Option<PathBuf>,
    pub temp_dir: PathBuf,
    pub uid: u32,
    /// How many descriptors the process may have if it asks for them (the hard limit); `None`: no
    /// limit.
    pub open_files: Option<usize>,
    /// How many bytes the process may address; `None`: no limit.
    pub address_space: Option<usize>,
    /// Whether `/run/dispatchd` could hold files of ours.
    pub run_dir_writable: bool,
    /// Whether `/var/lib/dispatchd` could.
    pub state_dir_writable: bool,
    /// `XDG_STATE_HOME`, or what stands for it in the home directory, if a folder of ours in it
    /// could hold files; otherwise `None`.
    pub user_state_dir: Option<PathBuf>,
    /// Whether this is a pod that shares the network of its node.
    pub is_on_host_network: bool,
}

/// Why a client does not look for the daemon in the fallback directory.
#[derive(Debug, thiserror::Error)]
#[error("{} belongs to user {owner}, who may pretend to be the daemon: say with --socket where \
         the daemon is", path.display())]
pub(crate) struct ForeignFallback {
    pub path: PathBuf,
    pub owner: u32,
}

impl Machine {
    /// Asks the host.
    pub(crate) fn read() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            program: program(),
            client_socket: env::var("DISPATCHD_SOCKET").ok().filter(|path| !path.trim().is_empty()),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            memory_limit: memory_limit(Path::new("/sys/fs/cgroup"), &membership),
            runtime_dir: runtime_dir(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
            temp_dir: env::temp_dir(),
            uid: rustix::process::getuid().as_raw(),
            open_files: limit(getrlimit(Resource::Nofile).maximum),
            address_space: limit(getrlimit(Resource::As).current),
            run_dir_writable: could_make_files(Path::new(RUN_DIR)).is_ok(),
            state_dir_writable: could_make_files(Path::new(STATE_DIR)).is_ok(),
            user_state_dir: user_state_dir(),
            is_on_host_network: env::var_os("KUBERNETES_SERVICE_HOST").is_some()
                && interfaces().iter().any(|name| is_of_a_node(name)),
        }
    }

    /// The value for `producer_id = "auto"`, and why. The functions below answer for other keys in
    /// the same way.
    pub(super) fn producer_id(&self) -> (String, String) {
        (format!("{}@{}", self.program, self.hostname), "program and hostname".to_owned())
    }

    pub(super) fn socket_path(&self) -> (String, String) {
        if let Some(path) = &self.client_socket {
            return (path.clone(), "DISPATCHD_SOCKET, where clients look".to_owned());
        }
        let (dir, why) = match &self.runtime_dir {
            _ if self.run_dir_writable => (RUN_DIR.into(), format!("{RUN_DIR} is writable")),
            Some(dir) => {
                (dir.join(OWN_FOLDER), format!("XDG_RUNTIME_DIR, as {RUN_DIR} is not writable"))
            }
            None => (
                self.fallback_dir(),
                format!("the temporary directory, as {RUN_DIR} is not writable"),
            ),
        };
        (dir.join(SOCKET_NAME).display().to_string(), why)
    }

    /// Where a client looks that was told nothing: an application may see the shared directory
    /// without being allowed to write there.
    ///
    /// # Errors
    /// If the folder belongs to another user: in the temporary directory anybody may have made a
    /// folder of that name, to be taken for the daemon.
    pub(crate) fn client_socket_path(&self) -> Result<PathBuf, ForeignFallback> {
        // A path that may not be looked at counts as there: whoever connects hears why not.
        let shared = Path::new(RUN_DIR).join(SOCKET_NAME);
        let is_there = shared.try_exists().unwrap_or(true);
        self.client_socket_besides(is_there.then_some(shared))
    }

    /// `shared`: the socket below `/run`; `None` where there is none.
    fn client_socket_besides(&self, shared: Option<PathBuf>) -> Result<PathBuf, ForeignFallback> {
        let path = shared.unwrap_or_else(|| self.socket_path().0.into());
        let fallback = self.fallback_dir();
        match foreign_owner(&fallback) {
            Ok(Some(owner)) if path.starts_with(&fallback) => {
                Err(ForeignFallback { path: fallback, owner })
            }
            _ => Ok(path), // who connects hears of what is missing
        }
    }

    fn fallback_dir(&self) -> PathBuf {
        self.temp_dir.join(format!("{OWN_FOLDER}-{}", self.uid))
    }

    pub(super) fn memory_budget(&self) -> (String, String) {
        let Some(limit) = self.memory_limit else {
            let why = "no cgroup memory limit";
            return (show_size(BUDGET_BYTES_DEFAULT), why.to_owned());
        };
        let bytes = BUDGET_BYTES_DEFAULT.min(limit / 2);
        (show_size(bytes), format!("cgroup memory limit {}", show_size(limit)))
    }
}

impl Machine {
    /// Where checkpoints are kept, and why; `auto` again where no place for them is known.
    pub(super) fn checkpoints(&self) -> (String, String) {
        let file = |dir: &Path| format!("file:{}", dir.join("forward").display());
        match &self.user_state_dir {
            _ if self.state_dir_writable => {
                (file(Path::new(STATE_DIR)), format!("{STATE_DIR} is writable"))
            }
            Some(dir) => (
                file(&dir.join(OWN_FOLDER)),
                format!("the user's directory of state, as {STATE_DIR} is not writable"),
            ),
            None => ("auto".to_owned(), "no directory of state is writable".to_owned()),
        }
    }
}

fn user_state_dir() -> Option<PathBuf> {
    let in_home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    let named = env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(in_home);
    named.filter(|dir| dir.is_absolute() && could_make_files(&dir.join(OWN_FOLDER)).is_ok())
}

fn program() -> String {
    let path = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    path.file_name().unwrap_or(OsStr::new("dispatchd")).to_string_lossy().into_owned()
}

fn limit(limit: Option<u64>) -> Option<usize> {
    limit.and_then(|limit| usize::try_from(limit).ok())
}

fn runtime_dir(named: Option<PathBuf>) -> Option<PathBuf> {
    named.filter(|dir| dir.is_absolute() && could_make_files(&dir.join(OWN_FOLDER)).is_ok())
}

/// The smallest limit of the groups that `/proc/self/cgroup` names and of all groups above them;
/// `None` without one. In a container the names may be the host's while `root` shows only the
/// container's own group: a group that is not there does not count.
fn memory_limit(root: &Path, membership: &str) -> Option<usize> {
    membership.lines().filter_map(|line| group_limit(root, line)).min()
}

/// The limit of one line's group. A line is `0::/path` (version 2) or `ID:controller,…:/path`
/// (version 1).
fn group_limit(root: &Path, line: &str) -> Option<usize> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let (mount, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        names if names.split(',').any(|name| name == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    groups.filter_map(|group| read_limit(&mount.join(group).join(file))).min()
}

fn read_limit(file: &Path) -> Option<usize> {
    let limit = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < LIMIT_BYTES_MAX).then_some(limit)
}

/// The names of the network's interfaces as this process sees them.
fn interfaces() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether an interface is one that a node has for its pods. A pod with a network of its own sees
/// its own end alone, `eth0` as a rule.
fn is_of_a_node(name: &str) -> bool {
    const OF_NODES: [&str; 9] =
        ["veth", "cali", "cilium", "lxc", "cni", "flannel", "docker", "kube-", "eni"];
    OF_NODES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_from_a_pod_by_the_other_ends_of_its_pods() {
        for name in ["veth1a2b", "cali123", "cilium_host", "lxc1", "cni0", "flannel.1", "docker0"] {
            assert!(is_of_a_node(name), "{name}");
        }
        for name in ["lo", "eth0", "ens5", "net1", "tunl0"] {
            assert!(!is_of_a_node(name), "{name}");
        }
    }
    use dispatchd_core::limits::MIB;

    fn cgroup(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("the temporary directory is writable");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("it is below the root"))
                .expect("the root is writable");
            fs::write(path, text).expect("the root is writable");
        }
        root
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let root = cgroup(&[
            ("a/memory.max", "1000\n"),
            ("a/b/memory.max", "max\n"),
            ("memory.max", "2000\n"),
        ]);
        assert_eq!(memory_limit(root.path(), "0::/a/b\n"), Some(1_000));
        assert_eq!(memory_limit(root.path(), "0::/\n"), Some(2_000));
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_has_a_limit() {
        let v1 = "12:cpu,cpuacct:/kubepods/pod1\n5:memory:/kubepods/pod1/c1\n0::/system\n";
        let root = cgroup(&[("memory/memory.limit_in_bytes", "3000\n")]);
        assert_eq!(memory_limit(root.path(), v1), Some(3_000));
    }

    #[test]
    fn no_limit_is_none() {
        let root = cgroup(&[
            ("memory.max", "max\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        for membership in ["", "0::/\n", "5:memory:/\n", "not a line"] {
            assert_eq!(memory_limit(root.path(), membership), None, "{membership:?}");
        }
    }

    #[test]
    fn a_runtime_directory_that_takes_no_files_is_passed_over() {
        let root = tempfile::tempdir().expect("the temporary directory is writable");
        let named = |dir: &Path| runtime_dir(Some(dir.to_owned()));
        assert_eq!(named(root.path()), Some(root.path().to_owned()));
        for taken_by_nobody in [&root.path().join("gone"), Path::new("relative")] {
            assert_eq!(named(taken_by_nobody), None, "{}", taken_by_nobody.display());
        }
    }

    #[test]
    fn a_client_goes_to_no_fallback_that_is_another_users_or_his_link() {
        let root = tempfile::tempdir().expect("the temporary directory is writable");
        let machine = Machine { temp_dir: root.path().into(), uid: 7, ..Machine::default() };
        let fallback = machine.fallback_dir();
        assert!(
            machine.client_socket_besides(None).is_ok(),
            "who connects hears that nobody is there"
        );
        fs::create_dir(&fallback).expect("the root is writable");
        assert_eq!(
            machine.client_socket_besides(None).expect("it is ours"),
            fallback.join(SOCKET_NAME)
        );
        if rustix::process::geteuid().as_raw() != 0 {
            eprintln!("not root: no file can be another's");
            return;
        }
        std::os::unix::fs::chown(&fallback, Some(12_345), None).expect("we are root");
        let refused = machine.client_socket_besides(None).expect_err("it is another's").to_string();
        assert!(
            refused.contains("belongs to user 12345") && refused.contains("--socket"),
            "{refused}"
        );
        fs::remove_dir(&fallback).expect("it is empty");
        std::os::unix::fs::symlink(root.path(), &fallback).expect("the root is writable");
        std::os::unix::fs::lchown(&fallback, Some(12_345), None).expect("we are root");
        assert!(
            machine.client_socket_besides(None).is_err(),
            "the link is another's, whatever it leads to"
        );
    }

    #[test]
    fn the_socket_goes_to_the_first_place_that_takes_it() {
        let mut machine = Machine {
            temp_dir: "/tmp".into(),
            runtime_dir: Some("/run/user/7".into()),
            uid: 7,
            run_dir_writable: true,
            ..Machine::default()
        };
        assert_eq!(machine.socket_path().0, "/run/dispatchd/dispatchd.sock");
        machine.run_dir_writable = false;
        assert_eq!(machine.socket_path().0, "/run/user/7/dispatchd/dispatchd.sock");
        machine.runtime_dir = None;
        assert_eq!(machine.socket_path().0, "/tmp/dispatchd-7/dispatchd.sock");
        machine.client_socket = Some("/shared/d.sock".into());
        assert_eq!(machine.socket_path().0, "/shared/d.sock");
    }

    #[test]
    fn the_budget_is_at_most_half_of_the_limit() {
        let budget = |memory_limit| {
            let machine = Machine { memory_limit, ..Machine::default() };
            machine.memory_budget()
        };
        assert_eq!(budget(None), ("64MiB".to_owned(), "no cgroup memory limit".to_owned()));
        assert_eq!(
            budget(Some(96 * MIB)),
            ("48MiB".to_owned(), "cgroup memory limit 96MiB".to_owned())
        );
        assert_eq!(
            budget(Some(512 * MIB)),
            ("64MiB".to_owned(), "cgroup memory limit 512MiB".to_owned())
        );
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read();
        assert!(!machine.program.is_empty() && !machine.hostname.is_empty());
    }
}
