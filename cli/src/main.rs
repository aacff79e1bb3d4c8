//! The `segue` command. See the library for everything.

fn main() -> std::process::ExitCode {
    segue_cli::main(std::env::args_os())
}
