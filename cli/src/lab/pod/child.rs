//! One process of a Pod: its life from start to end, told to the lab.
//!
//! The invariant: a signal goes only to a process that was not yet waited for, so never to a stranger with its number.

use super::{
    super::program,
    protocol::{Event, Exit, Part},
    ready::ready,
};
use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    sync::{mpsc, watch},
    time::timeout,
};

/// A process of the Pod that was started, and perhaps has ended.
#[derive(Debug)]
pub(super) struct Supervised {
    pid: Pid,
    ended: watch::Receiver<bool>,
}

impl Supervised {
    /// Sends it a signal, if it is still there.
    pub(super) fn signal(&self, signal: Signal) -> Result<bool> {
        if *self.ended.borrow() {
            return Ok(false);
        }
        kill(self.pid, signal).with_context(|| format!("cannot send {signal}"))?;
        Ok(true)
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) {
        // An error means that whoever waited for it is gone, and so is the process.
        drop(self.ended.wait_for(|ended| *ended).await);
    }

    /// Kills it with all that it started, and waits for its end.
    pub(super) async fn kill(&mut self) -> Result<()> {
        if !*self.ended.borrow() {
            killpg(self.pid, Signal::SIGKILL).context("cannot kill it")?;
        }
        self.ended().await;
        Ok(())
    }

    /// Lets it end in order; true where it had to be killed after `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> Result<bool> {
        if !self.signal(Signal::SIGTERM)? || timeout(grace, self.ended()).await.is_ok() {
            return Ok(false);
        }
        self.kill().await?;
        Ok(true)
    }
}

/// A command whose process ends with this one.
fn tied(argv: &[OsString]) -> Command {
    let mut command = program("segue-lab-pod");
    command
        .arg("exec")
        .args(argv)
        .stdin(Stdio::null())
        .process_group(0);
    command
}

/// Starts the application. Its output is told, or else goes to its log as its complaints do.
pub(super) fn application(
    argv: &[OsString],
    environment: &[(String, OsString)],
    log: &Path,
    lines: bool,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<Supervised> {
    let mut command = tied(argv);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdout(if lines {
        Stdio::piped()
    } else {
        program::log(log)?
    });
    command.stderr(program::log(log)?);
    let mut child = command.spawn().context("cannot start the application")?;
    let output = child.stdout.take();
    watch_over(child, Part::App, output, events)
}

/// Starts the sidecar and waits until it serves, and if it can until it has its configuration; tells where it listens.
pub(super) async fn sidecar(
    argv: &[OsString],
    log: &Path,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(Supervised, BTreeMap<String, SocketAddr>)> {
    let mut command = tied(argv);
    command.stdout(Stdio::piped()).stderr(program::log(log)?);
    let mut child = command.spawn().context("cannot start the sidecar")?;
    let addresses = match program::serving(&mut child, "the sidecar", log).await {
        Ok(addresses) => addresses,
        Err(error) => {
            // It may be gone already; then there is nothing to kill.
            drop(child.kill().await);
            return Err(error);
        }
    };
    if let Some(probe) = addresses.get("probe")
        && !ready(*probe).await
    {
        tracing::warn!("the sidecar has no configuration yet; the application starts all the same");
    }
    Ok((watch_over(child, Part::Sidecar, None, events)?, addresses))
}

fn watch_over(
    mut child: Child,
    part: Part,
    output: Option<ChildStdout>,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<Supervised> {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .context("it ended at once")?;
    let (end, ended) = watch::channel(false);
    let events = events.clone();
    tokio::spawn(async move {
        let lines = tokio::spawn(tell_lines(output, events.clone()));
        let status = child
            .wait()
            .await
            .unwrap_or_else(|_| ExitStatus::from_raw(0));
        end.send_replace(true);
        // First its last words, then its end.
        drop(lines.await);
        let exit = Exit {
            part,
            code: status.code(),
            signal: status.signal(),
        };
        drop(events.send(Event::Exited(exit)));
    });
    Ok(Supervised {
        pid: Pid::from_raw(pid),
        ended,
    })
}

/// Until the output closes.
async fn tell_lines(output: Option<ChildStdout>, events: mpsc::UnboundedSender<Event>) {
    let Some(output) = output else { return };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        drop(events.send(Event::Line { text }));
    }
}
