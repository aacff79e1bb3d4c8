//! Segue's sidecar. See the library for everything.

fn main() -> std::process::ExitCode {
    segue_sidecar::app::main(std::env::args_os())
}
