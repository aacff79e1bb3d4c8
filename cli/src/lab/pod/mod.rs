//! A Pod, seen by the lab: started with everything it holds, and told what to do. Its inside is `pause`.

mod child;
mod line;
mod pause;
mod protocol;
mod ready;

pub use pause::main;
pub use protocol::{Exit, Part};

use super::{MARK, network::Network, program};
use anyhow::{Context as _, Result, bail};
use line::{Answer, Line};
use protocol::{Command, PodNetwork, Start};
use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Child, sync::mpsc};

/// Where redirection brings connections of a Pod with a sidecar: outbound, inbound.
const REDIRECTED: (u16, u16) = (15_001, 15_006);

/// What a Pod is started with.
#[derive(Debug, Clone, Default)]
pub struct PodSpec {
    /// `NAMESPACE/NAME`.
    pub workload: String,
    /// Its address, from [`super::Lab::allocate`]; one is taken where there is none.
    pub address: Option<IpAddr>,
    /// The application's program and arguments: one of the lab's by name, or any of the system's. In every argument
    /// `{address}` stands for the Pod's address, and `{proxy}` for `ADDRESS:PORT` of its sidecar where that is an
    /// explicit proxy, else for nothing. The same is in the environment as `SEGUE_LAB_ADDRESS`, `SEGUE_LAB_PROXY`, and
    /// the workload as `SEGUE_LAB_WORKLOAD`.
    pub app: Option<Vec<OsString>>,
    /// The sidecar, if the Pod has one.
    pub sidecar: Option<SidecarSpec>,
    /// Redirect to these ports (outbound, inbound) although there is no sidecar: to a program of the Pod's own.
    pub redirect: Option<(u16, u16)>,
    /// Whether [`Pod::app_lines`] tells the application's output; else it goes to its log.
    pub lines: bool,
}

/// What a sidecar is started with.
#[derive(Debug, Clone)]
pub struct SidecarSpec {
    /// The control plane's URL.
    pub control_plane: String,
    /// Where it keeps the last good configuration; made where it is missing.
    pub state: PathBuf,
    /// Further flags.
    pub extra: Vec<OsString>,
}

/// How a Pod ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// What did not end within the grace and was killed.
    pub killed: Vec<Part>,
}

/// A running Pod. Dropping it kills everything in it.
#[derive(Debug)]
pub struct Pod {
    workload: String,
    address: IpAddr,
    proxy: Option<SocketAddr>,
    line: Line,
    process: Child,
    lines: Option<mpsc::UnboundedReceiver<String>>,
    exits: mpsc::UnboundedReceiver<Exit>,
}

impl Pod {
    /// `NAMESPACE/NAME`.
    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Where its sidecar is an explicit proxy; `None` where connections are redirected.
    pub fn outbound_proxy(&self) -> Option<SocketAddr> {
        self.proxy
    }

    /// The application's output, line by line; empty the second time, and where the spec did not ask for it.
    pub fn app_lines(&mut self) -> mpsc::UnboundedReceiver<String> {
        self.lines
            .take()
            .unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// The next process of the Pod that ends; `None` once the Pod is gone.
    pub async fn exited(&mut self) -> Option<Exit> {
        self.exits.recv().await
    }

    /// Ends the application, then the sidecar; what is left after `grace` is killed.
    pub async fn stop(mut self, grace: Duration) -> Result<Stopped> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let answer = self.tell(Command::Stop { grace_ms }).await?;
        self.process
            .wait()
            .await
            .context("cannot wait for the Pod")?;
        match answer {
            Answer::Stopped(killed) => Ok(Stopped { killed }),
            Answer::Done | Answer::Started(_) => Ok(Stopped::default()),
        }
    }

    /// Kills the application at whatever instruction it is.
    pub async fn kill_app(&mut self) -> Result<()> {
        self.tell(Command::KillApp).await.map(drop)
    }

    /// Sends the application a signal, such as 10 (SIGUSR1), by which the lab's own application turns bad.
    pub async fn signal_app(&mut self, signal: i32) -> Result<()> {
        self.tell(Command::SignalApp { signal }).await.map(drop)
    }

    /// Kills the sidecar at whatever instruction it is.
    pub async fn kill_sidecar(&mut self) -> Result<()> {
        self.tell(Command::KillSidecar).await.map(drop)
    }

