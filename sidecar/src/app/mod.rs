//! The wiring, as a table of contents.
//!
//! One thread per worker carries traffic; this one talks to the control plane and answers on the
//! admin addresses.

mod ask;
mod drain;
mod sockets;
mod start;

use crate::{
    config::{Cli, Command, Run},
    redirect, telemetry,
};
use clap::Parser as _;
use std::{ffi::OsString, fmt, process::ExitCode};

/// Wrong usage, a port in use, a missing folder.
const USAGE: u8 = 2;

/// Runs the program with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nowhere to say it is left where this fails.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Redirect(args) => redirect::run(args),
        Command::Drain(flags) => ask::drain(&flags).unwrap_or_else(|failure| failure.report()),
        Command::Run(flags) => run(&flags).unwrap_or_else(|failure| failure.report()),
    }
}

/// Why the sidecar did not start.
#[derive(Debug)]
struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// The caller asked for something that can't be had.
    fn usage(sentence: impl fmt::Display) -> Self {
        Self {
            code: USAGE,
            sentence: sentence.to_string(),
        }
    }

    /// The system refused.
    fn system(sentence: impl fmt::Display) -> Self {
        Self {
            code: 1,
            sentence: sentence.to_string(),
        }
    }

    #[expect(clippy::print_stderr, reason = "the program's last word")]
    fn report(&self) -> ExitCode {
        eprintln!("segue-sidecar: {}", self.sentence);
        ExitCode::from(self.code)
    }
}

fn run(flags: &Run) -> Result<ExitCode, Failure> {
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system(format_args!("no runtime: {error}")))?;
    runtime.block_on(async {
        let signals = drain::Signals::listen()?;
        let sockets = sockets::Sockets::bind(flags)?;
        let sidecar = start::Sidecar::start(flags, sockets).await?;
        Ok(drain::until_stopped(signals, sidecar, flags.drain_timeout).await)
    })
}
