//! A mesh in the lab: a control plane, services with instances of some versions, clients with load.

use super::{policy::Policy, ready::Ready};
use nix::libc::{SIGUSR1, SIGUSR2};
use segue_cli::lab::{
    self, ControlPlane, ControlPlaneSpec, Lab, Mode, Pod, PodSpec, SidecarSpec, app::seen,
};
use segue_proto::control::{
    ListProxiesRequest, ListUpgradesRequest, Upgrade, UpgradeStatus,
    proxy_service_client::ProxyServiceClient, upgrade_service_client::UpgradeServiceClient,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

/// No condition of a scenario takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a drained instance may take to stop.
const GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(30);

/// The services of the lab, with their addresses.
const SERVICES: [(&str, Ipv4Addr); 2] = [
    ("checkout", Ipv4Addr::new(10, 96, 0, 10)),
    ("cart", Ipv4Addr::new(10, 96, 0, 11)),
];

pub(crate) type Upgrades = UpgradeServiceClient<Channel>;

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

/// The address of a service.
pub(crate) fn address_of(service: &str) -> IpAddr {
    let found = SERVICES.iter().find(|(name, _)| *name == service);
    found.unwrap().1.into()
}

/// A mesh that runs. Dropping it kills everything in it.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) lab: Lab,
    pub(crate) folder: TempDir,
    /// Where instances note the requests that reach them: in memory, so that a busy disk holds no answer up.
    seen: TempDir,
    pub(crate) control_plane: ControlPlane,
    /// Instances that run, by name.
    pub(crate) pods: BTreeMap<String, Pod>,
    /// The version of every instance that ever ran, and its address.
    pub(crate) versions: BTreeMap<String, (String, IpAddr)>,
    /// When each version turned bad.
    pub(crate) bad: BTreeMap<String, u64>,
    /// Instances that clients without a sidecar are dealt, where there are such.
    pub(crate) ready: Option<Ready>,
    /// Whether old instances are stopped once they are drained.
    pub(crate) stops_drained: bool,
    stopping: JoinSet<anyhow::Result<lab::Stopped>>,
}

