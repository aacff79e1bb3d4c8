//! The lab's control plane: a process that can be killed and comes back on the same ports.

use super::{
    Lab, Mode,
    program::{self, arguments},
};
use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// What a control plane is started with.
#[derive(Debug, Clone)]
pub struct ControlPlaneSpec {
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// Where it keeps its state.
    pub state: PathBuf,
    /// Further flags.
    pub extra: Vec<OsString>,
}

/// A control plane of the lab.
#[derive(Debug)]
pub struct ControlPlane {
    spec: ControlPlaneSpec,
    log: PathBuf,
    /// Tied to its parent's life, where no process number space does that.
    tied: bool,
    xds: SocketAddr,
    http: SocketAddr,
    process: Child,
}

impl ControlPlane {
    /// Starts it and waits until it serves.
    pub async fn start(lab: &Lab, spec: ControlPlaneSpec) -> Result<Self> {
        let log = lab.logs().join("control-plane.log");
        let tied = matches!(lab.mode(), Mode::Loopback { .. });
        let (xds, http) = if tied { (0, 0) } else { (15_010, 15_014) };
        let asked = (
            SocketAddr::new(lab.gateway(), xds),
            SocketAddr::new(lab.gateway(), http),
        );
        let mut process = spawn(&spec, &log, tied, asked)?;
        let found = program::serving(&mut process, "the control plane", &log).await?;
        let address = |name: &str, asked| found.get(name).copied().unwrap_or(asked);
        let (xds, http) = (address("xds", asked.0), address("http", asked.1));
        Ok(Self {
            spec,
            log,
            tied,
            xds,
            http,
            process,
        })
    }

    /// Where it speaks xDS and the control API.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Where it tells its metrics and health.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// As sidecars and the command line take it.
    pub fn url(&self) -> String {
        format!("http://{}", self.xds)
    }

    /// Its process's number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process
            .try_wait()
            .context("cannot wait for the control plane")
    }

    /// Kills it at whatever instruction it is.
    pub async fn kill(&mut self) -> Result<()> {
        self.process
            .kill()
            .await
            .context("cannot kill the control plane")
    }

    /// Starts it again on the same ports; kills it first where it still runs.
    pub async fn restart(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            self.kill().await?;
        }
        self.process = spawn(&self.spec, &self.log, self.tied, (self.xds, self.http))?;
        program::serving(&mut self.process, "the control plane", &self.log).await?;
        Ok(())
    }

    /// Lets it end in order; kills it after `grace`.
    pub async fn stop(mut self, grace: Duration) -> Result<ExitStatus> {
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot stop the control plane")?;
        }
        if let Ok(status) = timeout(grace, self.process.wait()).await {
            return status.context("cannot wait for the control plane");
        }
        self.kill().await?;
        self.process
            .wait()
            .await
            .context("cannot wait for the control plane")
    }
}

fn spawn(
    spec: &ControlPlaneSpec,
    log: &std::path::Path,
    tied: bool,
    (xds, http): (SocketAddr, SocketAddr),
) -> Result<Child> {
    let mut command = if tied {
        let mut command: Command = program::program("segue-lab-pod");
        command.args(["exec", "segue-control-plane"]);
        command
    } else {
        program::program("segue-control-plane")
    };
    command
        .args(arguments([
            &"standalone",
            &"--manifests",
            &spec.manifests,
            &"--state",
            &spec.state,
        ]))
        .args(["--xds", &xds.to_string(), "--http", &http.to_string()])
        .args(&spec.extra)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(program::log(log)?)
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().context("cannot start the control plane")
}
