//! The verbs over the control API: what goes in as flags, what comes out as tables, JSON or YAML.
//!
//! JSON and YAML are the Kubernetes-shaped object. Nothing is decided here.

mod client;
pub mod generate;
mod object;
mod output;
pub mod policy;
pub mod proxy;
mod table;
mod time;
pub mod upgrade;

pub use client::Server;
pub use output::Format;

use std::{future::Future, io, process::ExitCode};
use tonic::Code;

/// Why a verb failed; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// The control plane can't be reached.
    #[error(
        "no control plane answers at {server}: start one (`segue-control-plane standalone --manifests DIR`), or say where it is with --server or SEGUE_SERVER ({reason})"
    )]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The control plane says no.
    #[error("{0}")]
    Refused(String),
    /// Documents are invalid; a line each.
    #[error("{0}")]
    Invalid(String),
    /// The person at the terminal wants no more.
    #[error("interrupted")]
    Interrupted,
    /// What was waited for did not come.
    #[error("{0}")]
    NotReached(String),
    /// The output is closed or full.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = match (status.code(), status.message()) {
            (code, "") => code.to_string(),
            (_, message) => message.to_owned(),
        };
        let advice = match status.code() {
            Code::Aborted => "; see `segue upgrade get`, then ask with the new --resource-version",
            Code::DeadlineExceeded | Code::Cancelled => "; allow more time with --timeout",
            Code::Unavailable => "; the same command may be sent again",
            _ => "",
        };
        Self::Refused(format!("{message}{advice}"))
    }
}

/// Runs a verb to its end and says how it went.
pub fn run(verb: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(verb),
        Err(error) => Err(Failure::Output(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if !matches!(failure, Failure::Interrupted) {
                drop(output::eprint(&format!("segue: {failure}\n")));
            }
            ExitCode::from(match failure {
                Failure::Usage(_) | Failure::Invalid(_) => 2,
                // As a shell says it of SIGINT.
                Failure::Interrupted => 130,
                _ => 1,
            })
        }
    }
}
