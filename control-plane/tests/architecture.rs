//! The table of rooms of the control plane, held against its code and against `ARCHITECTURE.md`.

use segue_architecture::{
    House,
    Pure::{All, No, Parts},
    Room, room,
};

const HOUSE: House = House {
    name: "control-plane",
    root: env!("CARGO_MANIFEST_DIR"),
    rooms: ROOMS,
    // A lock around what it made already; the same is made without it.
    granted: &[
        ("xds/snapshot", "parking_lot"),
        ("xds/snapshot/service", "parking_lot"),
    ],
    only: &[
        ("envoy_types", &["xds"]),
        ("notify", &["source"]),
        ("axum", &["telemetry"]),
        ("clap", &["config", "app"]),
        ("async_nats", &["event"]),
        ("hyper_util", &["web"]),
        ("hyper_rustls", &["web"]),
        ("rustls", &["web"]),
    ],
    never: &["segue_sidecar"],
};

#[rustfmt::skip]
const ROOMS: &[Room] = &[
    room("model", "the nouns", &[], All),
    room("resource", "the documents: their fields, defaults, merging and validation",
        &["model"], All),
    room("upgrade", "the engine's mind: advance(policy, status, observation, now)",
        &["model"], All),
    room("analysis", "numbers -> verdict: sequential tests, baselines", &["model"], All),
    room("replay", "a recorded upgrade once more, under another policy",
        &["analysis", "model", "upgrade"], All),
    room("xds", "World -> resources, each client's protocol; ADS, LRS, HDS",
        &["model"], Parts(&["translate", "snapshot", "stream"])),
    room("source", "where the wanted state comes from: manifests", &["model", "resource"], No),
    room("engine", "the one writer: composes the world, carries out decisions, the journal",
        &["analysis", "model", "sealed", "upgrade", "xds"], No),
    room("clock", "the time, which never goes back", &["model"], No),
    room("web", "the HTTP client for servers that policies name", &[], Parts(&["text"])),
    room("sealed", "checksums; files that grow by one sealed record a line", &[], All),
    room("event", "CloudEvents to operators' event buses; the outbox on disk",
        &["clock", "model", "sealed", "web"],
        Parts(&["cloud_event", "pace", "outbox/backlog", "outbox/record"])),
    room("metric", "extra metrics of policies: Prometheus and webhooks",
        &["engine", "model", "web"], Parts(&["prometheus", "template", "webhook"])),
    room("listen", "connections as they come in, bounded", &[], No),
    room("control", "the gRPC control API", &["clock", "model", "engine", "event"], No),
    room("telemetry", "logs and metrics", &["clock", "model", "engine", "event", "listen"], No),
    room("config", "flags", &["resource"], No),
    room("app", "the wiring",
        &["clock", "config", "control", "engine", "event", "listen", "metric", "model", "source",
            "telemetry", "web", "xds"], No),
];

/// No offence.
const NONE: [&str; 0] = [];

#[test]
fn every_file_lies_in_a_room_and_every_room_has_files() {
    assert_eq!(HOUSE.strays(), NONE);
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    assert_eq!(HOUSE.trespasses(), NONE);
}

#[test]
fn the_table_knows_no_circles() {
    assert_eq!(HOUSE.circles(), NONE);
}

#[test]
fn pure_rooms_see_no_runtime_socket_file_clock_or_chance() {
    assert_eq!(HOUSE.impurities(), NONE);
}

#[test]
fn some_crates_belong_to_some_rooms() {
    assert_eq!(HOUSE.misplaced_crates(), NONE);
}

#[test]
fn the_sidecar_is_a_stranger() {
    assert_eq!(HOUSE.strangers(), NONE);
}

#[test]
fn every_file_belongs_to_a_module() {
    assert_eq!(HOUSE.orphans(), NONE);
}

#[test]
fn no_file_is_too_long() {
    assert_eq!(HOUSE.long_files(), NONE);
}

#[test]
fn the_architecture_page_shows_this_table() {
    assert_eq!(HOUSE.page_drift(), NONE);
}
