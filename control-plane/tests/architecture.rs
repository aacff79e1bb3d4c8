//! Holds the table of rooms against the code: who may use whom, which rooms are pure, and that
//! every file belongs to the house.
//!
//! The same table stands in `ARCHITECTURE.md` between `<!-- rooms:control-plane -->` and
//! `<!-- /rooms -->`.
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers: a failure is the result"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A room, what it does, and the rooms it may use.
const ROOMS: [(&str, &str, &[&str]); 10] = [
    ("model", "the nouns; pure", &[]),
    (
        "resource",
        "the documents: their fields, defaults, merging and validation; pure",
        &["model"],
    ),
    (
        "upgrade",
        "the engine's mind: advance(policy, status, observation, now); pure",
        &["model"],
    ),
    (
        "xds",
        "World -> resources, each client's protocol (pure); ADS, LRS, HDS",
        &["model"],
    ),
    (
        "source",
        "where the wanted state comes from: manifests",
        &["model", "resource"],
    ),
    (
        "engine",
        "the one writer: composes the world, carries out decisions, the journal",
        &["model", "upgrade", "xds"],
    ),
    ("control", "the gRPC control API", &["model", "engine"]),
    ("telemetry", "logs and metrics", &["model", "engine"]),
    ("config", "flags", &["resource"]),
    (
        "app",
        "the wiring",
        &[
            "config",
            "control",
            "engine",
            "model",
            "source",
            "telemetry",
            "xds",
        ],
    ),
];

/// Rooms, and parts of rooms, that see neither runtime nor socket, file, clock or randomness.
const PURE: [&str; 6] = [
    "model",
    "resource",
    "upgrade",
    "xds/translate",
    "xds/snapshot",
    "xds/stream",
];

/// What a pure room must not name.
const IMPURE: [&str; 15] = [
    "tokio",
    "tonic::",
    "axum",
    "std::fs",
    "fs::",
    "std::net::Tcp",
    "TcpStream",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "fastrand",
    "std::env",
    "std::process",
    "std::thread",
    "static mut",
];

/// Crates that only these rooms may name.
const ONLY: [(&str, &[&str]); 4] = [
    ("envoy_types", &["xds"]),
    ("notify", &["source"]),
    ("axum", &["telemetry"]),
    ("clap", &["config", "app"]),
];

const MAX_CODE_LINES: usize = 400;

struct Source {
    /// Relative to `src`, without `.rs`: `engine/journal/file`.
    path: String,
    /// The code, without comments, strings and tests.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap()
    }

    fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "fixture"))
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    files(&src(), &mut found);
    found
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(src()).unwrap().with_extension("");
            Source {
                path: path.to_str().unwrap().to_owned(),
                code: code_of(&fs::read_to_string(file).unwrap()),
            }
        })
        .collect()
}

/// Without line comments and what follows a `#[cfg(test)]` on a module of the file's own.
fn code_of(text: &str) -> String {
    let before_tests = match text.find("#[cfg(test)]\nmod tests {") {
        Some(end) => &text[..end],
        None => text,
    };
    before_tests
        .split_inclusive('\n')
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect()
}

/// The rooms named in `crate::room` and `crate::{room, …}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            used.extend(top_of_group(group));
        } else {
            used.insert(identifier(rest));
        }
    }
    used
}

/// The first identifier of each member of a `use` group, whose brace is open already.
fn top_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut at_start) = (1, Vec::new(), true);
    for (position, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            _ if at_start && character.is_alphabetic() => {
                members.push(identifier(&group[position..]));
                at_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    members
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let may_use: BTreeMap<&str, &[&str]> =
        ROOMS.iter().map(|(room, _, uses)| (*room, *uses)).collect();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let Some(may_use) = may_use.get(source.room()) else {
            continue;
        };
        for room in used(&source.code) {
            if room != source.room() && !may_use.contains(&room.as_str()) {
                wrong.push(format!("{}.rs uses crate::{room}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_in_the_table() {
    let known: BTreeSet<&str> = ROOMS.iter().map(|(room, ..)| *room).collect();
    let rooms: BTreeSet<String> = sources()
        .iter()
        .map(|source| source.room().to_owned())
        .filter(|room| room != "lib" && room != "main")
        .collect();
    let missing: Vec<&String> = rooms
        .iter()
        .filter(|room| !known.contains(room.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn pure_rooms_see_no_runtime_socket_file_clock_or_chance() {
    let is_pure = |path: &str| {
        PURE.iter()
            .any(|room| path == *room || path.starts_with(&format!("{room}/")))
    };
    let mut wrong = Vec::new();
    for source in sources() {
        if source.is_test() || !is_pure(&source.path) {
            continue;
        }
        for name in IMPURE {
            if names(&source.code, name) {
                wrong.push(format!("{}.rs names {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn some_crates_belong_to_some_rooms() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, rooms) in ONLY {
            let named = names(&source.code, &format!("{name}::"));
            if named && !rooms.contains(&source.room()) {
                wrong.push(format!("{}.rs names {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// True where a name stands in code as a word of its own.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(position, _)| {
        let before = code[..position].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[test]
fn every_file_belongs_to_a_module() {
    let sources = sources();
    let mut wrong = Vec::new();
    for source in &sources {
        let path = source.path.strip_suffix("/mod").unwrap_or(&source.path);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(path, "lib" | "main") {
            continue;
        }
        let candidates = match parent {
            "" => vec!["lib".to_owned()],
            parent => vec![format!("{parent}/mod"), parent.to_owned()],
        };
        let declared = candidates.iter().any(|file| {
            let file = src().join(format!("{file}.rs"));
            fs::read_to_string(file).is_ok_and(|text| names(&text, &format!("mod {name};")))
        });
        if !declared {
            wrong.push(&source.path);
        }
    }
    assert!(wrong.is_empty(), "in no module: {wrong:#?}");
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<(String, usize)> = sources()
        .into_iter()
        .filter(|source| !source.is_test())
        .map(|source| {
            let lines = source.code.lines().filter(|l| !l.trim().is_empty()).count();
            (source.path, lines)
        })
        .filter(|(_, lines)| *lines > MAX_CODE_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_table_in_the_architecture_page_is_this_one() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("<!-- rooms:control-plane -->").unwrap();
    let (table, _) = rest.split_once("<!-- /rooms -->").unwrap();
    assert_eq!(table.trim(), markdown().trim(), "\n{}", markdown());
}

/// The table in Markdown.
fn markdown() -> String {
    let head = "| room | what it does | may use |\n|---|---|---|".to_owned();
    let rows = ROOMS.iter().map(|(room, what, uses)| {
        let uses = match uses {
            [] => "nothing".to_owned(),
            uses => uses.join(", "),
        };
        format!("| `{room}` | {what} | {uses} |")
    });
    let lines: Vec<String> = std::iter::once(head).chain(rows).collect();
    lines.join("\n")
}
