//! h2spec against the HTTP/2 side of a sidecar, in front of an application that speaks HTTP/2 itself.

use super::{
    cases::{Case, Went, reporting},
    mesh::HOST,
};
use std::{env, path::PathBuf};
use tokio::process::Command;

/// So many of its cases must pass.
const AT_LEAST: usize = 146;

pub(crate) fn cases() -> Vec<Case> {
    vec![reporting("h2spec", |_| run())]
}

async fn run() -> Went {
    let Some(program) = env::var_os("SEGUE_H2SPEC").map(PathBuf::from) else {
        let required = env::var_os("SEGUE_REQUIRE_H2SPEC").is_some_and(|set| set == "1");
        assert!(!required, "SEGUE_H2SPEC does not say where h2spec is");
        return Went::Skipped("SEGUE_H2SPEC does not say where h2spec is".to_owned());
    };
    let mut command = Command::new(&program);
    command.args(["--strict", "--host", HOST, "--port", "80"]);
    let output = command.output().await;
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    // "146 tests, 146 passed, 0 skipped, 0 failed"
    let summary = said.lines().rfind(|line| line.contains(" passed, "));
    let summary = summary.unwrap_or_else(|| panic!("no summary: {said}"));
    let passed: usize = summary
        .split(", ")
        .find_map(|part| part.strip_suffix(" passed"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        passed >= AT_LEAST && summary.ends_with(" 0 failed"),
        "{said}"
    );
    Went::With(summary.to_owned())
}
