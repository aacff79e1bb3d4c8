//! Holds the house's rules against the code: who may use whom, what the pure rooms never see, that
//! no file is an orphan and none grows too long. ARCHITECTURE.md shows the same table.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// A room, what it is for, and the rooms it may use. A room within a room has a line of its own.
struct Room {
    name: &'static str,
    purpose: &'static str,
    may_use: &'static [&'static str],
}

const MAY_USE: &[Room] = &[
    Room {
        name: "model",
        purpose: "the nouns of the data plane",
        may_use: &[],
    },
    Room {
        name: "affinity",
        purpose: "key and token to version",
        may_use: &["model"],
    },
    Room {
        name: "balance",
        purpose: "which endpoint; outlier detection",
        may_use: &["model"],
    },
    Room {
        name: "drain",
        purpose: "running, draining, closed",
        may_use: &[],
    },
    Room {
        name: "upstream",
        purpose: "connect, HTTP/1, HTTP/2, pool",
        may_use: &["model"],
    },
    Room {
        name: "local",
        purpose: "what one worker holds: snapshot, pools, counts",
        may_use: &["balance", "drain", "model", "store", "upstream"],
    },
    Room {
        name: "tcp",
        purpose: "byte forwarding",
        may_use: &["balance", "drain", "local", "model", "store", "upstream"],
    },
    Room {
        name: "http",
        purpose: "the request path as named phases",
        may_use: &[
            "affinity", "balance", "drain", "local", "model", "store", "tcp", "upstream",
        ],
    },
    Room {
        name: "listen",
        purpose: "accept, detect, inbound, outbound",
        may_use: &["http", "local", "model", "store", "tcp", "upstream"],
    },
    Room {
        name: "worker",
        purpose: "one thread: its runtime, its commands",
        may_use: &["drain", "listen", "local", "model", "store", "upstream"],
    },
    Room {
        name: "redirect",
        purpose: "the kernel hands connections over",
        may_use: &[],
    },
    Room {
        name: "store",
        purpose: "resources to snapshot; disk; publish",
        may_use: &["model"],
    },
    Room {
        name: "xds",
        purpose: "the ADS client; the channel to the control plane",
        may_use: &["store"],
    },
    Room {
        name: "xds/decode",
        purpose: "Envoy message to resource",
        may_use: &["model", "store"],
    },
    Room {
        name: "xds/stream",
        purpose: "subscribe, ack, nack, resume",
        may_use: &["store", "xds"],
    },
    Room {
        name: "health",
        purpose: "delegated health checks (HDS)",
        may_use: &["xds"],
    },
    Room {
        name: "telemetry",
        purpose: "log, metrics, load reports (LRS)",
        may_use: &["model", "store", "xds"],
    },
    Room {
        name: "admin",
        purpose: "readiness, metrics, config dump",
        may_use: &["model", "store", "telemetry", "xds"],
    },
    Room {
        name: "config",
        purpose: "flags",
        may_use: &["redirect", "xds"],
    },
    Room {
        name: "app",
        purpose: "the wiring",
        may_use: &[
            "admin",
            "config",
            "health",
            "listen",
            "redirect",
            "store",
            "telemetry",
            "worker",
            "xds",
        ],
    },
];

/// Rooms and files that never see a runtime, a socket, a file, a clock or randomness of their own.
const PURE: &[&str] = &[
    "model",
    "affinity",
    "balance/pick",
    "redirect/rules",
    "store/compile",
    "store/endpoints",
    "store/resource",
    "xds/decode",
    "xds/stream",
    "health/spec",
    "telemetry/prometheus",
    "telemetry/report",
    "admin/view",
];

/// What a pure room never names.
const IMPURE: &[&str] = &[
    "tokio",
    "tonic",
    "hyper",
    "h2",
    "socket2",
    "nix",
    "parking_lot",
    "fs",
    "env",
    "thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "tracing",
];

/// The only rooms that see Envoy's messages.
const SEES_ENVOY: &[&str] = &["xds", "health", "telemetry"];

const LONGEST_FILE: usize = 400;

/// A source file: its path in `src`, and its code without comments, strings and tests.
struct Source {
    path: String,
    raw: String,
    code: String,
}

impl Source {
    fn is_in(&self, place: &str) -> bool {
        let own = self.path.trim_end_matches(".rs");
        own == place || own.starts_with(&format!("{place}/"))
    }

    /// The innermost room that it lies in.
    fn room(&self) -> Option<&'static Room> {
        MAY_USE
            .iter()
            .filter(|room| self.is_in(room.name))
            .max_by_key(|room| room.name.len())
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
    }

    /// The crate's modules that it names by `crate::…`.
    fn uses(&self) -> BTreeSet<String> {
        let mut uses = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(list) => uses.extend(heads(list)),
                None => uses.extend(ident(rest)),
            }
        }
        uses
    }
}

/// The first identifier of every item of a `use` list that begins here.
fn heads(list: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut at_item = true;
    for (index, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_item = true,
            c if at_item && c.is_alphabetic() => {
                heads.extend(ident(&list[index..]));
                at_item = false;
            }
            _ => {}
        }
    }
    heads
}

