//! The image that `deploy/build-image.sh` left in `target/image`, run as a container runtime would
//! run it: its files and nothing else, its user, its entrypoint. Where there is no image, or nobody
//! to change roots, the tests say so and pass; never on CI.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::client;
use testkit::daemon::{Caller, event};
use testkit::kinesis::Ferro;
use testkit::packages::unless_on_ci;
use testkit::stream::{create_stream, read_all};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::{Child, ChildStderr};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::task::AbortOnDropHandle;

/// Unpacked, in bytes of files: what each node of a cluster pulls before the first pod starts. One
/// binary is the daemon, the forwarder and the tools for both; it took 19.0 MB in 2026-11.
const IMAGE_BYTES_MAX: u64 = 19_300_000;
/// Where names are asked for; a loopback address of its own, as `resolv.conf` knows no port but 53.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 53, 94, 64);

/// The image, unpacked into a directory that a container may write to.
struct Image {
    config: Value,
    root: tempfile::TempDir,
}

/// A container of it. Killed when dropped.
struct Container {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("an OCI layout is JSON")
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
    layout.join("blobs").join(digest.replace(':', "/"))
}

impl Image {
    /// `None` where it cannot be run.
    fn unpack() -> Option<Image> {
        let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image/oci");
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let tag = format!("{}-{arch}", env!("CARGO_PKG_VERSION"));
        let can_run = layout.join("index.json").exists() && rustix::process::geteuid().is_root();
        let can_run = can_run.then_some(()).ok_or("run deploy/build-image.sh first, as root");
        unless_on_ci("an image, and root", can_run.map_err(str::to_owned))?;
        let index = json(&layout.join("index.json"));
        let named = |manifest: &&Value| {
            manifest["annotations"]["org.opencontainers.image.ref.name"] == tag.as_str()
        };
        let descriptor =
            index["manifests"].as_array().expect("it lists manifests").iter().find(named);
        let manifest =
            json(&blob(&layout, descriptor.unwrap_or_else(|| panic!("no image {tag} in {index}"))));
        let root = tempfile::tempdir().expect("a temporary directory");
        for layer in manifest["layers"].as_array().expect("it lists layers") {
            let mut tar = Command::new("tar");
            tar.arg("-xzf")
                .arg(blob(&layout, layer))
                .arg("-C")
                .arg(root.path())
                .args(["--numeric-owner", "-p"]);
            assert!(tar.status().expect("there is tar").success(), "{tar:?}");
        }
        // A temporary directory is its maker's alone; the root of a container is not.
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755))
            .expect("it is ours");
        Some(Image { config: json(&blob(&layout, &manifest["config"])), root })
    }

    /// Every file that is no directory, as the container sees it, with its size.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        fn below(folder: &Path) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder)
                .expect("it is readable")
                .map(|entry| entry.expect("so are its entries"));
            entries
                .flat_map(|entry| {
                    if entry.path().is_dir() { below(&entry.path()) } else { vec![entry.path()] }
                })
                .collect()
        }
        let inside = |path: PathBuf| {
            let size = path.symlink_metadata().expect("it is there").len();
            (path.strip_prefix(self.root.path()).expect("it is below").to_owned(), size)
        };
        let mut files: Vec<_> = below(self.root.path()).into_iter().map(inside).collect();
        files.sort();
        files
    }

    /// What a runtime or a user mounts.
    fn mount(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it is below the root")).expect("it is ours");
        std::fs::write(path, text).expect("it is ours");
    }

    fn strings(&self, key: &str) -> Vec<&str> {
        let list = self.config["config"][key]
            .as_array()
            .unwrap_or_else(|| panic!("no {key} in {}", self.config));
        list.iter().map(|text| text.as_str().expect("they are strings")).collect()
    }

    /// A program in the container, as this user with these further groups.
    fn command(&self, user: &str, groups: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("chroot");
        command
            .arg(format!("--userspec={user}"))
            .arg(format!("--groups={groups}"))
            .arg(self.root.path());
        // Nothing of this machine's environment but where chroot is.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("chroot was found there"))
            .kill_on_drop(true);
        command
    }

    /// Runs the entrypoint and the command as the image's user.
    async fn run(&self, endpoint: &str, env: &[(&str, &str)]) -> Container {
        let mut process = self
            .command(self.config["config"]["User"].as_str().expect("the image names a user"), "")
            .args(self.strings("Entrypoint"))
            .args(self.strings("Cmd"))
            .args(["--admin-listen", "127.0.0.1:0"])
            .env("DISPATCHD__STREAM__NAME", "orders")
            .env("DISPATCHD__STREAM__ENDPOINT_URL", endpoint)
            .env("DISPATCHD__STREAM__ALLOW_HTTP", "true")
            .envs([
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
            ])
            .envs(env.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is chroot");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(r#""message":"ready""#)) {
            let line = tokio::time::timeout(testkit::DEADLINE, log.next_line())
                .await
                .expect("it starts in time");
            said.push(
                line.expect("UTF-8")
                    .unwrap_or_else(|| panic!("it ended before it was ready: {said:#?}")),
            );
        }
        let roots_missing = said.iter().any(|line| line.contains("no native root CA certificates"));
        assert!(!roots_missing, "it does not find the authorities in the image: {said:#?}");
        Container { process, log }
    }

    async fn connect(&self) -> Caller {
        Caller::connect(&self.root.path().join("run/dispatchd/dispatchd.sock")).await
    }
}

