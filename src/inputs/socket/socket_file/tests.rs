//! What a start finds at its path, and what may happen there afterwards.

use std::os::unix::net::{UnixDatagram, UnixListener as Foreign};

use tokio::net::UnixStream;

use super::*;
use crate::inputs::socket::survey::{SocketSurvey, survey};
use dispatchd_core::limits::SOCKET_PATH_BYTES_MAX;

async fn bind(path: &Path) -> Result<SocketFile, String> {
    SocketFile::bind(path, 0o660).await.map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("it exists").mode() & 0o777
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("sock.lock")
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not root: no file can be another's");
    }
    is_root
}

/// A directory, and the path of a socket in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("d.sock");
    (dir, path)
}

#[tokio::test]
async fn a_stale_file_blocks_no_start_and_a_stop_takes_the_file_along() {
    let (_dir, path) = place();
    drop(Foreign::bind(&path).expect("a socket to go stale"));
    let bound = bind(&path).await.expect("the stale socket is replaced");
    assert_eq!(mode(&path), 0o660);
    UnixStream::connect(&path).await.expect("it listens");
    drop(bound);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_kernel_tells_the_name_that_callers_look_for() {
    // systemd-tmpfiles takes away a socket whose name the kernel does not tell as bound.
    let (_dir, path) = place();
    let _bound = bind(&path).await.expect("it is free");
    let told = std::fs::read_to_string("/proc/net/unix").expect("Linux tells");
    let name = path.to_str().expect("UTF-8");
    assert!(told.lines().any(|line| line.ends_with(name)), "the kernel tells another name");
}

#[tokio::test]
async fn a_directory_of_ours_is_locked_against_whoever_cleans_it_and_a_shared_one_is_not() {
    let (dir, path) = place();
    let bound = bind(&path).await.expect("it is free");
    let clean = File::open(dir.path()).expect("a directory can be opened");
    assert!(clean.try_lock().is_err(), "systemd-tmpfiles would look into it");
    drop(bound);
    clean.try_lock().expect("nobody is there any more");
    clean.unlock().expect("it was locked");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).expect("it is ours");
    let _bound = bind(&path).await.expect("it is free");
    clean.try_lock().expect("others' files are theirs to clean");
}

#[tokio::test]
async fn two_live_daemons_never_share_a_path() {
    let (_dir, path) = place();
    let first = bind(&path).await.expect("it is free");
    let refused = bind(&path).await.expect_err("it is taken");
    assert!(refused.contains(&format!("(process {}, user ", std::process::id())), "{refused}");
    UnixStream::connect(&path).await.expect("the first one still listens");
    drop(first);
    bind(&path).await.expect("it is free again");
}

#[tokio::test]
async fn sockets_whose_names_differ_in_the_last_byte_do_not_meet() {
    let (_dir, path) = place();
    let beside = path.with_extension("soc~");
    let _one = bind(&beside).await.expect("it is free");
    let _other = bind(&path).await.expect("it is free");
    for path in [&path, &beside] {
        UnixStream::connect(path).await.expect("it listens");
    }
}

#[tokio::test]
async fn a_live_socket_of_another_program_is_left_alone_and_the_program_named() {
    let (_dir, path) = place();
    let other = Foreign::bind(&path).expect("a socket");
    other.set_nonblocking(true).expect("a socket can be");
    let refused = bind(&path).await.expect_err("it is served");
    let name = std::fs::read_to_string("/proc/self/comm").expect("Linux tells");
    assert!(refused.starts_with(name.trim()) && refused.contains("left alone"), "{refused}");
    assert!(other.accept().is_ok(), "it was asked"); // by who wanted the path
    UnixStream::connect(&path).await.expect("it still listens at its path");
    other.accept().expect("it is still the one who is reached");
    drop(other);
    bind(&path).await.expect("nobody serves it any more");
}

#[tokio::test]
async fn a_socket_that_cannot_be_asked_is_left_alone() {
    let (_dir, path) = place();
    let _datagrams = UnixDatagram::bind(&path).expect("a socket");
    let refused = bind(&path).await.expect_err("it may be in use");
    assert!(
        refused.starts_with("cannot tell whether") && refused.contains("left alone"),
        "{refused}"
    );
    assert!(path.exists());
}