fn ident(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Without comments, and without what follows `#[cfg(test)] mod … {`.
fn code_of(raw: &str) -> String {
    let mut code = String::new();
    let mut lines = raw.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.split("//").next().unwrap_or_default();
        if line.trim() == "#[cfg(test)]" {
            if lines.peek().is_some_and(|next| next.ends_with('{')) {
                break;
            }
            lines.next();
            continue;
        }
        if !line.trim().is_empty() {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file but those that only tests see.
fn sources() -> Vec<Source> {
    all_sources()
        .into_iter()
        .filter(|source| {
            let is_tests = source.path.split('/').any(|part| part.starts_with("tests"));
            !is_tests && source.path != "xds/fixture.rs"
        })
        .collect()
}

fn all_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let raw = fs::read_to_string(&path).unwrap();
        Source {
            path: path.strip_prefix(&root).unwrap().display().to_string(),
            code: code_of(&raw),
            raw,
        }
    };
    paths.into_iter().map(read).collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_file_lies_in_a_room() {
    let faults: Vec<_> = sources()
        .iter()
        .filter(|source| source.room().is_none())
        .filter(|source| source.path != "lib.rs" && source.path != "main.rs")
        .map(|source| format!("{} lies in no room", source.path))
        .collect();
    assert_none(&faults);
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some(room) = source.room() else {
            continue;
        };
        let own = room.name.split('/').next().unwrap();
        for used in source.uses() {
            if used != own && !room.may_use.contains(&used.as_str()) {
                faults.push(format!(
                    "{} uses {used}, which {} may not",
                    source.path, room.name
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_table_knows_no_circles() {
    let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for room in MAY_USE {
        let own = room.name.split('/').next().unwrap();
        let uses = room.may_use.iter().copied().filter(|used| *used != own);
        open.entry(own).or_default().extend(uses);
    }
    while !open.is_empty() {
        let done: Vec<_> = open
            .iter()
            .filter(|(_, uses)| uses.iter().all(|used| !open.contains_key(used)))
            .map(|(name, _)| *name)
            .collect();
        assert!(!done.is_empty(), "a circle among {:?}", open.keys());
        for name in done {
            open.remove(name);
        }
    }
}

#[test]
fn pure_rooms_see_no_runtime_socket_file_or_clock() {
    let mut faults = Vec::new();
    for source in sources() {
        if !PURE.iter().any(|pure| source.is_in(pure)) {
            continue;
        }
        for word in source.words() {
            if IMPURE.contains(&word) {
                faults.push(format!("{} is pure and names {word}", source.path));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn only_the_rooms_on_the_wire_see_envoys_messages() {
    let faults: Vec<_> = sources()
        .iter()
        .filter(|source| !SEES_ENVOY.iter().any(|room| source.is_in(room)))
        .filter(|source| source.words().any(|word| word == "envoy_types"))
        .map(|source| format!("{} sees envoy_types", source.path))
        .collect();
    assert_none(&faults);
}

#[test]
fn every_file_belongs_to_a_module() {
    let sources = all_sources();
    let by_path: BTreeMap<&str, &Source> = sources
        .iter()
        .map(|source| (source.path.as_str(), source))
        .collect();
    let mut faults = Vec::new();
    for source in &sources {
        if source.path == "lib.rs" || source.path == "main.rs" {
            continue;
        }
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
        let parents = if folder.is_empty() {
            vec!["lib.rs".to_owned()]
        } else {
            vec![format!("{folder}/mod.rs"), format!("{folder}.rs")]
        };
        let is_declared = parents
            .iter()
            .filter_map(|parent| by_path.get(parent.as_str()))
            .any(|parent| parent.raw.contains(&format!("mod {name};")));
        if !is_declared {
            faults.push(format!("{} belongs to no module", source.path));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_is_too_long() {
    let faults: Vec<_> = sources()
        .iter()
        .map(|source| (&source.path, source.code.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{path} has {lines} lines of code"))
        .collect();
    assert_none(&faults);
}

/// The table as ARCHITECTURE.md shows it.
fn table() -> String {
    let mut table =
        String::from("| room | what for | may use | pure |\n| --- | --- | --- | --- |\n");
    for room in MAY_USE {
        let uses: Vec<_> = room
            .may_use
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let pure: Vec<_> = PURE
            .iter()
            .filter_map(|pure| {
                let inside = pure.strip_prefix(room.name)?;
                match inside.strip_prefix('/') {
                    _ if inside.is_empty() => Some("all".to_owned()),
                    Some(part) if !MAY_USE.iter().any(|other| other.name == *pure) => {
                        Some(format!("`{part}`"))
                    }
                    _ => None,
                }
            })
            .collect();
        let (uses, pure) = (uses.join(" "), pure.join(" "));
        writeln!(
            table,
            "| `{}` | {} | {uses} | {pure} |",
            room.name, room.purpose
        )
        .unwrap();
    }
    table
}

#[test]
fn the_page_shows_this_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(page).unwrap();
    let shown = text
        .split_once("<!-- rooms:sidecar -->")
        .and_then(|(_, rest)| rest.split_once("<!-- /rooms -->"))
        .map(|(shown, _)| shown.trim());
    let expected = table();
    assert_eq!(
        shown,
        Some(expected.trim()),
        "ARCHITECTURE.md must show, between the markers:\n{expected}"
    );
}
