//! Segue's control plane. See the library for everything.

fn main() -> std::process::ExitCode {
    segue_control_plane::app::main(std::env::args_os())
}
