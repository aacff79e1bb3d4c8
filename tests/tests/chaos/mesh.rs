//! A mesh of plain processes on loopback addresses: a control plane that can be killed, instances
//! with their sidecars, a client's sidecar as an explicit proxy.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// `SEGUE_PROGRAM` where it is set (the tests may run far from where they were built).
fn program() -> OsString {
    env::var_os("SEGUE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_segue-under-test").into())
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A running program; dropping it kills it.
#[derive(Debug)]
struct Program {
    child: Child,
    /// `name=ADDR` pairs of its `listening` line.
    addresses: BTreeMap<String, String>,
}

impl Program {
    /// Starts the program under test by one of its names and waits until it serves.
    async fn start(name: &str, log: &Path, arguments: &[String]) -> Self {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut command = std::process::Command::new(program());
        command
            .arg0(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line()).await;
        let first = first
            .unwrap_or_else(|_| panic!("{name} does not serve"))
            .unwrap()
            .unwrap_or_else(|| panic!("{name} {arguments:?} ended early"));
        let addresses = first
            .strip_prefix("listening ")
            .unwrap_or_else(|| panic!("{name} says {first:?}"))
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, at)| (name.to_owned(), at.to_owned()))
            .collect();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, addresses }
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
    }
}

/// An application and its sidecar.
#[derive(Debug)]
struct Instance {
    app: Program,
    sidecar: Program,
}

/// The mesh.
#[derive(Debug)]
pub(crate) struct Mesh {
    folder: PathBuf,
    control_plane: Program,
    xds: String,
    instances: BTreeMap<String, Instance>,
    client: Option<Program>,
    given: u8,
}

impl Mesh {
    /// Starts the control plane of a service `checkout` whose upgrades hold each step for 200 ms.
    pub(crate) async fn start(folder: &Path) -> Self {
        let folder = folder.to_owned();
        for part in ["manifests", "sidecars"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        put(&folder, "service", SERVICE);
        put(&folder, "policy", POLICY);
        let control_plane = start_control_plane(&folder, "127.0.0.1:0").await;
        let xds = control_plane.addresses["xds"].clone();
        Self {
            folder,
            control_plane,
            xds,
            instances: BTreeMap::new(),
            client: None,
            given: 0,
        }
    }

    /// The control API.
    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.xds)
    }

    /// Kills the control plane at whatever instruction it is, and starts it again.
    pub(crate) async fn restart_control_plane(&mut self) {
        self.control_plane.kill().await;
        self.control_plane = start_control_plane(&self.folder, &self.xds).await;
    }

    /// Starts the client's sidecar; where it is an explicit proxy.
    pub(crate) async fn start_client(&mut self) -> String {
        let at = self.address();
        put(&self.folder, "web", &workload("web", "web", "v1", at));
        let sidecar = self.start_sidecar("web", at).await;
        let proxy = sidecar.addresses["outbound"].clone();
        self.client = Some(sidecar);
        proxy
    }

    /// Starts an instance: its manifest, its sidecar, its application.
    pub(crate) async fn start_instance(&mut self, name: &str, version: &str) {
        let at = self.address();
        let sidecar = self.start_sidecar(name, at).await;
        let log = self.folder.join(format!("{name}.app.log"));
        let arguments = ["--version", version, "--http", &format!("{at}:8080")].map(str::to_owned);
        let app = Program::start("segue-lab-app", &log, &arguments).await;
        put(&self.folder, name, &workload(name, "checkout", version, at));
        self.instances
            .insert(name.to_owned(), Instance { app, sidecar });
    }

    /// Stops an instance in order, if it is still there: application, sidecar, manifest.
    pub(crate) async fn stop_instance(&mut self, name: &str) {
        let Some(mut instance) = self.instances.remove(name) else {
            return;
        };
        for program in [&mut instance.app, &mut instance.sidecar] {
            program.terminate();
            let ended = timeout(PATIENCE, program.child.wait()).await;
            ended
                .unwrap_or_else(|_| panic!("{name} does not end"))
                .unwrap();
        }
        fs::remove_file(self.folder.join(format!("manifests/{name}.yaml"))).unwrap();
    }

    /// The end of a log, for a failure.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("control-plane.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn address(&mut self) -> Ipv4Addr {
        self.given += 1;
        let own = u8::try_from(std::process::id() % 253 + 1).unwrap();
        Ipv4Addr::new(127, own, 77, self.given)
    }

    async fn start_sidecar(&self, name: &str, at: Ipv4Addr) -> Program {
        let log = self.folder.join(format!("{name}.sidecar.log"));
        let state = self.folder.join("sidecars").join(name);
        let mut arguments = ["run", "--control-plane", &self.server(), "--threads", "1"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(["--workload".to_owned(), format!("shop/{name}")]);
        arguments.extend(["--state".to_owned(), state.display().to_string()]);
        for listener in ["outbound", "inbound", "admin", "probe"] {
            arguments.extend([format!("--{listener}"), format!("{at}:0")]);
        }
        Program::start("segue-sidecar", &log, &arguments).await
    }
}

async fn start_control_plane(folder: &Path, xds: &str) -> Program {
    let path = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        "standalone",
        "--manifests",
        &path("manifests"),
        "--state",
        &path("state"),
        "--xds",
        xds,
        "--http",
        "127.0.0.1:0",
    ];
    Program::start(
        "segue-control-plane",
        &folder.join("control-plane.log"),
        &arguments.map(str::to_owned),
    )
    .await
}

/// Whole or not at all.
fn put(folder: &Path, name: &str, text: &str) {
    let unfinished = folder.join(format!("manifests/.{name}.tmp"));
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, folder.join(format!("manifests/{name}.yaml"))).unwrap();
}

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  selector: {app: checkout}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
";

const POLICY: &str = "apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: checkout, namespace: shop}
spec:
  targetRef: {kind: Service, name: checkout}
  strategy:
    type: Canary
    steps:
      - {weight: 5, hold: 200ms}
      - {weight: 25, hold: 200ms}
      - {weight: 50, hold: 200ms}
      - {weight: 100}
    capacity: Full
  # Steps go by time: what is tried is the kill, with too little traffic for a verdict.
  analysis: {maxWait: 200ms, onLowTraffic: Proceed}
  drain: {timeout: 10s, sessionTimeout: 1s}
  rollback: {window: 200ms}
";

fn workload(name: &str, app: &str, version: &str, at: Ipv4Addr) -> String {
    let probe = if app == "checkout" {
        "  probes: {readiness: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}\n"
    } else {
        ""
    };
    format!(
        "apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}
spec:
  version: {version}
  address: {at}
{probe}"
    )
}
