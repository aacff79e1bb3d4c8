//! The `segue` command: upgrade verbs, status, the lab and the demo.
//!
//! One file, several programs: called by the name of one of Segue's other programs it is that
//! program. So the lab needs nothing but this file to start a whole mesh.

pub mod demo;
pub mod lab;
pub mod verbs;

use clap::{Command, CommandFactory as _, Parser, Subcommand};
use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

/// Segue replaces the running version of a service with no failed request and no lost session.
#[derive(Debug, Parser)]
#[command(name = "segue", version, arg_required_else_help = true)]
struct Segue {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show and steer upgrades
    #[command(alias = "upgrades", subcommand_required = true)]
    Upgrade(verbs::upgrade::Args),
    /// Show the proxies and what each has applied
    #[command(alias = "proxies", subcommand_required = true)]
    Proxy(verbs::proxy::Args),
    /// Check policies, and show which one holds where
    #[command(alias = "policies", subcommand_required = true)]
    Policy(verbs::policy::Args),
    // Its arguments bring its help.
    Demo(demo::Args),
    /// Write a completion script for a shell
    Completions(verbs::generate::Completions),
    /// Write man pages for all three programs
    Man(verbs::generate::Man),
}

/// Runs the program with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments
        .first()
        .and_then(|path| Path::new(path).file_name())
        .and_then(OsStr::to_str);
    match name {
        Some("segue-control-plane") => segue_control_plane::app::main(arguments),
        Some("segue-sidecar") => segue_sidecar::app::main(arguments),
        Some("segue-lab-pod") => lab::pod::main(arguments),
        Some("segue-lab-app") => lab::app::main(arguments),
        Some("segue-lab-load") => demo::load::main(arguments),
        _ => segue(arguments),
    }
}

fn segue(arguments: Vec<OsString>) -> ExitCode {
    let segue = match Segue::try_parse_from(arguments) {
        Ok(segue) => segue,
        Err(error) => {
            // Without a place to write to, the code alone tells.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    // The demo forks before there is any thread: no runtime here.
    match segue.verb {
        Verb::Upgrade(args) => verbs::run(verbs::upgrade::run(args)),
        Verb::Proxy(args) => verbs::run(verbs::proxy::run(args)),
        Verb::Policy(args) => verbs::run(verbs::policy::run(args)),
        Verb::Demo(args) => demo::run(&args),
        Verb::Completions(args) => {
            verbs::run(async move { verbs::generate::completions(&args, programs()) })
        }
        Verb::Man(args) => verbs::run(async move { verbs::generate::man(&args, programs()) }),
    }
}

/// The flags of all three programs, our own first.
fn programs() -> Vec<Command> {
    vec![
        Segue::command(),
        segue_control_plane::config::Config::command(),
        segue_sidecar::config::Cli::command(),
    ]
}
