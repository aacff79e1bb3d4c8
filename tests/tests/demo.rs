//! The demo end to end, with short holds and less load: real processes, real redirection where the
//! kernel allows it. `SEGUE_REQUIRE_NAMESPACES=1` makes the fallback to loopback a failure.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    fs,
    process::{Command, Output},
};
use tokio::sync::Mutex;

/// Each demo wants the machine to itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const SHORT: [&str; 13] = [
    "demo",
    "--rate",
    "200",
    "--baseline",
    "2s",
    "--hold",
    "3s",
    "--window",
    "2s",
    "--session",
    "3s",
    "--drain",
    "20s",
];

/// `SEGUE_PROGRAM` where it is set (the tests may run far from where they were built).
fn program() -> OsString {
    env::var_os("SEGUE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_segue-under-test").into())
}

/// Runs the demo; its output and its summary.
fn demo(further: &[&str]) -> (Output, String, Value) {
    let _alone = ONE_AT_A_TIME.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("summary.json");
    let output = Command::new(program())
        .args(SHORT)
        .args(further)
        .arg("--json")
        .arg(&file)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if env::var_os("SEGUE_REQUIRE_NAMESPACES").is_some() {
        assert!(!text.contains("loopback addresses"), "{text}");
    }
    let summary = fs::read(&file).unwrap_or_default();
    let summary = serde_json::from_slice(&summary).unwrap_or_default();
    (output, text, summary)
}

#[test]
fn an_upgrade_under_load_loses_nothing() {
    let (output, text, summary) = demo(&[]);
    assert!(output.status.success(), "{text}");
    assert_eq!(summary["result"], "Succeeded", "{text}");
    for lost in [
        "failed",
        "sessions_moved_unexpectedly",
        "streams_cut",
        "tcp_connections_cut",
    ] {
        assert_eq!(summary[lost], 0, "{lost}: {text}");
    }
    assert!(summary["requests"].as_u64().unwrap() > 1_000, "{text}");
    let weights: Vec<_> = summary["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["weight"].as_f64().unwrap())
        .collect();
    assert_eq!(weights, [5.0, 25.0, 50.0, 100.0], "{text}");
}

#[test]
fn an_upgrade_survives_the_death_of_its_control_plane() {
    let (output, text, summary) = demo(&["--kill-control-plane"]);
    assert!(output.status.success(), "{text}");
    assert_eq!(summary["result"], "Succeeded", "{text}");
    assert_eq!(text.matches("kill -9").count(), 2, "{text}");
}

#[test]
fn a_bad_version_is_rolled_back() {
    let (output, text, summary) = demo(&["--fault", "errors"]);
    assert!(output.status.success(), "{text}");
    assert_eq!(summary["result"], "RolledBack", "{text}");
    assert!(summary["failed"].as_u64().unwrap() > 0, "{text}");
    assert!(summary["rollback_ms"].is_u64(), "{text}");
    assert_eq!(summary["sessions_moved_unexpectedly"], 0, "{text}");
}

#[test]
fn a_summary_that_cannot_be_written_is_said_at_once() {
    let output = Command::new(program())
        .args(["demo", "--json", "/no/such/folder/summary.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("/no/such/folder/summary.json"),
        "{complaint}"
    );
}

#[test]
fn a_folder_that_holds_an_earlier_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("control-plane")).unwrap();
    let output = Command::new(program())
        .args(["demo", "--keep"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("an earlier run"), "{complaint}");
}
