//! Protocols through two sidecars, the client's outbound and the server's inbound, with real redirection: HTTP/2 by
//! h2spec, gRPC, WebSocket, TLS that is passed through, and servers that speak first.
//!
//! `cargo test -p segue-tests --test protocols [-- NAME…]` runs the cases whose names contain one of the words and prints
//! a line for each. h2spec is a program of its own: `SEGUE_H2SPEC` says where it is (see `tests/peers/h2spec`); without
//! it those cases are skipped, unless `SEGUE_REQUIRE_H2SPEC=1`.
//!
//! Has no test harness: only a process with one thread may enter a user namespace, and this file is also the programs
//! that run in its Pods. Where the kernel refuses namespaces it says so and passes, unless `SEGUE_REQUIRE_NAMESPACES=1`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test without a harness reports by itself, and fails by panicking"
)]

mod cases;
mod grpc;
mod h2spec;
#[path = "../upgrades/inside.rs"]
mod inside;
mod mesh;
mod opaque;
mod server;
mod websocket;

use inside::{SKIPPED, runtime};
use nix::sys::{prctl, signal::Signal};
use segue_cli::lab::{self, Entered};
use std::{
    env,
    ffi::OsString,
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The programs of Pods are this one under other names.
        [name, ..] if name.starts_with("segue-") => segue_cli::main(arguments),
        [_, "serve"] => runtime().block_on(server::serve()),
        [_, "check", server, words @ ..] => runtime().block_on(cases::check(server, words)),
        [_, "inside", words @ ..] => inside(arguments.clone(), words),
        [_, words @ ..] if words.contains(&"--list") => list(),
        [_, words @ ..] => outside(words),
        [] => ExitCode::FAILURE,
    }
}

fn list() -> ExitCode {
    for case in cases::all() {
        println!("{}: test", case.name);
    }
    ExitCode::SUCCESS
}

/// In a process of its own, which can enter namespaces.
fn outside(words: &[&str]) -> ExitCode {
    let words: Vec<&&str> = words
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let mut command = Command::new("/proc/self/exe");
    let status = command.arg("inside").args(words).status().unwrap();
    if status.success() || status.code() == Some(SKIPPED.into()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn inside(arguments: Vec<OsString>, words: &[&str]) -> ExitCode {
    // Nobody waits for it once the tests are gone.
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    if cases::chosen(words).is_empty() {
        // A filter of another test target of the workspace is no failure.
        println!("no case is called {words:?}; `--list` shows them");
        return ExitCode::SUCCESS;
    }
    let mode = match lab::enter(arguments) {
        Entered::Finished(code) => return code,
        Entered::Inside(mode) => mode,
    };
    if let Some(refused) = inside::refusal(&mode) {
        println!("skipped: {refused}");
        return ExitCode::from(SKIPPED);
    }
    runtime().block_on(mesh::run(mode, words))
}
