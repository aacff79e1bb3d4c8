//! The sidecar, told by a real control plane: a service in an upgrade that waits at 5 %.

use super::{
    arena::{Arena, SERVICE, run},
    backends::{NEW, OLD, local},
    load,
    process::{OTHER_CORE, PROXY_CORE, Process, pinned},
    proxies::{Ports, State},
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const XDS: u16 = 15_010;
const OUTBOUND: u16 = 15_001;

pub(crate) const SIDECAR: Ports = Ports {
    http1: OUTBOUND,
    http2: Some(OUTBOUND),
    tcp: OUTBOUND,
    service: 9_000,
};

/// How long the upgrade may take to come to 5 %.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the control plane and brings the service to 95/5.
pub(crate) fn control_plane(arena: &Arena) -> Process {
    arena.file(
        "manifests/service.yaml",
        &format!(
            "apiVersion: v1
kind: Service
metadata: {{name: checkout, namespace: shop}}
spec:
  clusterIP: {SERVICE}
  selector: {{app: checkout}}
  ports:
    - {{name: http, port: 80, targetPort: 80, appProtocol: http}}
    - {{name: h2, port: 81, targetPort: 81, appProtocol: kubernetes.io/h2c}}
    - {{name: tcp, port: 9000, targetPort: 9000, appProtocol: tcp}}
"
        ),
    );
    // Further steps are promoted by hand while a client looks on.
    let steps: Vec<String> = (5..50)
        .map(|weight| format!("{{weight: {weight}, manual: true}}"))
        .collect();
    let steps = steps.join(", ");
    arena.file(
        "manifests/policy.yaml",
        &format!(
            "apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {{name: checkout, namespace: shop}}
spec:
  targetRef: {{kind: Service, name: checkout}}
  strategy: {{type: Canary, capacity: Full, steps: [{steps}, {{weight: 100}}]}}
  sessionAffinity: {{type: None}}
  drain: {{timeout: 5s, sessionTimeout: 1s}}
  analysis: {{interval: 5s, warmUp: 0s, minRequests: 10, successRate: {{min: 0, maxDrop: 99}},
    latency: {{quantile: 0.5, maxIncrease: 1000%}}}}
"
        ),
    );
    instance(arena, "old", State::FIRST.port(OLD));
    arena.file("manifests/web.yaml", &workload("web", "web", "v1", "{}"));
    let mut command = pinned(OTHER_CORE, arena.path("segue-control-plane"));
    command
        .args(["standalone", "--http", "127.0.0.1:15014", "--xds"])
        .arg(format!("127.0.0.1:{XDS}"))
        .arg("--manifests")
        .arg(arena.path("manifests"))
        .arg("--state")
        .arg(arena.path("control-plane"));
    Process::start(command, &arena.log("control-plane"), local(XDS))
}

/// Starts a sidecar with one worker; the new version appears once the old one is served.
pub(crate) fn sidecar(arena: &Arena) -> Process {
    let process = start(arena);
    if !arena.path("manifests/new.yaml").exists() {
        instance(arena, "new", State::FIRST.port(NEW));
        let begun = Instant::now();
        while status(arena)["weight"] != 5 {
            assert!(
                begun.elapsed() < PATIENCE,
                "no upgrade at 5 %: {}",
                status(arena)
            );
            sleep(Duration::from_millis(100));
        }
    }
    process
}

fn start(arena: &Arena) -> Process {
    let mut command = pinned(PROXY_CORE, arena.path("segue-sidecar"));
    command
        .args(["run", "--workload", "shop/web", "--threads", "1"])
        .args(["--control-plane", &format!("http://127.0.0.1:{XDS}")])
        .args(["--outbound", &format!("127.0.0.1:{OUTBOUND}")])
        .args(["--inbound", "127.0.0.1:15006", "--admin", "127.0.0.1:15000"])
        .args(["--probe", "127.0.0.1:15021", "--state"])
        .arg(arena.path("sidecar"));
    let process = Process::start(command, &arena.log("sidecar"), local(OUTBOUND));
    // Until the control plane has told it of the service it can only refuse.
    let begun = Instant::now();
    while !load::is_served(OUTBOUND) {
        assert!(
            begun.elapsed() < PATIENCE,
            "the sidecar is told of no service"
        );
        sleep(Duration::from_millis(50));
    }
    process
}

/// Moves the endpoints, or promotes to the next weight.
pub(crate) fn change(arena: &Arena, state: State) {
    if state.weight == State::FIRST.weight {
        instance(arena, "old", state.port(OLD));
        instance(arena, "new", state.port(NEW));
    } else {
        let upgrade = upgrade(arena);
        let name = upgrade["metadata"]["name"].as_str().unwrap_or_default();
        segue(arena, &["upgrade", "promote", "-n", "shop", name]);
    }
}

fn instance(arena: &Arena, version: &str, http1: u16) {
    let http2 = if version == "old" { OLD } else { NEW }.http2;
    let ports = format!("{{http: {http1}, h2: {http2}, tcp: {http1}}}");
    arena.file(
        &format!("manifests/{version}.yaml"),
        &workload(&format!("checkout-{version}"), "checkout", version, &ports),
    );
}

fn workload(name: &str, app: &str, version: &str, ports: &str) -> String {
    format!(
        "apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}
spec: {{version: {version}, address: 127.0.0.1, ports: {ports}}}
"
    )
}

fn segue(arena: &Arena, arguments: &[&str]) -> String {
    let server = format!("http://127.0.0.1:{XDS}");
    let mut all = arguments.to_vec();
    all.extend(["--server", &server]);
    run(&arena.path("segue").display().to_string(), &all)
}

fn upgrade(arena: &Arena) -> serde_json::Value {
    let text = segue(arena, &["upgrade", "list", "-n", "shop", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let first = list.get("items").unwrap_or(&list).get(0);
    first.cloned().unwrap_or_default()
}

fn status(arena: &Arena) -> serde_json::Value {
    upgrade(arena)["status"].clone()
}
