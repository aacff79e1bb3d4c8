//! The program as people run it, with a real control plane where one is needed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_segue");

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  selector: {app: checkout}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
";

const UPGRADE: &str = "\
apiVersion: segue.dev/v1alpha1
kind: Upgrade
metadata: {name: checkout-v2, namespace: shop}
spec:
  targetRef: {kind: Service, name: checkout}
  from: v1
  to: v2
";

const WORKLOAD: &str = "\
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {name: checkout-0, namespace: shop, labels: {app: checkout}}
spec: {version: v1, address: 127.0.0.1, ports: {http: 9001}}
";

const POLICY: &str = "\
apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: checkout, namespace: shop}
spec:
  targetRef: {kind: Service, name: checkout}
  rollback: {window: 45m}
";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn segue(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_policy_is_checked_offline() {
    let dir = folder(&[("service.yaml", SERVICE), ("policy.yaml", POLICY)]);
    let path = dir.path().to_str().unwrap();
    let checked = segue(&["policy", "check", "-f", path]);
    let text = stdout(&checked);
    assert!(checked.status.success(), "{}", stderr(&checked));
    let line = text
        .lines()
        .find(|line| line.starts_with("rollback.window"))
        .unwrap();
    assert!(
        line.contains("UpgradePolicy shop/checkout") && line.ends_with("45m"),
        "{line}"
    );
    assert!(text.contains("keeps the old version 45m more"), "{text}");

    let json = segue(&["policy", "check", "-f", path, "-o", "json"]);
    let object: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(object["services"][0]["service"], "shop/checkout");

    let bad = POLICY.replace("45m", "soon");
    fs::write(dir.path().join("policy.yaml"), bad).unwrap();
    let refused = segue(&["policy", "check", "-f", path]);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(
        said.contains("policy.yaml:6: spec.rollback.window: "),
        "{said}"
    );
}

#[test]
fn completions_and_man_pages_are_written_for_all_programs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = segue(&["completions", shell]);
        assert!(stdout(&script).contains("rollback"), "{shell}");
    }
    let other = segue(&["completions", "bash", "--program", "segue-sidecar"]);
    assert!(stdout(&other).contains("--control-plane"));
    let dir = tempfile::tempdir().unwrap();
    let written = segue(&["man", "--dir", dir.path().to_str().unwrap()]);
    assert!(written.status.success(), "{}", stderr(&written));
    for page in [
        "segue.1",
        "segue-upgrade-watch.1",
        "segue-control-plane.1",
        "segue-sidecar.1",
    ] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
}

#[test]
fn wrong_usage_is_refused_with_code_2() {
    for words in [
        &["upgrade", "explain", "x", "--replay"][..],
        &["upgrade", "explain", "x", "--policy", "p.yaml"],
        &["upgrade", "pause", "x", "--resource-version", "new"],
        &["upgrade", "list", "--timeout", "soon"],
        &["upgrade", "wait", "x", "--for", "Suceeded"],
        &["policy", "check", "--service", "checkout"],
        &["completions", "tcsh"],
    ] {
        assert_eq!(segue(words).status.code(), Some(2), "{words:?}");
    }
}

/// A control plane of its own process, ended with the test.
struct ControlPlane {
    child: Child,
    address: String,
}

impl ControlPlane {
    fn start(manifests: &Path, state: &Path, xds: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg0("segue-control-plane")
            .arg("standalone")
            .args(["--xds", xds, "--http", "127.0.0.1:0"])
            .arg("--manifests")
            .arg(manifests)
            .arg("--state")
            .arg(state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("xds="))
            .unwrap_or_else(|| panic!("{line:?}"))
            .to_owned();
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_watch_survives_a_control_plane_that_is_killed_and_tells_the_outcome() {
    let dir = folder(&[("service.yaml", SERVICE), ("upgrade.yaml", UPGRADE)]);
    let workload = |version: &str, port: u16| {
        format!(
            "apiVersion: segue.dev/v1alpha1\nkind: Workload\nmetadata: {{name: checkout-{version}, namespace: shop, labels: {{app: checkout}}}}\nspec: {{version: {version}, address: 127.0.0.1, ports: {{http: {port}}}}}\n"
        )
    };
    fs::write(dir.path().join("v1.yaml"), workload("v1", 9_001)).unwrap();
    let state = tempfile::tempdir().unwrap();
    let first = ControlPlane::start(dir.path(), state.path(), "127.0.0.1:0");
    let server = format!("http://{}", first.address);
    let xds = first.address.clone();

    let mut watch = Command::new(PROGRAM)
        .args(["upgrade", "watch", "checkout-v2", "--server", &server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(Result::unwrap);
    let line = next().unwrap();
    assert!(line.contains(" UTC shop/checkout-v2: Preparing"), "{line}");

    first.kill();
    while !next().unwrap().starts_with("no control plane answers") {}
    let second = ControlPlane::start(dir.path(), state.path(), &xds);

    let reason = "not today";
    let back = segue(&[
        "upgrade",
        "rollback",
        "checkout-v2",
        "--reason",
        reason,
        "--timeout",
        "30s",
        "--server",
        &server,
    ]);
    assert!(back.status.success(), "{}", stderr(&back));
    while next().is_some() {}
    let ended = watch.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains(reason), "{}", stderr(&ended));

    let told = stdout(&segue(&[
        "upgrade",
        "explain",
        "checkout-v2",
        "--server",
        &server,
    ]));
    assert!(
        told.contains(&format!("asked: rollback ({reason})")),
        "{told}"
    );
    second.kill();
}

#[test]
fn a_list_is_whole_however_many_pages_it_takes() {
    const MORE_THAN_A_PAGE: usize = 103;
    let mut manifests = String::new();
    for n in 0..MORE_THAN_A_PAGE {
        let name = format!("svc-{n:03}");
        manifests.push_str(&SERVICE.replace("checkout", &name));
        manifests.push_str("---\n");
        manifests.push_str(&UPGRADE.replace("checkout", &name));
        manifests.push_str("---\n");
        manifests.push_str(&WORKLOAD.replace("checkout", &name));
        manifests.push_str("---\n");
    }
    let dir = folder(&[("all.yaml", &manifests)]);
    let state = tempfile::tempdir().unwrap();
    let control_plane = ControlPlane::start(dir.path(), state.path(), "127.0.0.1:0");
    let server = format!("http://{}", control_plane.address);
    let ask = |words: &[&str]| {
        let output = segue(&[words, &["--server", &server][..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let list: serde_json::Value =
        serde_json::from_str(&ask(&["upgrade", "list", "-o", "json"])).unwrap();
    let items = list["items"].as_array().unwrap();
    let names: Vec<&str> = items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..MORE_THAN_A_PAGE)
        .map(|n| format!("svc-{n:03}-v2"))
        .collect();
    assert_eq!(names, expected);
    // Of the second page, and by its service.
    assert!(ask(&["upgrade", "get", "svc-102"]).contains("shop/svc-102-v2"));
    let unknown = segue(&["upgrade", "get", "nothing", "--server", &server]);
    assert!(
        stderr(&unknown).contains("and 93 more"),
        "{}",
        stderr(&unknown)
    );
    control_plane.kill();
}
