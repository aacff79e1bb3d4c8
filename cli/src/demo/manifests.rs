//! The folder of manifests that the demo's control plane reads.
//!
//! Each file appears whole or not at all: it is written under a name that is ignored and renamed.

use super::Timing;
use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The service under upgrade, as clients write it.
pub(super) const HOST: &str = "checkout.shop";
/// The namespace of everything.
pub(super) const NAMESPACE: &str = "shop";
/// The address of the service: nobody answers there, the sidecar takes the connection over.
pub(super) const CLUSTER_IP: &str = "10.96.0.10";
/// Where instances serve HTTP.
pub(super) const HTTP_TARGET: u16 = 8080;
/// Where instances serve TCP.
pub(super) const TCP_TARGET: u16 = 9090;

/// The steps of the upgrade, in basis points.
pub(super) const WEIGHTS: [u32; 4] = [500, 2_500, 5_000, 10_000];

/// What the data must say before a step up. At 5 % of the demo's load there are 50 requests a second at most, and fewer
/// of new sessions: margins that so many can tell within a hold.
const ANALYSIS: &str = "  analysis:
    interval: 500ms
    warmUp: 1s
    minRequests: 50
    maxWait: 30s
    confidence: 0.95
    successRate: {min: 95, maxDrop: 5}
    latency: {quantile: 0.9, maxIncrease: 100%}
";

/// The names by which Pods find the service.
pub(super) const NAMES: [&str; 4] = [
    "checkout",
    "checkout.shop",
    "checkout.shop.svc",
    "checkout.shop.svc.cluster.local",
];

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    /// Makes the folder with the Service and its policy.
    pub(super) fn create(folder: PathBuf, timing: &Timing) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let manifests = Self { folder };
        manifests.put("service", &service())?;
        manifests.put("policy", &policy(timing))?;
        Ok(manifests)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an instance of `checkout`.
    pub(super) fn add_instance(&self, name: &str, version: &str, at: IpAddr) -> io::Result<()> {
        self.put(name, &instance(name, version, at))
    }

    /// Adds the Pod that sends the load.
    pub(super) fn add_client(&self, name: &str, at: IpAddr) -> io::Result<()> {
        let client = format!(
            "apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: web}}}}
spec:
  version: v1
  address: {at}
"
        );
        self.put(name, &client)
    }

    /// Takes an instance away.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(format!("{name}.yaml")))
    }

    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let unfinished = self.folder.join(format!(".{name}.yaml.tmp"));
        fs::write(&unfinished, text)?;
        fs::rename(unfinished, self.folder.join(format!("{name}.yaml")))
    }
}

fn service() -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: checkout, namespace: {NAMESPACE}}}
spec:
  clusterIP: {CLUSTER_IP}
  selector: {{app: checkout}}
  ports:
    - {{name: http, port: 80, targetPort: {HTTP_TARGET}, appProtocol: http}}
    - {{name: tcp, port: 9000, targetPort: {TCP_TARGET}, appProtocol: tcp}}
"
    )
}

fn policy(timing: &Timing) -> String {
    let hold = written(timing.hold);
    let steps = WEIGHTS.map(|points| match points / 100 {
        100 => "      - {weight: 100}\n".to_owned(),
        weight => format!("      - {{weight: {weight}, hold: {hold}}}\n"),
    });
    format!(
        "apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {{name: checkout, namespace: {NAMESPACE}}}
spec:
  targetRef: {{kind: Service, name: checkout}}
  strategy:
    type: Canary
    steps:
{steps}    capacity: Full
  sessionAffinity: {{type: Cookie, cookie: {{ttl: 1h}}}}
  drain: {{timeout: {drain}, sessionTimeout: {session}}}
  health: {{failureThreshold: 3}}
{ANALYSIS}  rollback: {{window: {window}}}
",
        steps = steps.concat(),
        window = written(timing.window),
        drain = written(timing.drain),
        session = written(timing.session),
    )
}

fn instance(name: &str, version: &str, at: IpAddr) -> String {
    format!(
        "apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: checkout}}}}
spec:
  version: {version}
  address: {at}
  probes:
    readiness:
      httpGet: {{path: /ready, port: {HTTP_TARGET}}}
      periodSeconds: 1
      timeoutSeconds: 1
      failureThreshold: 3
"
    )
}

fn written(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::{Manifests, Timing};

    #[test]
    fn files_appear_and_go_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = Manifests::create(folder.path().join("m"), &Timing::default()).unwrap();
        manifests
            .add_instance("checkout-v2-0", "v2", "10.77.0.9".parse().unwrap())
            .unwrap();
        manifests
            .add_client("web", "10.77.0.10".parse().unwrap())
            .unwrap();
        manifests.remove("checkout-v2-0").unwrap();
        let mut names: Vec<_> = std::fs::read_dir(manifests.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["policy.yaml", "service.yaml", "web.yaml"]);
    }

    #[test]
    fn the_control_plane_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = Manifests::create(folder.path().join("m"), &Timing::default()).unwrap();
        manifests
            .add_instance("checkout-v1-0", "v1", "10.77.0.9".parse().unwrap())
            .unwrap();
        manifests
            .add_client("web", "10.77.0.10".parse().unwrap())
            .unwrap();
        let catalog = segue_control_plane::source::manifest::read(manifests.folder()).unwrap();
        assert_eq!(catalog.services.len(), 1);
        assert_eq!(catalog.workloads.len(), 2);
        let policy = catalog.policies.values().next().unwrap();
        assert_eq!(policy.steps.len(), 4);
        assert_eq!(policy.steps[0].hold, Timing::default().hold);
        assert_eq!(policy.rollback.window, Timing::default().window);
        // The client belongs to no Service, and that alone is worth a word.
        let other = |warning: &&String| {
            !warning.contains("shop/web") && !warning.contains("spec.analysis.")
        };
        assert_eq!(catalog.warnings.iter().find(other), None);
    }
}
