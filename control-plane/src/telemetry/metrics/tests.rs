//! What is shown is what Prometheus reads, and what the page says.

use super::*;
use crate::{
    engine::tests::support::{Mesh, quick},
    event::tests::installed,
    listen::Door,
    model::{Command, EndpointSample, ErrorClasses, Phase, Policy},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    process::{Command as Program, Stdio},
};

const V1: [(&str, &str); 1] = [("a-0", "v1")];
const BOTH: [(&str, &str); 2] = [("a-0", "v1"), ("b-0", "v2")];
const PAGE: &str = include_str!("../../../../docs/metrics.md");
const ALERTS: &str = "deploy/prometheus/alerts.yaml";

/// In the first step, with traffic of which clients' proxies and an instance's own one tell.
fn upgrading() -> Mesh {
    let policy = Policy {
        affinity: crate::model::Affinity::None,
        ..quick()
    };
    let mut mesh = Mesh::first_step(&V1, &BOTH, policy);
    let sent = |version: &str, host: u8| EndpointSample {
        cluster: format!("outbound|80|{version}|checkout.shop.svc.cluster.local"),
        address: Some(format!("10.0.0.{host}:8080").parse().unwrap()),
        succeeded: 90,
        errors: 10,
        error_classes: ErrorClasses {
            response: 6,
            timeout: 1,
            ..ErrorClasses::default()
        },
        latency: BTreeMap::from([(1_024, 60), (2_048, 40)]),
        latency_sum_us: 130_000,
        ..EndpointSample::default()
    };
    for _ in 0..2 {
        mesh.report("shop/web", vec![sent("v1", 1), sent("v2", 2)]);
        mesh.tick();
    }
    mesh
}

fn shown(mesh: &mut Mesh) -> String {
    let now = mesh.now;
    let sink = SinkCounts {
        sink: "http://bus:80".to_owned(),
        queue: "0123456789abcdef".to_owned(),
        delivered: 7,
        pending: 2,
        dropped: 1,
        refused: 3,
        failed_tries: 9,
        failure: "503 Service Unavailable".to_owned(),
    };
    let door = Door::new("xds", 10_000).counts();
    render(&mesh.engine().board(now), (&[sink], &[door]), now)
}

/// The value of a sample whose labels contain these.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = text.lines().filter(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
    });
    let line = found.next()?;
    assert_eq!(found.next(), None, "{name} {labels:?} is several samples");
    Some(line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Names of metrics as they are declared, with kind and help.
fn declared(text: &str) -> BTreeMap<String, (String, String)> {
    let after = |prefix: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        let parts = lines.filter_map(|line| line.split_once(' '));
        parts
            .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
            .collect::<Vec<_>>()
    };
    let (helps, kinds) = (after("# HELP "), after("# TYPE "));
    assert_eq!(helps.len(), kinds.len());
    let paired = helps.into_iter().zip(kinds);
    let all: Vec<_> = paired
        .map(|((name, help), (of, kind))| {
            assert_eq!(name, of);
            (name, (kind, help))
        })
        .collect();
    let count = all.len();
    let declared: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(declared.len(), count, "a metric is declared twice");
    declared
}

#[test]
fn an_upgrade_is_shown_with_both_versions_and_what_was_reported_of_them() {
    let mut mesh = upgrading();
    let text = shown(&mut mesh);
    let of = |name: &str, labels: &[&str]| value(&text, name, labels);
    let both =
        "namespace=\"shop\",service=\"checkout\",upgrade=\"checkout-v2-1\",from=\"v1\",to=\"v2\"";
    assert_eq!(of("segue_upgrade_weight_ratio", &[both]), Some(0.25));
    assert_eq!(of("segue_upgrade_phase", &["\"WarmUp\""]), Some(1.0));
    assert_eq!(of("segue_upgrade_phase", &["\"Shifting\""]), Some(0.0));
    assert_eq!(of("segue_upgrade_step", &[]), Some(1.0));
    assert_eq!(of("segue_upgrade_proxies", &["\"applied\""]), Some(1.0));
    assert_eq!(of("segue_upgrade_proxy_lag_seconds", &[]), Some(0.0));
    let new = ["version=\"v2\",role=\"new\"", "reported_by=\"clients\""];
    let counted = |name: &str, more: &str| of(name, &[new[0], new[1], more]);
    assert_eq!(
        counted("segue_upgrade_version_requests_total", ""),
        Some(200.0)
    );
    for (class, errors) in [
        ("response", 12.0),
        ("timeout", 2.0),
        ("reset", 0.0),
        ("other", 6.0),
    ] {
        let label = format!("class=\"{class}\"");
        let shown = counted("segue_upgrade_version_errors_total", &label);
        assert_eq!(shown, Some(errors), "{class}");
    }
    let durations = "segue_upgrade_version_request_duration_seconds";
    for (le, below) in [
        ("0.000724", 0.0),
        ("0.001024", 120.0),
        ("0.002048", 200.0),
        ("+Inf", 200.0),
    ] {
        let label = format!("le=\"{le}\"");
        assert_eq!(
            counted(&format!("{durations}_bucket"), &label),
            Some(below),
            "{le}"
        );
    }
    assert_eq!(counted(&format!("{durations}_count"), ""), Some(200.0));
    assert_eq!(counted(&format!("{durations}_sum"), ""), Some(0.26));
    let ready = of("segue_upgrade_version_ready_instances", &["role=\"old\""]);
    assert_eq!(ready, Some(1.0));
}

