//! The emulators that a function is run behind at home: AWS's runtime interface emulator, with
//! Lambda's own runtime client for Python, and cargo-lambda's. The function is one of the
//! testkit's.

use std::path::Path;

use testkit::packages::{file, lambda_emulator, python_lambda};
use tokio::fs;
use tokio::process::Command;
use tokio::task::spawn_blocking;

use crate::scene::Port;
use crate::script::Script;

/// The name of the function in cargo-lambda, where it is a package's.
const NAME: &str = "function";

/// The function behind AWS's emulator, which starts it when it is invoked first; `None` where go or
/// python is missing. It has so many seconds for an invocation.
pub(crate) async fn aws(folder: &Path, seconds: u32) -> Option<Script> {
    let emulator = spawn_blocking(lambda_emulator).await.expect("go build ends")?;
    let programs = spawn_blocking(python_lambda).await.expect("pip ends")?;
    let (invocations, runtime) = (Port::reserve(), Port::reserve());
    let mut command = Command::new(emulator);
    command.args(["--runtime-interface-emulator-address", &local(&invocations)]);
    command.args(["--runtime-api-address", &local(&runtime)]);
    command.arg(programs.join("python")).args(["-m", "awslambdaric", "lambda_function.handle"]);
    command.env("AWS_LAMBDA_FUNCTION_TIMEOUT", seconds.to_string());
    command.env("PYTHONPATH", file("python")).env("MARKS", folder);
    Some(Script::at(command, invocations.number()).await)
}

/// cargo-lambda's emulator, without the function; `None` where python is missing.
pub(crate) async fn cargo_lambda(folder: &Path) -> Option<Script> {
    let programs = spawn_blocking(python_lambda).await.expect("pip ends")?;
    package(folder).await.expect("the folder is writable");
    let invocations = Port::reserve();
    let mut command = Command::new(programs.join("cargo-lambda"));
    command.args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes"]);
    command.args(["--invoke-address", "127.0.0.1"]);
    command.args(["--invoke-port", &invocations.number().to_string()]);
    command.current_dir(folder);
    Some(Script::at(command, invocations.number()).await)
}

/// The function, which asks this emulator for work.
pub(crate) async fn function_of(emulator: &Script, folder: &Path) -> Script {
    let programs = spawn_blocking(python_lambda).await.expect("pip ends");
    let programs = programs.expect("the emulator is of the same folder");
    let mut command = Command::new(programs.join("python"));
    command.arg(file("python").join("lambda_runtime.py"));
    command.env("RUNTIME_API", format!("http://127.0.0.1:{}/.rt/{NAME}", emulator.port));
    command.env("MARKS", folder);
    Script::spawn(command)
}

fn local(port: &Port) -> String {
    format!("127.0.0.1:{}", port.number())
}

/// cargo-lambda looks for the names of functions in a package, and builds nothing of it here.
async fn package(folder: &Path) -> std::io::Result<()> {
    let manifest =
        format!("[package]\nname = \"{NAME}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    fs::create_dir_all(folder.join("src")).await?;
    fs::write(folder.join("Cargo.toml"), manifest).await?;
    fs::write(folder.join("src/main.rs"), "fn main() {}\n").await
}
