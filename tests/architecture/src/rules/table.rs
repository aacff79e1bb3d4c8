//! Who may use whom: the code against the table, and the table against itself.

use crate::{
    House, Room,
    code::{Code, File},
    is_in,
    path::used,
};
use std::collections::{BTreeMap, BTreeSet};

/// Uses of rooms that the table does not allow. What is at the crate's root is in no room, and so
/// no room may use it; the root itself wires and may use all.
pub(crate) fn trespasses(house: &House, code: &Code) -> Vec<String> {
    let mut offences = Vec::new();
    for file in code.product() {
        if let Some(room) = house.room_of(&file.module) {
            offences.extend(uses_beyond(house, room, file));
        }
    }
    offences
}

fn uses_beyond(house: &House, room: &Room, file: &File) -> Vec<String> {
    let module: Vec<String> = file.module.split('/').map(str::to_owned).collect();
    let mut beyond = BTreeSet::new();
    for path in used(&file.code, &module) {
        let place = path.join("/");
        let is_allowed = house.room_of(&place).is_some_and(|used| {
            let allowed = [room.name].into_iter().chain(room.may_use.iter().copied());
            allowed.into_iter().any(|place| is_in(used.name, place))
        });
        if !is_allowed {
            let shown = house
                .room_of(&place)
                .map_or(place.as_str(), |used| used.name);
            beyond.insert(format!(
                "{} uses `{}`, which {} may not",
                file.path, shown, room.name
            ));
        }
    }
    beyond.into_iter().collect()
}

/// Circles among the rooms, those within a room taken as one with it; names that no room has.
pub(crate) fn circles(house: &House) -> Vec<String> {
    let mut offences = Vec::new();
    let mut names = BTreeSet::new();
    let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for room in house.rooms {
        if !names.insert(room.name) {
            offences.push(format!("{} stands in the table twice", room.name));
        }
        let uses = room.may_use.iter().map(|used| outermost(used));
        let outer = open.entry(outermost(room.name)).or_default();
        outer.extend(uses.filter(|used| *used != outermost(room.name)));
    }
    for room in house.rooms {
        for used in room.may_use.iter().filter(|used| !names.contains(*used)) {
            offences.push(format!("{} may use {used}, which is no room", room.name));
        }
    }
    loop {
        let is_done = |uses: &BTreeSet<&str>| uses.iter().all(|used| !open.contains_key(used));
        let done = open.iter().filter(|(_, uses)| is_done(uses));
        let done: Vec<&str> = done.map(|(name, _)| *name).collect();
        if done.is_empty() {
            break;
        }
        open.retain(|name, _| !done.contains(name));
    }
    if !open.is_empty() {
        let among: Vec<&str> = open.into_keys().collect();
        offences.push(format!("a circle among {}", among.join(", ")));
    }
    offences
}

fn outermost(room: &str) -> &str {
    room.split_once('/').map_or(room, |(outer, _)| outer)
}