#[tokio::test]
async fn the_lock_is_closed_to_others_though_an_older_version_left_it_open() {
    let (_dir, path) = place();
    std::fs::write(lock_of(&path), "12\n").expect("the directory is ours");
    std::fs::set_permissions(lock_of(&path), PermissionsExt::from_mode(0o644)).expect("it is ours");
    let _bound = bind(&path).await.expect("it is free");
    assert_eq!(mode(&lock_of(&path)), 0o600, "who can open a file can lock it");
}

#[tokio::test(start_paused = true)]
async fn who_only_holds_the_lock_keeps_no_daemon_from_starting() {
    let (_dir, path) = place();
    let held = File::create(lock_of(&path)).expect("the directory is ours");
    held.try_lock().expect("nobody else has it");
    let began = Instant::now();
    let _bound = bind(&path).await.expect("the holder serves nobody");
    assert!(began.elapsed() >= LOCK_WITHOUT_SOCKET_MAX, "a daemon that starts is waited for");
    let fresh = File::open(lock_of(&path)).expect("it is there");
    assert!(fresh.try_lock().is_err(), "the lock that the next one finds is ours");
}

#[tokio::test]
async fn a_lock_that_is_no_file_of_our_own_is_not_touched() {
    let (dir, path) = place();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "worth something").expect("the directory is ours");
    let refused = async |why: &str| {
        let refused = bind(&path).await.expect_err("it is not ours");
        assert!(refused.contains(why) && refused.contains("left alone"), "{refused}");
        assert_eq!(std::fs::read_to_string(&victim).expect("it is there"), "worth something");
        assert!(!path.exists());
        std::fs::remove_file(lock_of(&path)).expect("it is there");
    };
    std::os::unix::fs::symlink(&victim, lock_of(&path)).expect("the directory is ours");
    refused("is a symbolic link").await;
    std::fs::hard_link(&victim, lock_of(&path)).expect("the directory is ours");
    refused("has another name too").await;
    if is_root() {
        std::fs::write(lock_of(&path), "").expect("the directory is ours");
        std::os::unix::fs::chown(lock_of(&path), Some(12_345), None).expect("we are root");
        refused("belongs to another user").await;
    }
}

#[tokio::test]
async fn in_a_shared_place_another_users_directory_or_link_is_refused_and_one_open_to_all() {
    let (dir, _) = place();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).expect("it is ours");
    let (ours, path) = (dir.path().join("ours"), dir.path().join("ours/d.sock"));
    std::fs::create_dir(&ours).expect("it is ours");
    drop(bind(&path).await.expect("it is ours"));
    std::fs::set_permissions(&ours, PermissionsExt::from_mode(0o777)).expect("it is ours");
    let refused = bind(&path).await.expect_err("the socket could be exchanged");
    assert!(refused.starts_with("every user may write to"), "{refused}");
    std::fs::set_permissions(&ours, PermissionsExt::from_mode(0o700)).expect("it is ours");
    if is_root() {
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).expect("it is ours");
        std::os::unix::fs::lchown(&link, Some(12_345), None).expect("we are root");
        let refused =
            bind(&link.join("d.sock")).await.expect_err("it may lead elsewhere at any time");
        assert!(refused.contains("belongs to user 12345"), "{refused}");
        assert!(survey(&link.join("d.sock")).await.is_err(), "a look says so too");
    }
}

#[tokio::test]
async fn a_socket_that_vanished_is_bound_again_and_those_who_are_connected_stay() {
    let (dir, path) = place();
    let inner = dir.path().join("in");
    let path = inner.join(path.file_name().expect("it has one"));
    let mut bound = bind(&path).await.expect("it is free");
    let reach = bound.reach();
    let old = UnixStream::connect(&path).await.expect("it listens");
    let (served, _) = bound.listener().accept().await.expect("somebody connected");
    assert!(matches!(bound.look().await, Look::Here));

    std::fs::remove_file(&path).expect("it is there");
    assert!(matches!(bound.look().await, Look::BoundAgain(_)));
    UnixStream::connect(&path).await.expect("it listens again");
    bound.listener().accept().await.expect("it is the one who is reached");

    std::fs::rename(&inner, dir.path().join("old")).expect("it is ours");
    std::fs::create_dir(&inner).expect("it is ours");
    assert!(matches!(bound.look().await, Look::BoundAgain(_)));
    assert_eq!(mode(&path), 0o660);
    UnixStream::connect(&path).await.expect("it listens again");
    assert!(lock_of(&path).exists() && reach.is_here());
    old.try_write(b"x").expect("the other side is there");
    drop(served);
}

