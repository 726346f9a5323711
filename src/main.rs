//! Arguments → command → exit code.

fn main() -> std::process::ExitCode {
    dispatchd::cli::main()
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