impl Container {
    /// Reads the log until a line has this text.
    async fn says(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        loop {
            let line = tokio::time::timeout(testkit::DEADLINE, self.log.next_line()).await;
            let line = line
                .unwrap_or_else(|_| panic!("it never said {text:?}: {said:#?}"))
                .expect("UTF-8");
            let line =
                line.unwrap_or_else(|| panic!("it ended and never said {text:?}: {said:#?}"));
            if line.contains(text) {
                return line;
            }
            said.push(line);
        }
    }

    async fn stop(mut self) -> Option<i32> {
        let pid =
            Pid::from_raw(self.process.id().expect("it runs").cast_signed()).expect("not zero");
        kill_process(pid, Signal::TERM).expect("it runs");
        let ended = tokio::time::timeout(testkit::DEADLINE, self.process.wait())
            .await
            .expect("it ends in time");
        ended.expect("it can be waited for").code()
    }
}

/// Answers every question for an IPv4 address with 127.0.0.1 and every other one with nothing.
async fn name_server() -> AbortOnDropHandle<()> {
    let socket = UdpSocket::bind((NAME_SERVER, 53)).await.expect("root may bind port 53");
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            // After the header of 12 bytes: labels, a zero, type and class. What follows (EDNS) is
            // not echoed.
            let name = query[12..length].iter().position(|byte| *byte == 0).expect("a name ends");
            let question = &query[12..12 + name + 5];
            let is_a = question[name + 1..name + 3] == [0, 1];
            let mut answer = query[..2].to_vec(); // the id
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend(question);
            if is_a {
                // The name at 12, 60 s, its address.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&answer, from).await.expect("loopback");
        }
    }))
}

/// TLS in front of `upstream`, with a certificate for `localhost` that no public authority knows;
/// it is its own authority. Where it listens, and the certificate.
async fn tls(upstream: String) -> (SocketAddr, Vec<u8>, AbortOnDropHandle<()>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = Command::new("openssl")
        .current_dir(dir.path())
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-days",
            "2",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .output()
        .expect("openssl came with ca-certificates");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pem = std::fs::read(dir.path().join("cert.pem")).expect("it was made");
    let certificate = CertificateDer::from_pem_slice(&pem).expect("PEM");
    let key = PrivateKeyDer::from_pem_file(dir.path().join("key.pem")).expect("PEM");
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("they belong together")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                // It did not like the certificate.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut upstream =
                    TcpStream::connect(upstream).await.expect("the emulator listens");
                // The container ends as it likes.
                let _ = copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    (address, pem, AbortOnDropHandle::new(task))
}

async fn ferro() -> (Ferro, String) {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "orders", 2).await;
    let address = ferro.endpoint().trim_start_matches("http://").to_owned();
    (ferro, address)
}

