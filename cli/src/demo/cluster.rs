//! The demo's cluster: control plane, Pods and their manifests, as real processes in the lab.

use super::{
    Args, Fault,
    manifests::{self, Manifests, NAMES, NAMESPACE},
};
use crate::lab::{ControlPlane, ControlPlaneSpec, Lab, Mode, Pod, PodSpec, SidecarSpec, Stopped};
use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use std::{collections::BTreeMap, ffi::OsString, fs, net::IpAddr, path::PathBuf, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::Endpoint;

/// Instances of each version.
pub(super) const INSTANCES: usize = 3;
/// The Pod that sends the load.
pub(super) const CLIENT: &str = "web";
/// How long a Pod may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Where the control plane finds its manifests.
pub(super) const MANIFESTS: &str = "manifests";
/// Where the control plane keeps its state.
pub(super) const STATE: &str = "control-plane";
/// Where sidecars keep their last good configuration.
const SIDECARS: &str = "sidecars";
/// The signal by which the lab's application turns bad.
const SIGUSR1: i32 = 10;

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Cluster {
    lab: Lab,
    folder: PathBuf,
    manifests: Manifests,
    control_plane: ControlPlane,
    pods: BTreeMap<String, Pod>,
    stopping: JoinSet<(String, Result<Stopped>)>,
}

impl Cluster {
    /// Starts the lab and the control plane in this folder.
    pub(super) async fn start(mode: Mode, folder: PathBuf, args: &Args) -> Result<Self> {
        let service: IpAddr = manifests::CLUSTER_IP.parse()?;
        let hosts = NAMES.map(|name| (name.to_owned(), service));
        let lab = Lab::start(mode, &folder, &hosts).await?;
        fs::create_dir_all(folder.join(SIDECARS)).context("the sidecars' folder cannot be made")?;
        let manifests = Manifests::create(folder.join(MANIFESTS), &args.timing)
            .context("the manifests cannot be written")?;
        let spec = ControlPlaneSpec {
            manifests: manifests.folder().to_owned(),
            state: folder.join(STATE),
            extra: Vec::new(),
        };
        let control_plane = ControlPlane::start(&lab, spec).await?;
        Ok(Self {
            lab,
            folder,
            manifests,
            control_plane,
            pods: BTreeMap::new(),
            stopping: JoinSet::new(),
        })
    }

    /// What the lab had to do without.
    pub(super) fn notes(&self) -> &[String] {
        self.lab.notes()
    }

    /// The control API.
    pub(super) fn server(&self) -> Result<Endpoint> {
        Ok(Endpoint::from_shared(self.control_plane.url())?)
    }

    /// Starts a version's instances: as an operator does, manifest and process.
    pub(super) async fn start_version(
        &mut self,
        version: &str,
        fault: Option<Fault>,
    ) -> Result<()> {
        let mut specs = Vec::new();
        for number in 0..INSTANCES {
            let name = format!("checkout-{version}-{number}");
            let address = self.lab.allocate();
            self.manifests.add_instance(&name, version, address)?;
            let mut app = vec![
                "segue-lab-app".to_owned(),
                "--version".to_owned(),
                version.to_owned(),
                "--http".to_owned(),
                self.bound(address, manifests::HTTP_TARGET),
                "--tcp".to_owned(),
                self.bound(address, manifests::TCP_TARGET),
            ];
            if let Some(fault) = fault {
                app.extend(["--fault".to_owned(), fault.name().to_owned()]);
            }
            specs.push((name.clone(), self.spec(&name, address, app, false)));
        }
        let lab = &self.lab;
        let started = try_join_all(specs.into_iter().map(async |(name, spec)| {
            let pod = lab.start_pod(spec).await?;
            anyhow::Ok((name, pod))
        }));
        self.pods.extend(started.await?);
        Ok(())
    }

    /// Starts the load; what it reports comes line by line.
    pub(super) async fn start_client(
        &mut self,
        args: &Args,
    ) -> Result<mpsc::UnboundedReceiver<String>> {
        let address = self.lab.allocate();
        self.manifests.add_client(CLIENT, address)?;
        let mut app: Vec<String> = [
            "segue-lab-load",
            "--host",
            manifests::HOST,
            "--address",
            manifests::CLUSTER_IP,
        ]
        .map(str::to_owned)
        .into();
        for (flag, value) in [
            ("--rate", args.rate),
            ("--sessions", args.rate / 5),
            ("--new-sessions", args.rate / 20),
            ("--seed", args.seed),
        ] {
            app.extend([flag.to_owned(), value.to_string()]);
        }
        if let Mode::Loopback { .. } = self.lab.mode() {
            app.extend(["--proxy".to_owned(), "{proxy}".to_owned()]);
        }
        let spec = self.spec(CLIENT, address, app, true);
        let mut pod = self.lab.start_pod(spec).await?;
        let lines = pod.app_lines();
        self.pods.insert(CLIENT.to_owned(), pod);
        Ok(lines)
    }

    /// A Pod has its address to itself; on loopback all of them share one machine.
    fn bound(&self, address: IpAddr, port: u16) -> String {
        match self.lab.mode() {
            Mode::Namespaces => format!("0.0.0.0:{port}"),
            Mode::Loopback { .. } => format!("{address}:{port}"),
        }
    }

    fn spec(&self, name: &str, address: IpAddr, app: Vec<String>, lines: bool) -> PodSpec {
        PodSpec {
            workload: format!("{NAMESPACE}/{name}"),
            address: Some(address),
            app: Some(app.into_iter().map(OsString::from).collect()),
            sidecar: Some(SidecarSpec {
                control_plane: self.control_plane.url(),
                state: self.folder.join(SIDECARS).join(name),
                extra: Vec::new(),
            }),
            lines,
            ..PodSpec::default()
        }
    }

    /// Makes a version's applications bad, all at the same time.
    pub(super) async fn break_version(&mut self, version: &str) -> Result<()> {
        let prefix = format!("checkout-{version}-");
        let bad = self
            .pods
            .iter_mut()
            .filter(|(name, _)| name.starts_with(&prefix));
        try_join_all(bad.map(|(_, pod)| pod.signal_app(SIGUSR1))).await?;
        Ok(())
    }

    /// Begins to stop an instance; false where it is stopping already or unknown.
    pub(super) fn stop_instance(&mut self, name: &str) -> bool {
        let Some(pod) = self.pods.remove(name) else {
            return false;
        };
        let name = name.to_owned();
        self.stopping
            .spawn(async move { (name, pod.stop(GRACE).await) });
        true
    }

    /// The next instance that has stopped; its manifest goes with it. None: nothing is stopping.
    pub(super) async fn stopped(&mut self) -> Option<Result<String>> {
        let (name, outcome) = self.stopping.join_next().await?.ok()?;
        Some(self.remove(&name, outcome))
    }

    fn remove(&self, name: &str, outcome: Result<Stopped>) -> Result<String> {
        let stopped = outcome?;
        self.manifests.remove(name)?;
        Ok(if stopped.killed.is_empty() {
            format!("{name} has stopped")
        } else {
            format!("{name} did not stop in time and was killed")
        })
    }

    /// Fails where the control plane has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.control_plane.exited()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the control plane has ended: {status}"),
        }
    }

    /// Kills the control plane at whatever instruction it is.
    pub(super) async fn kill_control_plane(&mut self) -> Result<()> {
        self.control_plane.kill().await
    }

    /// Starts it again.
    pub(super) async fn restart_control_plane(&mut self) -> Result<()> {
        self.control_plane.restart().await
    }

    /// Stops everything that is left.
    pub(super) async fn stop(mut self) -> Result<()> {
        let names: Vec<_> = self.pods.keys().cloned().collect();
        for name in names {
            self.stop_instance(&name);
        }
        while self.stopping.join_next().await.is_some() {}
        self.control_plane.stop(GRACE).await.map(drop)
    }
}
