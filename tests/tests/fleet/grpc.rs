//! gRPC clients without a proxy: the programs of `tests/peers/`, each in a Pod.

use super::{mesh::Mesh, peers::Grpc};
use segue_cli::{
    demo::load::Begun,
    lab::{Pod, PodSpec},
};
use serde_json::json;
use std::{ffi::OsString, fs, time::Duration};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

const PATIENCE: Duration = Duration::from_secs(60);
/// Requests per second.
const RATE: u32 = 40;

/// A client that runs.
#[derive(Debug)]
pub(crate) struct Client {
    name: &'static str,
    what: String,
    pod: Pod,
    lines: UnboundedReceiver<String>,
}

/// What became of its requests.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Which it is, with its version.
    pub(crate) what: String,
    /// Those that were answered; each is drawn for itself.
    pub(crate) draws: Vec<Begun>,
    /// Those that were not, in its own words.
    pub(crate) failed: Vec<String>,
}

impl Client {
    /// Starts it and waits for its first answer. `None` where it is not installed.
    pub(crate) async fn start(mesh: &Mesh, which: Grpc, target: &str) -> Option<Self> {
        let name = which.name();
        let mut command = which.command()?;
        let bootstrap = mesh.folder.path().join(format!("{name}.json"));
        fs::write(&bootstrap, bootstrap_of(mesh, name)).unwrap();
        command.extend([target.to_owned(), RATE.to_string()]);
        let environment = format!("GRPC_XDS_BOOTSTRAP={}", bootstrap.display());
        let app = ["env".to_owned(), environment].into_iter().chain(command);
        let spec = PodSpec {
            workload: format!("shop/{name}"),
            app: Some(app.map(OsString::from).collect()),
            lines: true,
            ..PodSpec::default()
        };
        let mut pod = mesh.lab.start_pod(spec).await.unwrap();
        let mut lines = pod.app_lines();
        let what = line(&mut lines, mesh, name).await;
        line(&mut lines, mesh, name).await;
        Some(Self {
            name,
            what,
            pod,
            lines,
        })
    }

    /// Ends it in order.
    pub(crate) async fn finish(mut self) -> Account {
        let stopped = self.pod.stop(PATIENCE).await.unwrap();
        assert!(stopped.killed.is_empty(), "{}: {stopped:?}", self.name);
        let mut account = Account {
            what: self.what,
            ..Account::default()
        };
        while let Some(line) = self.lines.recv().await {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
            let [sent, at] = [word(), word()].map(|time| time.parse().unwrap());
            let version = word().to_owned();
            if version.starts_with('!') {
                account.failed.push(line);
            } else {
                account.draws.push(Begun { sent, at, version });
            }
        }
        account
    }
}

async fn line(lines: &mut UnboundedReceiver<String>, mesh: &Mesh, name: &str) -> String {
    let line = timeout(PATIENCE, lines.recv()).await.ok().flatten();
    line.unwrap_or_else(|| {
        let log = mesh.lab.logs().join(format!("shop-{name}.app.log"));
        let log = fs::read_to_string(log).unwrap_or_default();
        panic!("{name} is not answered: {log}\n{}", mesh.log())
    })
}

fn bootstrap_of(mesh: &Mesh, name: &str) -> String {
    json!({
        "xds_servers": [{
            "server_uri": mesh.control_plane.xds().to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        // gRPC for Node refuses a node without a locality.
        "node": {"id": format!("shop/{name}"), "cluster": "shop", "locality": {"zone": "a"}},
    })
    .to_string()
}
