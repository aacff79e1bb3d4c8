//! Names that must not stand somewhere: impure ones in pure rooms, crates outside their rooms.

use crate::{
    House, Room,
    code::{Code, File},
    is_in,
    text::{names_module, tokens, words},
};
use std::collections::BTreeSet;

/// Crates and modules that a pure room never names: runtimes, sockets, files, chance, logs, locks.
const IMPURE_MODULES: &[&str] = &[
    "tokio",
    "tonic",
    "axum",
    "hyper",
    "h2",
    "socket2",
    "nix",
    "notify",
    "rtnetlink",
    "parking_lot",
    "fastrand",
    "tracing",
    "fs",
    "env",
    "process",
    "thread",
];

/// Types that it never names: sockets and clocks.
const IMPURE_TYPES: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "Instant",
    "SystemTime",
];

/// What pure rooms name and must not, and grants that nobody needs.
pub(crate) fn impurities(house: &House, code: &Code) -> Vec<String> {
    let pure: Vec<String> = house.rooms.iter().flat_map(Room::pure_modules).collect();
    let is_pure = |file: &&File| pure.iter().any(|place| is_in(&file.module, place));
    let mut unused: BTreeSet<_> = house.granted.iter().collect();
    let mut offences = Vec::new();
    for file in code.product().filter(is_pure) {
        for name in impure_names(&file.code) {
            match house
                .granted
                .iter()
                .find(|grant| **grant == (file.module.as_str(), name))
            {
                Some(grant) => drop(unused.remove(grant)),
                None => offences.push(format!("{} is pure and names {name}", file.path)),
            }
        }
    }
    let unused = unused.into_iter();
    offences.extend(unused.map(|(module, name)| format!("{module} needs no grant to name {name}")));
    offences
}

fn impure_names(code: &str) -> Vec<&'static str> {
    let modules = IMPURE_MODULES.iter().copied();
    let modules = modules.filter(|name| names_module(code, name));
    let types = IMPURE_TYPES.iter().copied();
    let types = types.filter(|name| names(code, name));
    let statics = Some("static mut").filter(|_| has_mutable_static(code));
    modules.chain(types).chain(statics).collect()
}

fn has_mutable_static(code: &str) -> bool {
    let tokens = tokens(code);
    tokens.windows(2).any(|two| two == ["static", "mut"])
}

/// Crates named outside their rooms.
pub(crate) fn misplaced_crates(house: &House, code: &Code) -> Vec<String> {
    let mut offences = Vec::new();
    for (name, places) in house.only {
        let is_outside = |file: &&File| !places.iter().any(|place| is_in(&file.module, place));
        for file in code.product().filter(is_outside) {
            if names_module(&file.code, name) {
                offences.push(format!(
                    "{} names {name}, which only {} may",
                    file.path,
                    places.join(", ")
                ));
            }
        }
    }
    offences
}

/// Crates named that the house must not know: in its code, its tests, its manifest.
pub(crate) fn strangers(house: &House, code: &Code) -> Vec<String> {
    let sources = code.files.iter().map(|file| (&file.path, &file.whole));
    let beside = code.beside.iter().map(|(path, code)| (path, code));
    let all: Vec<_> = sources.chain(beside).collect();
    let mut offences = Vec::new();
    for name in house.never {
        let here = all.iter().filter(|(_, code)| names(code, name));
        offences.extend(here.map(|(path, _)| format!("{path} names {name}")));
        if manifest_names(&code.manifest, name) {
            offences.push(format!("Cargo.toml names {name}"));
        }
    }
    offences
}

fn names(code: &str, name: &str) -> bool {
    words(code).any(|word| word == name)
}

/// Cargo's names have hyphens where code has underscores.
fn manifest_names(manifest: &str, name: &str) -> bool {
    manifest.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        names(&line.replace('-', "_"), name)
    })
}
