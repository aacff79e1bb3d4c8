//! The `segue` command once more, built for this package's tests.

fn main() -> std::process::ExitCode {
    segue_cli::main(std::env::args_os())
}