impl Mesh {
    /// Starts the control plane of these services, each with its policy.
    pub(crate) async fn start(mode: Mode, policies: &[(&str, Policy)]) -> Self {
        let mut scratch = tempfile::Builder::new();
        scratch.prefix("segue-scenario-");
        let folder = scratch.tempdir().unwrap();
        for part in ["manifests", "sidecars"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let seen = scratch
            .tempdir_in("/dev/shm")
            .or_else(|_| scratch.tempdir());
        let hosts: Vec<(String, IpAddr)> = SERVICES
            .iter()
            .flat_map(|(name, address)| {
                lab::service_names(name, "shop").map(|name| (name, (*address).into()))
            })
            .collect();
        let lab = Lab::start(mode, folder.path(), &hosts).await.unwrap();
        for (service, policy) in policies {
            put(&folder, &format!("{service}-service"), &document(service));
            put(
                &folder,
                &format!("{service}-policy"),
                &policy.document(service),
            );
        }
        let spec = ControlPlaneSpec {
            manifests: folder.path().join("manifests"),
            state: folder.path().join("control-plane"),
            extra: Vec::new(),
        };
        let control_plane = ControlPlane::start(&lab, spec).await.unwrap();
        Self {
            lab,
            folder,
            seen: seen.unwrap(),
            control_plane,
            pods: BTreeMap::new(),
            versions: BTreeMap::new(),
            bad: BTreeMap::new(),
            ready: None,
            stops_drained: true,
            stopping: JoinSet::new(),
        }
    }

    /// Starts instance number `number` of a version, as an operator does: manifest and process.
    pub(crate) async fn instance(
        &mut self,
        service: &str,
        version: &str,
        number: usize,
        flags: &[&str],
    ) {
        let name = format!("{service}-{version}-{number}");
        let address = self.lab.allocate();
        let seen = seen::path(self.seen.path(), &name);
        let bound = |port: u16| match self.lab.mode() {
            Mode::Namespaces => format!("0.0.0.0:{port}"),
            Mode::Loopback { .. } => format!("{address}:{port}"),
        };
        let mut app: Vec<OsString> = vec![
            "segue-lab-app".into(),
            "--version".into(),
            version.into(),
            "--name".into(),
            name.clone().into(),
            "--http".into(),
            bound(8080).into(),
            "--tcp".into(),
            bound(9090).into(),
            "--seen".into(),
            seen.into(),
        ];
        app.extend(flags.iter().map(OsString::from));
        self.versions
            .insert(name.clone(), (version.to_owned(), address));
        put(
            &self.folder,
            &name,
            &workload(&name, service, version, address, PROBE),
        );
        let pod = self.pod(&name, address, Some(app), false).await;
        if let Some(ready) = &self.ready {
            ready.add(&name, version, address).await;
        }
        self.pods.insert(name, pod);
    }

    /// Starts both instances of a version.
    pub(crate) async fn version(&mut self, service: &str, version: &str, flags: &[&str]) {
        for number in 0..2 {
            self.instance(service, version, number, flags).await;
        }
    }

    /// Starts a Pod with a sidecar that is no instance of a service.
    pub(crate) async fn client(&mut self, name: &str, app: Option<Vec<OsString>>) -> Pod {
        let address = self.lab.allocate();
        put(
            &self.folder,
            name,
            &workload(name, "web", "v1", address, ""),
        );
        self.pod(name, address, app, true).await
    }

    async fn pod(
        &self,
        name: &str,
        address: IpAddr,
        app: Option<Vec<OsString>>,
        lines: bool,
    ) -> Pod {
        let spec = PodSpec {
            workload: format!("shop/{name}"),
            address: Some(address),
            app,
            sidecar: Some(SidecarSpec {
                control_plane: self.control_plane.url(),
                state: self.folder.path().join("sidecars").join(name),
                extra: Vec::new(),
            }),
            lines,
            ..PodSpec::default()
        };
        self.lab.start_pod(spec).await.unwrap()
    }

    /// Sends a signal to every application of a version.
    pub(crate) async fn signal(&mut self, version: &str, signal: i32) {
        for (name, pod) in &mut self.pods {
            if self.versions[name].0 == version {
                pod.signal_app(signal).await.unwrap();
            }
        }
    }

    /// A version whose instances are bad from their start.
    pub(crate) fn begins_bad(&mut self, version: &str) {
        self.bad.entry(version.to_owned()).or_insert_with(unix_ms);
    }

    /// Every instance of a version turns bad in the way it was started with.
    pub(crate) async fn turn_bad(&mut self, version: &str) {
        self.begins_bad(version);
        self.signal(version, SIGUSR1).await;
    }

    /// Every instance of a version is good again.
    pub(crate) async fn heal(&mut self, version: &str) {
        self.signal(version, SIGUSR2).await;
    }

    /// The control API.
    pub(crate) async fn api(&self) -> Upgrades {
        Upgrades::connect(self.control_plane.url()).await.unwrap()
    }

    /// The upgrade to this version, if there is one and the control plane answers.
    pub(crate) async fn upgrade(&self, to: &str) -> Option<Upgrade> {
        let mut api = Upgrades::connect(self.control_plane.url()).await.ok()?;
        let request = ListUpgradesRequest {
            namespace: "shop".to_owned(),
            ..ListUpgradesRequest::default()
        };
        let upgrades = api.list_upgrades(request).await.ok()?.into_inner().upgrades;
        upgrades
            .into_iter()
            .find(|upgrade| upgrade.spec.as_ref().is_some_and(|spec| spec.to == to))
    }

    /// Waits until the upgrade to this version is as wished; meanwhile stops old instances that are drained.
    pub(crate) async fn until(
        &mut self,
        to: &str,
        wish: &str,
        fulfilled: impl Fn(&UpgradeStatus) -> bool,
    ) -> UpgradeStatus {
        let begun = Instant::now();
        loop {
            let upgrade = self.upgrade(to).await.unwrap_or_default();
            let status = upgrade.status.unwrap_or_default();
            if fulfilled(&status) {
                return status;
            }
            if self.stops_drained && matches!(status.phase.as_str(), "Draining" | "Succeeded") {
                self.stop(&status.drained);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{to} is not {wish} after {PATIENCE:?}: {}\n{}",
                brief(&status),
                self.log()
            );
            sleep(POLL).await;
        }
    }

    /// Waits for this phase.
    pub(crate) async fn phase(&mut self, to: &str, phase: &str) -> UpgradeStatus {
        self.until(to, phase, |status| status.phase == phase).await
    }

    /// Looks on for a while; at every moment it must be as said.
    pub(crate) async fn stays(
        &mut self,
        to: &str,
        how: &str,
        time: Duration,
        is_so: impl Fn(&UpgradeStatus) -> bool,
    ) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let upgrade = self.upgrade(to).await.unwrap_or_default();
            let status = upgrade.status.unwrap_or_default();
            assert!(
                is_so(&status),
                "{to} does not stay {how}: {}",
                brief(&status)
            );
            sleep(POLL).await;
        }
    }

    /// Waits until so many sidecars have applied all they were sent.
    pub(crate) async fn proxies(&self, wanted: usize) {
        let begun = Instant::now();
        loop {
            let seen = self.current_proxies().await;
            if seen >= wanted {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "only {seen} of {wanted} sidecars are there\n{}",
                self.log()
            );
            sleep(POLL).await;
        }
    }

    async fn current_proxies(&self) -> usize {
        let Ok(mut api) = ProxyServiceClient::connect(self.control_plane.url()).await else {
            return 0;
        };
        let answer = api.list_proxies(ListProxiesRequest::default()).await;
        let proxies = answer.map(|answer| answer.into_inner().proxies);
        proxies.unwrap_or_default().iter().fold(0, |sum, proxy| {
            sum + usize::from(proxy.acked_generation >= proxy.sent_generation)
        })
    }

    /// Begins to stop these instances, `NAMESPACE/NAME`.
    pub(crate) fn stop(&mut self, instances: &[String]) {
        for instance in instances {
            let name = instance.rsplit('/').next().unwrap().to_owned();
            if let Some(pod) = self.pods.remove(&name) {
                if let Some(ready) = &self.ready {
                    ready.remove(&name);
                }
                let manifest = self.manifest(&name);
                self.stopping.spawn(async move {
                    let stopped = pod.stop(GRACE).await?;
                    fs::remove_file(manifest)?;
                    Ok(stopped)
                });
            }
        }
    }

    /// Waits until all that were to stop have stopped.
    pub(crate) async fn stopped(&mut self) {
        while let Some(stopped) = self.stopping.join_next().await {
            let stopped = stopped.unwrap().unwrap();
            assert!(
                stopped.killed.is_empty(),
                "an instance did not stop: {stopped:?}"
            );
        }
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("manifests/{name}.yaml"))
    }

    /// The ids of requests that instances of a version have seen.
    pub(crate) fn seen(&self, version: &str) -> BTreeSet<String> {
        let of_it = self.versions.iter().filter(|(_, (of, _))| of == version);
        of_it
            .flat_map(|(name, _)| {
                let path = seen::path(self.seen.path(), name);
                seen::read(&path).unwrap()
            })
            .collect()
    }

    /// How often each request was seen by an instance, whatever its version.
    pub(crate) fn seen_by_all(&self) -> BTreeMap<String, u32> {
        let mut times = BTreeMap::new();
        for name in self.versions.keys() {
            let path = seen::path(self.seen.path(), name);
            for id in seen::read(&path).unwrap() {
                *times.entry(id).or_default() += 1;
            }
        }
        times
    }

    /// The end of the control plane's log, for a failure.
    pub(crate) fn log(&self) -> String {
        let path = self.lab.logs().join("control-plane.log");
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.contains("no effect yet"));
        let lines: Vec<_> = lines.rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Mesh {
    /// Keeps the logs of a scenario that failed in a new folder under `SEGUE_SCENARIO_LOGS`.
    fn drop(&mut self) {
        let Some(folder) = env::var_os("SEGUE_SCENARIO_LOGS").filter(|_| thread::panicking())
        else {
            return;
        };
        let folder = Path::new(&folder).join(unix_ms().to_string());
        let kept = fs::create_dir_all(&folder).and_then(|()| copy(self.lab.logs(), &folder));
        println!("logs in {}: {kept:?}", folder.display());
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Every proxy has what the newest line of the history says.
pub(crate) fn is_applied(status: &UpgradeStatus) -> bool {
    let last = status.history.last();
    last.is_some_and(|line| line.applied_at.is_some())
}

/// A status, for a failure.
pub(crate) fn brief(status: &UpgradeStatus) -> String {
    let history: Vec<String> = status
        .history
        .iter()
        .map(|line| {
            let applied = if line.applied_at.is_some() {
                ""
            } else {
                " (not applied)"
            };
            format!("{} {}{applied}: {}", line.phase, line.weight, line.reason)
        })
        .collect();
    let conditions: Vec<&str> = status.conditions.iter().map(|one| &*one.message).collect();
    format!(
        "{} {}, paused {}: {}; drained {:?}; conditions {conditions:?}; {:?}\n  {}",
        status.phase,
        status.weight,
        status.paused,
        status.message,
        status.drained,
        status.judgement,
        history.join("\n  ")
    )
}

/// Whole or not at all.
fn put(folder: &TempDir, name: &str, text: &str) {
    let unfinished = folder.path().join(format!("manifests/.{name}.tmp"));
    fs::write(&unfinished, text).unwrap();
    let path = folder.path().join(format!("manifests/{name}.yaml"));
    fs::rename(unfinished, path).unwrap();
}

fn document(service: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: shop}}
spec:
  clusterIP: {}
  selector: {{app: {service}}}
  ports:
    - {{name: http, port: 80, targetPort: 8080, appProtocol: http}}
    - {{name: tcp, port: 9000, targetPort: 9090, appProtocol: tcp}}
",
        address_of(service)
    )
}

const PROBE: &str = "  probes:
    readiness:
      httpGet: {path: /ready, port: 8080}
      periodSeconds: 1
      timeoutSeconds: 1
      failureThreshold: 3
";

fn workload(name: &str, app: &str, version: &str, address: IpAddr, probe: &str) -> String {
    format!(
        "apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}
spec:
  version: {version}
  address: {address}
{probe}"
    )
}
