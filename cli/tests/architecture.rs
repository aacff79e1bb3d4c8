//! The table of rooms of the `segue` command, held against its code and against `ARCHITECTURE.md`.

use segue_architecture::{
    House,
    Pure::{No, Parts},
    Room, room,
};

const HOUSE: House = House {
    name: "cli",
    root: env!("CARGO_MANIFEST_DIR"),
    rooms: ROOMS,
    granted: &[],
    only: &[("rtnetlink", &["lab"]), ("nix", &["lab"])],
    never: &[],
};

#[rustfmt::skip]
const ROOMS: &[Room] = &[
    room("verbs", "what people ask of the control plane, and how the answers are shown", &[], No),
    room("lab", "a laptop-sized cluster of real processes; knows no service, no version", &[], No),
    room("demo", "an upgrade under traffic in the lab: the load, the view, the verdict",
        &["lab", "verbs"],
        Parts(&["course", "evidence", "frame", "interval", "judge", "script", "text"])),
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
