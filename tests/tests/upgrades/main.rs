//! Upgrades in the lab, from beginning to end: real Pods, real redirection, real load, every way to go wrong.
//!
//! `cargo test -p segue-tests --test upgrades [-- [--long] [NAME…]]` runs the scenarios whose names contain one of the
//! words, some at a time, and prints a line for each: how it ended, requests, those that the bad version failed, those
//! that failed otherwise (there must be none), and the time from the first bad answer to the last request on the bad
//! version. Which version a failed request went to is known by its id: instances keep the ids that reach them.
//!
//! Has no test harness: only a process with one thread may enter a user namespace. Each scenario is a process with
//! namespaces of its own. Where the kernel refuses them it says so and passes, unless `SEGUE_REQUIRE_NAMESPACES=1`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test without a harness reports by itself, and fails by panicking"
)]

mod events;
mod faults;
mod inside;
mod mesh;
mod nats;
mod outcome;
mod outside;
mod placing;
mod plain;
mod policy;
mod ready;
mod run;
mod sink;
mod table;
mod traffic;
mod verbs;

use inside::SKIPPED;
use segue_cli::lab::{self, Entered};
use std::{env, ffi::OsString, process::ExitCode};

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
        [_, "scenario", name] => scenario(name, arguments.clone()),
        [_, "--list", ..] => list(),
        [_, words @ ..] => run::all(words),
        [] => ExitCode::FAILURE,
    }
}

fn list() -> ExitCode {
    for scenario in table::all() {
        println!("{}: test", scenario.name);
    }
    ExitCode::SUCCESS
}

/// One scenario, in this process.
fn scenario(name: &str, arguments: Vec<OsString>) -> ExitCode {
    let found = table::all()
        .into_iter()
        .find(|scenario| scenario.name == name);
    let scenario = found.unwrap_or_else(|| panic!("there is no scenario {name}"));
    if let Some(why) = (scenario.lacks)() {
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
    let outcome = inside::runtime().block_on((scenario.play)(mode));
    println!("{}", serde_json::to_string(&outcome).unwrap());
    ExitCode::SUCCESS
}