#[test]
fn a_pause_and_a_rollback_are_shown_with_who_or_what_brought_them() {
    let mut mesh = upgrading();
    mesh.command(Command::Pause).unwrap();
    let text = shown(&mut mesh);
    assert_eq!(
        value(&text, "segue_upgrade_paused", &["\"Person\""]),
        Some(1.0)
    );
    assert_eq!(
        value(&text, "segue_upgrade_paused", &["\"LowTraffic\""]),
        Some(0.0)
    );
    let commanded = ["rule=\"Commanded\""];
    let total = "segue_upgrade_rollbacks_total";
    assert_eq!(value(&text, total, &commanded), Some(0.0));
    assert_eq!(value(&text, "segue_upgrade_rollback", &[]), None);
    mesh.command(Command::Rollback {
        reason: "by hand".to_owned(),
    })
    .unwrap();
    mesh.finish();
    let text = shown(&mut mesh);
    assert_eq!(mesh.phase(), Some(Phase::RolledBack));
    assert_eq!(value(&text, total, &commanded), Some(1.0));
    assert_eq!(
        value(&text, "segue_upgrade_rollback", &commanded),
        Some(1.0)
    );
    let ended = "segue_upgrades_ended_total";
    assert_eq!(value(&text, ended, &["\"RolledBack\""]), Some(1.0));
    assert_eq!(value(&text, ended, &["\"Succeeded\""]), Some(0.0));
    // What ended before a restart is not counted once more.
    mesh.kill();
    mesh.start();
    mesh.tick();
    assert_eq!(
        value(&shown(&mut mesh), ended, &["\"RolledBack\""]),
        Some(0.0)
    );
}

#[test]
fn an_upgrade_that_ended_is_shown_a_while_longer_then_its_series_vanish() {
    let mut mesh = upgrading();
    mesh.finish();
    let board = {
        let now = mesh.now;
        mesh.engine().board(now)
    };
    let ended = mesh.status().unwrap().phase_since;
    let series = |now: Timestamp| {
        render(&board, (&[], &[]), now)
            .matches("checkout-v2-1")
            .count()
    };
    assert!(series(ended.after(AFTER_THE_END / 2)) > 50);
    assert_eq!(series(ended.after(AFTER_THE_END)), 0);
}

/// What `promtool check metrics` asks for and what the format says, without the program.
fn offences(text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    let declared = declared(text);
    let (mut current, mut seen) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split_once(' ').unwrap().0.to_owned();
            continue;
        } else if line.starts_with('#') {
            continue;
        }
        let (series, number) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let (kind, _) = &declared[&current];
        let part = name.strip_prefix(current.as_str());
        let fits = match kind.as_str() {
            "histogram" => matches!(part, Some("_bucket" | "_sum" | "_count")),
            "counter" => part == Some("") && name.ends_with("_total"),
            _ => part == Some("") && !name.ends_with("_total"),
        };
        if !fits || number.parse::<f64>().is_err() {
            offences.push(format!("out of place: {line}"));
        }
        if !seen.insert(series.to_owned()) {
            offences.push(format!("twice: {series}"));
        }
    }
    for (name, (_, help)) in &declared {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if !plain || !name.starts_with("segue_") || help.len() < 10 {
            offences.push(format!("name or help: {name}"));
        }
    }
    offences
}

#[test]
fn the_exposition_is_sound() {
    let mut mesh = upgrading();
    let text = shown(&mut mesh);
    assert_eq!(offences(&text), Vec::<String>::new());
    let bad = text.replace("\nsegue_generation ", "\nsegue_generations ");
    assert!(!offences(&bad).is_empty());
    let of_upgrades = declared(&text)
        .into_keys()
        .filter(|n| n.contains("upgrade"));
    assert!(of_upgrades.count() > 20);
}

#[test]
fn labels_are_escaped() {
    let written = labels_of(&[("a", "x\"y\\z\nw"), ("b", "é")]);
    assert_eq!(written, "a=\"x\\\"y\\\\z\\nw\",b=\"é\"");
}

#[test]
fn prometheus_itself_reads_the_metrics_and_the_rules() {
    let Some(program) = installed("promtool", "SEGUE_PROMTOOL", "SEGUE_REQUIRE_PROMETHEUS") else {
        return;
    };
    let mut check = Program::new(&program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = shown(&mut upgrading());
    check
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let said = check.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{complaints}");
    assert_eq!(complaints, "");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(ALERTS);
    let said = Program::new(&program)
        .args(["check", "rules"])
        .arg(rules)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{complaints}");
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let rows: BTreeMap<String, (String, String)> = PAGE
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let name = cells.first()?.strip_prefix("`segue_")?.strip_suffix('`')?;
            let [_, kind, _, help] = cells[..] else {
                panic!("{line}");
            };
            let said = (kind.to_owned(), help.to_owned());
            Some((format!("segue_{name}"), said))
        })
        .collect();
    assert_eq!(
        rows,
        declared(&render(&Board::default(), (&[], &[]), Timestamp(0)))
    );
}

#[test]
fn the_sample_rules_ask_for_metrics_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(ALERTS);
    let rules = std::fs::read_to_string(path).unwrap();
    let known = declared(&render(&Board::default(), (&[], &[]), Timestamp(0)));
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("segue_")).collect();
    assert!(asked.len() > 5);
    for name in asked {
        let of_histogram = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(known.contains_key(of_histogram), "{name}");
    }
}
