//! Arguments → command → exit code.

fn main() -> std::process::ExitCode {
    dispatchd::cli::main()
}
