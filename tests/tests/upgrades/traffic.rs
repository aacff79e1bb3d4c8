//! A mesh under load: starts the load, breaks versions, and accounts for every request at the end.

use super::{
    mesh::{Mesh, address_of, is_applied},
    outcome::{Evidence, Outcome},
    outside::{Account, Outside},
    policy::Policy,
    ready::Ready,
};
use segue_cli::{
    demo::load::Report,
    lab::{Mode, Pod},
};
use segue_proto::control::{
    PromoteUpgradeRequest, RollbackUpgradeRequest, Upgrade, UpgradeCommandRequest, UpgradeStatus,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    ops::{Deref, DerefMut},
    time::Duration,
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How long clients wait for an answer, in seconds. On a busy machine a good version may be late.
const TIMEOUT_S: u32 = 8;

/// How much, of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Requests per second.
    pub(crate) rate: u32,
    /// Sessions that last.
    pub(crate) sessions: u32,
    /// New sessions per second.
    pub(crate) new_sessions: u32,
    /// Streams, and TCP connections, at a time.
    pub(crate) channels: u32,
}

impl Load {
    /// So many requests per second, a fifth as many sessions, and no long exchanges.
    pub(crate) const fn of(rate: u32) -> Self {
        Self {
            rate,
            sessions: rate.div_ceil(5),
            new_sessions: rate / 5,
            channels: 0,
        }
    }

    /// The client of a service: program and arguments.
    pub(crate) fn client_of(self, service: &str) -> Vec<OsString> {
        let Self {
            rate,
            sessions,
            new_sessions,
            channels,
        } = self;
        let mut app = vec!["segue-lab-load".to_owned(), "--host".to_owned()];
        app.push(format!("{service}.shop"));
        app.extend(["--address".to_owned(), address_of(service).to_string()]);
        for (flag, value) in [
            ("--rate", rate),
            ("--sessions", sessions),
            ("--new-sessions", new_sessions),
            ("--streams", channels),
            ("--tcp", channels),
            ("--timeout", TIMEOUT_S),
        ] {
            app.extend([flag.to_owned(), value.to_string()]);
        }
        app.into_iter().map(OsString::from).collect()
    }
}

/// A client under way, with what it has said until now.
#[derive(Debug)]
struct Client {
    pod: Pod,
    lines: UnboundedReceiver<String>,
    first: Report,
}

/// A mesh and its load.
#[derive(Debug)]
pub(crate) struct Traffic {
    mesh: Mesh,
    clients: Vec<Client>,
    sessions_held: bool,
    outside: Option<Outside>,
    /// A bad version that no other can stand in for.
    pub(crate) alone: Option<&'static str>,
}

impl Deref for Traffic {
    type Target = Mesh;
    fn deref(&self) -> &Mesh {
        &self.mesh
    }
}

impl DerefMut for Traffic {
    fn deref_mut(&mut self) -> &mut Mesh {
        &mut self.mesh
    }
}

impl Traffic {
    /// `checkout` in version v1 under this policy and this load.
    pub(crate) async fn start(mode: Mode, policy: Policy, load: Load) -> Self {
        Self::start_all(mode, &[("checkout", "v1", policy)], load).await
    }

