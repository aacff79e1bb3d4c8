//! The way into the lab: decides between namespaces and loopback, and ties the lab's life to this process.
//!
//! A process that enters a user namespace can't go back, so a child tries everything first. The program is then started
//! once more as the first process of a process number space: whatever it starts dies with it.

use super::{namespace, program::EXECUTABLE};
use anyhow::{Context as _, Result};
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::SignalFd,
    },
    unistd::{Pid, getpid},
};
use std::{
    ffi::OsString,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitCode, ExitStatus},
};

/// Set for the program that runs inside; `loopback` asks for the fallback.
const VARIABLE: &str = "SEGUE_LAB";
const INSIDE: &str = "inside";
const LOOPBACK: &str = "loopback";

/// How Pods are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Each Pod is a network namespace with real redirection.
    Namespaces,
    /// Each Pod is a loopback address, its sidecar an explicit proxy.
    Loopback {
        /// Why there are no namespaces.
        reason: String,
    },
}

/// What [`enter`] did.
#[derive(Debug)]
pub enum Entered {
    /// This process is the one that runs the lab.
    Inside(Mode),
    /// The lab ran in a child, which has ended like this.
    Finished(ExitCode),
}

/// Enters the lab. `arguments` are the program's own, its name first.
///
/// To be called while the program has one thread: before any runtime. The caller goes on where it is told `Inside`, and
/// ends with the code where it is told `Finished`.
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> Entered {
    let variable = std::env::var_os(VARIABLE).unwrap_or_default();
    if variable == INSIDE && getpid() == Pid::from_raw(1) {
        // Its parent is beyond the process number space, but its death reaches it.
        if prctl::set_pdeathsig(Signal::SIGKILL).is_err() {
            tracing::warn!("the lab may outlive a killed parent");
        }
        return Entered::Inside(Mode::Namespaces);
    }
    if variable == LOOPBACK {
        return Entered::Inside(Mode::Loopback {
            reason: format!("{VARIABLE}={LOOPBACK} is set"),
        });
    }
    if let Err(reason) = rehearse() {
        return Entered::Inside(Mode::Loopback {
            reason: format!("{reason:#}"),
        });
    }
    match run_inside(arguments) {
        Ok(code) => Entered::Finished(code),
        Err(error) => Entered::Finished(failed(&error)),
    }
}

#[expect(clippy::print_stderr, reason = "the process ends with this sentence")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("segue: the lab cannot be entered: {error:#}");
    ExitCode::FAILURE
}

/// Lets a child try everything that the lab needs.
fn rehearse() -> Result<()> {
    let tried = Command::new(EXECUTABLE)
        .arg0("segue-lab-pod")
        .arg("probe")
        .output()
        .context("cannot start a process of this program")?;
    let complaint = String::from_utf8_lossy(&tried.stderr);
    anyhow::ensure!(tried.status.success(), "{}", complaint.trim());
    Ok(())
}

fn run_inside(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_else(|| OsString::from("segue"));
    namespace::enter_cluster()?;
    let child = Command::new(EXECUTABLE)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, INSIDE)
        .spawn()
        .context("cannot start the lab's first process")?;
    supervise(child)
}

/// Passes signals on until the child has ended; who asks it to end for the third time has it killed.
///
/// What a terminal sends goes to the child by itself; passing it on would make two of one.
fn supervise(mut child: Child) -> Result<ExitCode> {
    let mut watched = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGUSR1,
    ] {
        watched.add(signal);
    }
    watched.thread_block().context("cannot hold signals back")?;
    let signals = SignalFd::new(&watched).context("cannot read signals")?;
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a process number out of range")?);
    let mut asked = 0;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the lab")? {
            return Ok(code(status));
        }
        let Some(info) = signals.read_signal().context("cannot read signals")? else {
            continue;
        };
        let signal = i32::try_from(info.ssi_signo)
            .ok()
            .and_then(|raw| Signal::try_from(raw).ok());
        let from_a_process = info.ssi_code <= 0;
        let passed_on = match signal {
            None | Some(Signal::SIGCHLD) => continue,
            Some(Signal::SIGINT | Signal::SIGTERM) if asked == 2 => Signal::SIGKILL,
            Some(signal) => {
                asked += u8::from(matches!(signal, Signal::SIGINT | Signal::SIGTERM));
                if !from_a_process {
                    continue;
                }
                signal
            }
        };
        if let Err(error) = kill(pid, passed_on) {
            tracing::debug!(%error, %passed_on, "the lab is gone before the signal");
        }
    }
}

/// As a shell reports it.
fn code(status: ExitStatus) -> ExitCode {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    number
        .and_then(|number| u8::try_from(number).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
