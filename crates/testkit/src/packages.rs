//! The packages that tests run: installed by the tests themselves, once. Those from npm, PyPI,
//! Maven and of Go are pinned by a committed file of this crate; those of the system's own Debian
//! release are unpacked beside the build: nothing is installed.
//!
//! Where node, python, java, go, apt or a registry is missing there is no such folder: the test
//! says so and passes, so that a laptop without them can run the rest. Never on CI: there it
//! panics, or a promise would go unchecked in silence.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A committed file of this crate, such as `python/reader.py`: what tests run that is no Rust.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where packages are kept: Cargo's folder for the files of tests, beside the build that this test
/// belongs to.
fn kept(name: &str) -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| format!("the test's own file: {error}"))?;
    // target/debug/deps/TEST
    let target = test.ancestors().nth(3).ok_or("the test's own file is not in a build")?;
    let folder = target.join("tmp");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.join(name))
}

/// The folder `node` with its `node_modules` as `package-lock.json` says; `None` where node is
/// missing. Blocks while it installs.
pub fn node() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| npm("node", &["ci"])).clone()
}

/// The same of the folder `schemas`: many packages, which few tests need. None of their own scripts
/// runs: one of them reports who installs it.
pub fn node_schemas() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| npm("schemas", &["ci", "--ignore-scripts"])).clone()
}

fn npm(name: &str, words: &[&str]) -> Option<PathBuf> {
    let install = || {
        run(Command::new("node").arg("--version"))?;
        let folder = file(name);
        install(&folder.join("package-lock.json"), &folder.join("node_modules"), |_| {
            run(Command::new("npm").args(words).current_dir(&folder))
        })?;
        Ok(folder)
    };
    unless_on_ci("node", install())
}

/// The programs of a virtual environment with what `python/requirements.txt` says; `None` where
/// python3 is missing. Blocks while it installs.
pub fn python() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| venv("python", "python/requirements.txt", &[])).clone()
}

/// The same with what `python/http.txt` says, in an environment of its own: two of its packages
/// would not share one with the others.
pub fn python_http() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| venv("python-http", "python/http.txt", &[])).clone()
}

/// The same with what `python/powertools.txt` says.
pub fn python_powertools() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| venv("python-powertools", "python/powertools.txt", &[])).clone()
}

/// The same with what `python/lambda.txt` says.
pub fn python_lambda() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| venv("python-lambda", "python/lambda.txt", &["--no-deps"])).clone()
}

/// The folder that holds amazon_kclpy, for PYTHONPATH, as `python/kclpy.txt` says; `None` where
/// python3 is missing. Blocks while it downloads. It is unpacked and not installed: that would
/// fetch the jars of the KCL.
pub fn kclpy() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        let (pinned, folder) = (file("python/kclpy.txt"), kept("kclpy")?);
        install(&pinned, &folder, |folder| {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            let download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check"];
            run(Command::new("python3")
                .args(download)
                .args(["--no-deps", "--no-binary", ":all:", "--requirement"])
                .arg(&pinned)
                .current_dir(folder))?;
            let unpack = "tar -xzf amazon_kclpy-*.tar.gz --strip-components 1";
            run(Command::new("sh").args(["-c", unpack]).current_dir(folder))
        })?;
        Ok(folder)
    };
    FOLDER.get_or_init(|| unless_on_ci("python3", install())).clone()
}

fn venv(name: &str, requirements: &str, options: &[&str]) -> Option<PathBuf> {
    let pinned = file(requirements);
    let install = || {
        let folder = kept(name)?;
        install(&pinned, &folder, |folder| {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
            let pip =
                ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            run(Command::new(folder.join("bin/python")).args(pip).arg(&pinned).args(options))
        })?;
        Ok(folder.join("bin"))
    };
    unless_on_ci("python3", install())
}

/// The jars of the KCL and what it needs, as `java/kcl/pom.xml` says; `None` where a JDK or Maven
/// is missing. Blocks while it downloads.
pub fn kcl() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| jars("kcl")).clone()
}

/// The same of EventBridge's matcher, as `java/event-ruler/pom.xml` says.
pub fn event_ruler() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| jars("event-ruler")).clone()
}

