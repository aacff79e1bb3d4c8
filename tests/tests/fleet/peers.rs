//! Which clients this machine has.

use std::{env, path::PathBuf, process::Command};

/// A gRPC client that needs no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grpc {
    Core,
    Node,
    Go,
}

impl Grpc {
    pub(crate) const ALL: [Self; 3] = [Self::Core, Self::Node, Self::Go];

    /// The name of its Pod.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Core => "grpc-core",
            Self::Node => "grpc-node",
            Self::Go => "grpc-go",
        }
    }

    /// The program of `tests/peers/`, and what it needs in its environment.
    pub(crate) fn command(self) -> Option<Vec<String>> {
        let folder = folder()?;
        let source = |name: &str| concat!(env!("CARGO_MANIFEST_DIR"), "/peers/").to_owned() + name;
        let path = |name: &str| folder.join(name).display().to_string();
        let (needed, command) = match self {
            Self::Core => {
                let python = path("venv/bin/python3");
                (python.clone(), vec![python, source("core.py")])
            }
            Self::Node => (
                path("node_modules/@grpc/grpc-js-xds"),
                vec![
                    "env".to_owned(),
                    format!("NODE_PATH={}", path("node_modules")),
                    "node".to_owned(),
                    source("node.js"),
                ],
            ),
            Self::Go => (path("go-client"), vec![path("go-client")]),
        };
        PathBuf::from(needed).exists().then_some(command)
    }
}

fn folder() -> Option<PathBuf> {
    env::var_os("SEGUE_PEERS").map(PathBuf::from)
}

/// `SEGUE_ENVOY`, or the one that `tests/peers/install` has installed.
pub(crate) fn envoy() -> Option<PathBuf> {
    if let Some(named) = env::var_os("SEGUE_ENVOY") {
        return Some(named.into());
    }
    // The program itself: the package's own script only starts it.
    let libraries = folder()?.join("venv/lib").read_dir().ok()?;
    let mut found = libraries
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    found.find(|path| path.exists())
}

/// As Envoy says it itself.
pub(crate) fn envoy_version(envoy: &std::path::Path) -> String {
    let output = Command::new(envoy).arg("--version").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said
        .split(" version: ")
        .nth(1)
        .and_then(|build| build.split('/').nth(1));
    let version = version.unwrap_or_else(|| said.trim());
    format!("Envoy {version}")
}

/// The clients that are missing, by name.
pub(crate) fn missing() -> Vec<&'static str> {
    let grpc = Grpc::ALL.iter().filter(|one| one.command().is_none());
    let envoy = envoy().is_none().then_some("Envoy");
    envoy
        .into_iter()
        .chain(grpc.map(|one| one.name()))
        .collect()
}

/// Why no scenario can be played here. With `SEGUE_REQUIRE_PEERS=1` every client must be there.
pub(crate) fn lacks() -> Option<String> {
    let missing = missing();
    let required = env::var_os("SEGUE_REQUIRE_PEERS").is_some_and(|set| set == "1");
    assert!(
        !required || missing.is_empty(),
        "missing: {missing:?}; install them by `tests/peers/install FOLDER` and set SEGUE_PEERS=FOLDER"
    );
    // What other clients show is shown only beside an Envoy.
    envoy().is_none().then(|| {
        "no Envoy: run `tests/peers/install FOLDER` and set SEGUE_PEERS=FOLDER, or set SEGUE_ENVOY".to_owned()
    })
}