#[tokio::test]
async fn a_path_that_cannot_be_had_again_is_lost_until_it_can() {
    let (_dir, path) = place();
    let mut bound = bind(&path).await.expect("it is free");
    let reach = bound.reach();
    std::fs::remove_file(&path).expect("it is there");
    let other = Foreign::bind(&path).expect("another program was faster");
    assert!(matches!(bound.look().await, Look::Lost));
    assert!(!reach.is_here(), "who connects now does not come here");
    UnixStream::connect(&path).await.expect("the other one is left alone");
    drop(other);
    assert!(matches!(bound.look().await, Look::BoundAgain(_)));
    assert!(reach.is_here());
}

#[tokio::test]
async fn a_lock_file_that_was_removed_is_made_again() {
    let (_dir, path) = place();
    let mut bound = bind(&path).await.expect("it is free");
    std::fs::remove_file(lock_of(&path)).expect("it is there");
    assert!(
        bind(&path).await.expect_err("it is served").contains("serves"),
        "the socket still keeps others away"
    );
    assert!(matches!(bound.look().await, Look::Here));
    let next = File::open(lock_of(&path)).expect("it is there again");
    assert!(next.try_lock().is_err(), "and held");
}

#[tokio::test]
async fn a_survey_sees_what_a_start_would_meet_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("made/d.sock");
    let unmade = survey(&path).await.expect("the directory can be made");
    assert_eq!((unmade.directory_mode, &unmade.served_by), (0o700, &None));
    assert!(!dir.path().join("made").exists());
    let bound = bind(&path).await.expect("it is free");
    let served = survey(&path).await.expect("a daemon that serves it is no obstacle");
    assert_eq!(SocketSurvey { served_by: None, ..served.clone() }, unmade);
    assert!(
        served
            .served_by
            .is_some_and(|peer| peer.to_string().contains(&std::process::id().to_string()))
    );
    assert_eq!(
        std::fs::read_dir(dir.path().join("made")).expect("a directory").count(),
        2,
        "socket and lock"
    );
    drop(bound);
    std::fs::File::create(&path).expect("a file");
    assert!(matches!(survey(&path).await, Err(BindError::NotASocket(_))));
    assert!(matches!(
        survey(&path.join("below/d.sock")).await,
        Err(BindError::Io { what: "make files in", .. })
    ));
}

#[tokio::test]
async fn the_directory_is_made_for_us_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("made/d.sock");
    let _bound = bind(&path).await.expect("the directory is made");
    assert_eq!(mode(&dir.path().join("made")), 0o700);
}

#[tokio::test]
async fn a_path_may_be_107_bytes_and_no_more() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let room = SOCKET_PATH_BYTES_MAX - dir.path().as_os_str().len() - 1;
    bind(&dir.path().join("s".repeat(room))).await.expect("107 bytes fit");
    let refused = bind(&dir.path().join("s".repeat(room + 1))).await.expect_err("108 do not");
    assert!(refused.contains("is 108 bytes, a Unix socket takes at most 107"), "{refused}");
}

#[tokio::test]
async fn a_socket_that_is_not_ours_any_more_is_left_alone() {
    let (_dir, path) = place();
    let bound = bind(&path).await.expect("it is free");
    std::fs::remove_file(&path).expect("it is there");
    let _other = Foreign::bind(&path).expect("another socket");
    drop(bound);
    assert!(path.exists());
}

/// What could go wrong: between bind and mode somebody puts a link there, and the mode is that of a
/// socket which others were not to reach.
#[tokio::test]
async fn the_mode_is_set_of_the_socket_itself_and_not_of_what_a_link_in_its_place_leads_to() {
    let (dir, path) = place();
    let _bound = bind(&path).await.expect("it is free");
    let link = dir.path().join("link.sock");
    std::os::unix::fs::symlink(&path, &link).expect("nothing is there");
    let refused = set_mode(&link, 0o666).expect_err("a link is no socket");
    assert_eq!(refused.to_string(), "somebody else has put another file there");
    assert_eq!(mode(&path), 0o660);
}