fn jars(name: &str) -> Option<PathBuf> {
    let install = || {
        run(Command::new("javac").arg("--version"))?;
        let pom = file(&format!("java/{name}/pom.xml"));
        let folder = kept(name)?;
        install(&pom, &folder, |folder| {
            let copy = ["--quiet", "--batch-mode", "dependency:copy-dependencies"];
            let into = format!("-DoutputDirectory={}", folder.display());
            run(Command::new("mvn").args(copy).arg(into).arg("--file").arg(&pom))
        })?;
        Ok(folder)
    };
    unless_on_ci("a JDK and Maven", install())
}

/// The program of `go/reader`, with the modules that `go/go.sum` says; `None` where go is missing.
/// Blocks while it builds.
pub fn go_reader() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| unless_on_ci("go", go_build("reader"))).clone()
}

/// The same of `go/writer`.
pub fn go_writer() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| unless_on_ci("go", go_build("writer"))).clone()
}

/// The same of `go/app`.
pub fn go_app() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| unless_on_ci("go", go_build("app"))).clone()
}

/// AWS's own runtime interface emulator, at the version in `go-rie/go.mod`, which asks for a newer
/// Go than the programs do: an older one fetches it from where modules come from.
pub fn lambda_emulator() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let package = "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie";
    let build = || go_build_of("rie", package, "go-rie");
    PROGRAM.get_or_init(|| unless_on_ci("go", build())).clone()
}

fn go_build(name: &str) -> Result<PathBuf, String> {
    go_build_of(name, &format!("./{name}"), "go")
}

/// Builds a package, as the module in this folder has it.
fn go_build_of(name: &str, package: &str, module: &str) -> Result<PathBuf, String> {
    let program = kept(&format!("go-{name}"))?;
    run(Command::new("go")
        .env("GOTOOLCHAIN", "auto") // Debian's stays with what it is
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(package)
        .current_dir(file(module)))?;
    Ok(program)
}

/// The programs `prometheus` and `promtool`; `None` where there is no apt. Blocks while it
/// downloads.
pub fn prometheus() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| debian("prometheus")).as_ref().map(|folder| folder.join("usr/bin"))
}

/// The library that lies to a program about the time, for LD_PRELOAD; `None` where there is no apt.
/// Blocks while it downloads.
pub fn faketime() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let libraries = FOLDER.get_or_init(|| debian("libfaketime")).as_ref()?.join("usr/lib");
    let mut architectures =
        fs::read_dir(&libraries).expect("the package has it").filter_map(Result::ok);
    architectures.find_map(|entry| {
        Some(entry.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists())
    })
}

/// A package of the system's own Debian release, unpacked.
fn debian(package: &str) -> Option<PathBuf> {
    let unpack = || {
        let folder = kept(package)?;
        install(Path::new("/etc/os-release"), &folder, |folder| {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            // A fresh machine may have no lists of packages yet.
            let unpack = format!(
                "apt-get download {package} || {{ apt-get update && apt-get download {package}; }} \
                 && dpkg -x {package}_*.deb . && rm {package}_*.deb"
            );
            run(Command::new("sh").args(["-c", &unpack]).current_dir(folder))
        })?;
        Ok(folder)
    };
    unless_on_ci(&format!("{package} from Debian"), unpack())
}

/// What a test needs of the machine, or nothing, aloud; on CI there is no nothing.
pub fn unless_on_ci<T>(what: &str, installed: Result<T, String>) -> Option<T> {
    installed
        .inspect_err(|reason| {
            let on_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!on_ci, "CI must run the tests that need {what}: {reason}");
            eprintln!("not run, it needs {what}: {reason}");
        })
        .ok()
}

/// Test binaries run at the same time, in threads and in processes: the first one installs under a
/// file lock, the others wait for it and then find the stamp, a copy of the file that the versions
/// are pinned by.
fn install(
    pinned: &Path,
    folder: &Path,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("{what}: {error}")
    };
    let mut lock = folder.as_os_str().to_owned();
    lock.push(".lock");
    let guard = File::create(lock).map_err(failed("install lock"))?;
    guard.lock().map_err(failed("install lock"))?;
    let wanted = fs::read(pinned).map_err(failed("pinned versions"))?;
    let stamp = folder.join(".installed-from");
    if fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    install(folder)?;
    fs::write(&stamp, wanted).map_err(failed("install stamp"))
}

/// Runs it to its end. An error has the command and what it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