#[test]
fn the_image_holds_a_binary_and_the_public_authorities_and_says_what_it_is() {
    let Some(image) = Image::unpack() else { return };
    let files = image.files();
    let names: Vec<_> = files.iter().map(|(path, _)| path.to_str().expect("UTF-8")).collect();
    assert_eq!(
        names,
        ["dispatchd", "etc/ssl/certs/ca-certificates.crt"],
        "no shell, no library, no key"
    );
    let bytes: u64 = files.iter().map(|(_, size)| size).sum();
    assert!(bytes < IMAGE_BYTES_MAX, "{bytes} bytes");
    let config = &image.config["config"];
    assert_eq!(
        (&config["User"], &config["StopSignal"]),
        (&"65532:65532".into(), &"SIGTERM".into())
    );
    assert_eq!(
        (image.strings("Entrypoint"), image.strings("Cmd")),
        (vec!["/dispatchd"], vec!["run"])
    );
    assert!(config["ExposedPorts"].get("16464/tcp").is_some(), "{config}");
    let label = |name: &str| {
        config["Labels"][format!("org.opencontainers.image.{name}")].as_str().expect("a label")
    };
    assert_eq!((label("title"), label("version")), ("dispatchd", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        (label("licenses"), label("description")),
        (env!("CARGO_PKG_LICENSE"), env!("CARGO_PKG_DESCRIPTION"))
    );
    assert!(!label("revision").is_empty());
}

#[tokio::test]
async fn a_container_finds_kinesis_by_dns_acks_what_is_stored_and_ends_with_0_on_sigterm() {
    let Some(image) = Image::unpack() else { return };
    let (ferro, address) = ferro().await;
    let _names = name_server().await;
    image.mount("etc/resolv.conf", format!("nameserver {NAME_SERVER}\n"));
    let port = address.rsplit(':').next().expect("a port");
    let container = image.run(&format!("http://kinesis.test:{port}"), &[]).await;
    let mut caller = image.connect().await;
    let ack = caller.ask(&event(1, "k", r#"{"n":1}"#)).await;
    assert_eq!(ack["ok"], true, "{ack}");
    let stored = read_all(&client(&ferro.endpoint()), "orders").await;
    assert_eq!(ack["sequenceNumber"], stored[0].sequence.as_str());
    drop(caller);
    assert_eq!(container.stop().await, Some(0));
}

#[tokio::test]
async fn a_server_that_no_public_authority_knows_is_refused_and_one_of_ones_own_can_be_named() {
    let Some(image) = Image::unpack() else { return };
    let (_ferro, address) = ferro().await;
    let (tls, certificate, _task) = tls(address).await;
    image.mount("etc/hosts", "127.0.0.1 localhost\n");
    let endpoint = format!("https://localhost:{}", tls.port());

    let mut container = image.run(&endpoint, &[("DISPATCHD__SHUTDOWN__TIMEOUT", "1s")]).await;
    container.says("invalid peer certificate: UnknownIssuer").await;
    container.stop().await;

    image.mount("etc/own/ca.pem", certificate);
    let container = image.run(&endpoint, &[("SSL_CERT_FILE", "/etc/own/ca.pem")]).await;
    let ack = image.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(ack["ok"], true, "{ack}");
    assert_eq!(container.stop().await, Some(0));
}

#[tokio::test]
async fn an_application_of_another_user_reaches_the_socket_through_the_pods_group_alone() {
    let Some(image) = Image::unpack() else { return };
    let (ferro, _) = ferro().await;
    // As the kubelet makes an emptyDir of a pod with an fsGroup.
    let directory = image.root.path().join("run/dispatchd");
    std::os::unix::fs::chown(&directory, Some(0), Some(64_000)).expect("we are root");
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o2777)).expect("it is ours");
    let container = image.run(&ferro.endpoint(), &[]).await;
    let send = async |groups| {
        let sent = image
            .command("1000:1000", groups)
            .args(["/dispatchd", "send", "--type", "t"])
            .output()
            .await;
        sent.expect("there is chroot")
    };
    let sent = send("64000").await;
    assert!(String::from_utf8_lossy(&sent.stdout).contains(r#""ok":true"#), "{sent:?}");
    let refused = send("64001").await;
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("user 1000 may not connect to"),
        "{refused:?}"
    );
    assert_eq!(container.stop().await, Some(0));
}