    /// These services, each in this version under its policy, and each under this load.
    pub(crate) async fn start_all(
        mode: Mode,
        services: &[(&'static str, &str, Policy)],
        load: Load,
    ) -> Self {
        let policies: Vec<(&str, Policy)> = services
            .iter()
            .map(|(service, _, policy)| (*service, policy.clone()))
            .collect();
        let mut mesh = Mesh::start(mode, &policies).await;
        for (service, version, _) in services {
            // SIGUSR1 breaks it where a scenario breaks the old version too.
            mesh.version(service, version, &["--fault", "errors"]).await;
        }
        mesh.proxies(2 * services.len()).await;
        let mut traffic = Self {
            mesh,
            clients: Vec::new(),
            sessions_held: services
                .iter()
                .any(|(_, _, policy)| policy.affinity == "Cookie"),
            outside: None,
            alone: None,
        };
        for (service, _, _) in services {
            traffic.load(service, load).await;
        }
        traffic
    }

    /// Starts a client of a service and waits for its first answers.
    async fn load(&mut self, service: &str, load: Load) {
        let app = load.client_of(service);
        let name = format!("{service}-client");
        let pod = self.mesh.client(&name, Some(app)).await;
        self.load_from(pod).await;
    }

    /// Takes a Pod with a client as one of this load, and waits for its first answers.
    pub(crate) async fn load_from(&mut self, mut pod: Pod) {
        let mut lines = pod.app_lines();
        let first = timeout(PATIENCE, lines.recv()).await;
        let first = first.unwrap_or_else(|_| panic!("{} is not answered", pod.workload()));
        let first = serde_json::from_str(&first.unwrap()).unwrap();
        self.clients.push(Client { pod, lines, first });
    }

    /// Adds clients without a sidecar.
    pub(crate) async fn outside(&mut self) {
        let ready = Ready::default();
        for name in self.mesh.pods.keys() {
            let (version, address) = &self.mesh.versions[name];
            ready.add(name, version, *address).await;
        }
        self.outside = Some(Outside::start(&ready));
        self.mesh.ready = Some(ready);
    }

    /// Ends everything in order, accounts for every request, and looks at those of clients without a sidecar.
    pub(crate) async fn finish_outside(
        mut self,
        ended: &str,
        look: impl FnOnce(&Mesh, &Account),
    ) -> Outcome {
        let account = self.outside.take().unwrap().finish().await;
        look(&self.mesh, &account);
        self.finish_with(ended, vec![account.report]).await
    }

    /// The first client's Pod.
    pub(crate) fn client_pod(&mut self) -> &mut Pod {
        &mut self.clients[0].pod
    }

    /// Ends everything in order and accounts for every request.
    pub(crate) async fn finish(self, ended: &str) -> Outcome {
        self.finish_with(ended, Vec::new()).await
    }

    async fn finish_with(mut self, ended: &str, mut clients: Vec<Report>) -> Outcome {
        clients.append(&mut self.reports().await);
        Box::pin(self.judge(ended, clients)).await
    }

    /// Ends the clients in order, the first to be started first: what became of all that they sent.
    pub(crate) async fn reports(&mut self) -> Vec<Report> {
        // Answers under way when the phase ended, and what was sent meanwhile.
        sleep(Duration::from_millis(500)).await;
        let mut reports = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            reports.push(client.finish().await);
        }
        reports
    }

    /// Accounts for every request that these clients sent.
    pub(crate) async fn judge(mut self, ended: &str, clients: Vec<Report>) -> Outcome {
        let mut evidence = Evidence {
            bad: self.mesh.bad.clone(),
            sessions_held: self.sessions_held,
            alone: self.alone.map(str::to_owned),
            clients,
            ..Evidence::default()
        };
        self.mesh.stopped().await;
        for (version, address) in self.mesh.versions.values() {
            evidence
                .addresses
                .insert(address.to_string(), version.clone());
            for id in self.mesh.seen(version) {
                evidence.seen.insert(id, version.clone());
            }
        }
        evidence.released = self.released().await;
        evidence.judge(ended.to_owned())
    }

    /// From when on sessions of each version may go elsewhere.
    async fn released(&self) -> BTreeMap<String, u64> {
        let mut released = BTreeMap::new();
        for (version, _) in self.mesh.versions.values() {
            let Some(upgrade) = self.mesh.upgrade(version).await else {
                continue;
            };
            let Upgrade {
                spec: Some(spec),
                status: Some(status),
                ..
            } = upgrade
            else {
                continue;
            };
            if let Some(at) = status.sessions_released_at {
                released.insert(spec.from, ms(&at));
            }
            let back = status
                .history
                .iter()
                .find(|line| line.phase == "RollingBack");
            if let Some(at) = back.and_then(|line| line.at.as_ref()) {
                released.insert(spec.to, ms(at));
            }
        }
        released
    }

    /// Ends the present hold of the upgrade to a version.
    pub(crate) async fn promote(&self, to: &str, full: bool, request_id: &str) {
        let upgrade = self.mesh.upgrade(to).await.unwrap();
        let request = PromoteUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: request_id.to_owned(),
            full,
            ..PromoteUpgradeRequest::default()
        };
        let mut api = self.mesh.api().await;
        api.promote_upgrade(request).await.unwrap();
    }

    /// Asks to go back from a version; the refusal, if that is the answer.
    pub(crate) async fn roll_back(&self, to: &str) -> Result<(), tonic::Status> {
        let upgrade = self.mesh.upgrade(to).await.unwrap();
        let request = RollbackUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            reason: "asked by the scenario".to_owned(),
            ..RollbackUpgradeRequest::default()
        };
        let mut api = self.mesh.api().await;
        api.rollback_upgrade(request).await.map(drop)
    }

    /// Pause, resume, retry.
    pub(crate) async fn command(&self, to: &str, verb: Verb) -> Result<(), tonic::Status> {
        let upgrade = self.mesh.upgrade(to).await.unwrap();
        let request = UpgradeCommandRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            ..UpgradeCommandRequest::default()
        };
        let mut api = self.mesh.api().await;
        let answer = match verb {
            Verb::Pause => api.pause_upgrade(request).await,
            Verb::Resume => api.resume_upgrade(request).await,
            Verb::Retry => api.retry_upgrade(request).await,
        };
        answer.map(drop)
    }

    /// By hand to this weight, step by step, and until every proxy has it.
    pub(crate) async fn climb(&mut self, to: &str, weight: u32) -> UpgradeStatus {
        loop {
            let status = self
                .until(to, "applied at some weight", |status| {
                    status.weight > 0 && is_applied(status)
                })
                .await;
            if status.weight >= weight {
                return status;
            }
            let before = status.weight;
            self.promote(to, false, "").await;
            self.until(to, "promoted", |status| status.weight > before)
                .await;
        }
    }
}

/// A command without arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Pause,
    Resume,
    Retry,
}

/// In milliseconds since the Unix epoch.
pub(crate) fn ms(at: &prost_types::Timestamp) -> u64 {
    u64::try_from(at.seconds * 1_000 + i64::from(at.nanos / 1_000_000)).unwrap()
}

impl Client {
    /// Ends it in order; its last report, with the events and the sessions of all of them.
    async fn finish(self) -> Report {
        let Self {
            pod,
            mut lines,
            first,
        } = self;
        let stopped = pod.stop(PATIENCE).await.unwrap();
        assert!(stopped.killed.is_empty(), "{stopped:?}");
        let mut events = first.events.clone();
        let mut begun = first.begun.clone();
        let mut last = first;
        while let Some(line) = lines.recv().await {
            last = serde_json::from_str(&line).unwrap();
            events.append(&mut last.events);
            begun.append(&mut last.begun);
        }
        assert!(last.last, "the load did not end in order");
        assert_eq!(last.events_omitted, 0);
        let answered: u64 = last.answered.values().sum();
        assert_eq!(
            last.sent,
            answered + last.failed,
            "a request is not accounted for"
        );
        Report {
            events,
            begun,
            ..last
        }
    }
}