    /// Sends the sidecar a signal, such as 19 (SIGSTOP) and 18 (SIGCONT).
    pub async fn signal_sidecar(&mut self, signal: i32) -> Result<()> {
        self.tell(Command::SignalSidecar { signal }).await.map(drop)
    }

    /// Starts the sidecar again and waits until it serves; kills it first where it still runs.
    pub async fn restart_sidecar(&mut self) -> Result<()> {
        self.tell(Command::RestartSidecar).await.map(drop)
    }

    async fn tell(&self, command: Command) -> Result<Answer> {
        let answer = self.line.tell(command).await;
        answer.with_context(|| format!("the Pod {}", self.workload))
    }
}

/// Starts a Pod: in a network namespace of its own where there is a network, else on its address.
pub(super) async fn start(
    network: Option<&Network>,
    logs: &Path,
    address: IpAddr,
    spec: PodSpec,
) -> Result<Pod> {
    if !spec.workload.contains('/') {
        bail!("'{}' is no workload; write NAMESPACE/NAME", spec.workload);
    }
    if let Some(SidecarSpec { state, .. }) = &spec.sidecar {
        fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    }
    let name = spec.workload.replace('/', "-");
    let mut process = program("segue-lab-pod")
        .args([
            "pause",
            if network.is_some() {
                "namespace"
            } else {
                "loopback"
            },
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(program::log(&logs.join(format!("{name}.pod.log")))?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start its first process")?;
    let pid = process.id().context("its first process is gone")?;
    let (line, events) = line::open(&mut process).await?;
    let cable = match network {
        Some(network) => Some(plug_in(network, address, pid).await?),
        None => None,
    };
    let mut pod = Pod {
        workload: spec.workload.clone(),
        address,
        proxy: None,
        line,
        process,
        lines: Some(events.lines),
        exits: events.exits,
    };
    let start = command(spec, name, logs, address, cable);
    if let Answer::Started(proxy) = pod.tell(Command::Start(Box::new(start))).await? {
        pod.proxy = proxy;
    }
    Ok(pod)
}

async fn plug_in(network: &Network, address: IpAddr, pid: u32) -> Result<PodNetwork> {
    let IpAddr::V4(address) = address else {
        bail!("{address}: Pods have IPv4 addresses")
    };
    let [.., high, low] = address.octets();
    let (outer, inner) = (format!("sg{high}-{low}"), format!("sgp{high}-{low}"));
    network.cable(&outer, &inner, pid).await?;
    Ok(PodNetwork {
        link: inner,
        address,
    })
}

fn command(
    spec: PodSpec,
    name: String,
    logs: &Path,
    address: IpAddr,
    network: Option<PodNetwork>,
) -> Start {
    let redirected = network.is_some();
    let ports = spec
        .redirect
        .or_else(|| spec.sidecar.is_some().then_some(REDIRECTED));
    let at = address.to_string();
    let fill = |argument: OsString| match argument.into_string() {
        Ok(text) => text.replace("{address}", &at).into(),
        Err(other) => other,
    };
    let sidecar = spec
        .sidecar
        .map(|sidecar| sidecar_argv(&spec.workload, sidecar, redirected));
    Start {
        name,
        logs: logs.to_owned(),
        network,
        redirect: ports.filter(|_| redirected),
        explicit: (sidecar.is_some() && !redirected).then_some(address),
        sidecar,
        app: spec.app.map(|argv| argv.into_iter().map(fill).collect()),
        environment: vec![
            ("SEGUE_LAB_WORKLOAD".to_owned(), spec.workload.into()),
            ("SEGUE_LAB_ADDRESS".to_owned(), at.into()),
        ],
        lines: spec.lines,
    }
}

fn sidecar_argv(workload: &str, spec: SidecarSpec, redirected: bool) -> Vec<OsString> {
    let mut argv = program::arguments([
        &"segue-sidecar",
        &"run",
        &"--control-plane",
        &spec.control_plane,
        &"--workload",
        &workload,
        &"--state",
        &spec.state,
        &"--threads",
        &"1",
    ]);
    if redirected {
        argv.extend(program::arguments([&"--mark", &MARK.to_string()]));
    }
    argv.extend(spec.extra);
    argv
}
