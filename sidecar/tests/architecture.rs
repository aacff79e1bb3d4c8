//! The table of rooms of the sidecar, held against its code and against `ARCHITECTURE.md`.

use segue_architecture::{
    House,
    Pure::{All, No, Parts},
    Room, room,
};

const HOUSE: House = House {
    name: "sidecar",
    root: env!("CARGO_MANIFEST_DIR"),
    rooms: ROOMS,
    granted: &[],
    only: &[
        ("envoy_types", &["xds", "health", "telemetry"]),
        ("clap", &["config", "redirect", "app"]),
        ("axum", &["admin", "app"]),
        ("nix", &["redirect", "tcp"]),
        ("netlink_sys", &["redirect"]),
        ("netlink_packet_core", &["redirect"]),
    ],
    never: &["segue_control_plane"],
};

#[rustfmt::skip]
const ROOMS: &[Room] = &[
    room("model", "the nouns of the data plane", &[], All),
    room("affinity", "key, hash and token to version", &["model"], All),
    room("balance", "which endpoint; outlier detection", &["model"], Parts(&["pick"])),
    room("drain", "running, draining, closed; whose stream ends when", &["model"], Parts(&["budget"])),
    room("upstream", "connect, HTTP/1, HTTP/2, pool", &["model"], No),
    room("local", "what one worker holds: snapshot, pools, counts",
        &["balance", "drain", "model", "store", "upstream"], No),
    room("tcp", "byte forwarding",
        &["balance", "drain", "local", "model", "store", "upstream"], No),
    room("http", "the request path as named phases",
        &["affinity", "balance", "drain", "local", "model", "store", "tcp", "upstream"],
        Parts(&["boundary"])),
    room("listen", "accept, detect, inbound, outbound",
        &["drain", "http", "local", "model", "store", "tcp", "upstream"], No),
    room("worker", "one thread: its runtime, its commands",
        &["drain", "listen", "local", "model", "store", "upstream"], No),
    room("redirect", "the kernel hands connections over", &[], Parts(&["rules"])),
    room("store", "resources to snapshot; disk; publish",
        &["model"], Parts(&["compile", "endpoints", "resource"])),
    room("xds", "the ADS client; the channel to the control plane", &["store"], No),
    room("xds/decode", "Envoy message to resource", &["model", "store"], All),
    room("xds/stream", "subscribe, ack, nack, resume", &["store", "xds"], All),
    room("health", "delegated health checks (HDS)", &["xds"], Parts(&["spec"])),
    room("telemetry", "log, access log, traces, metrics, load reports (LRS)",
        &["model", "store", "worker", "xds"], Parts(&["prometheus", "records/access_log", "records/span", "report"])),
    room("admin", "readiness, metrics, config dump, what is open; begins a drain",
        &["model", "store", "telemetry", "xds"], Parts(&["view"])),
    room("config", "flags", &["redirect", "telemetry", "xds"], No),
    room("app", "the wiring",
        &["admin", "config", "health", "listen", "redirect", "store", "telemetry", "worker", "xds"], No),
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
fn the_control_plane_is_a_stranger() {
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
