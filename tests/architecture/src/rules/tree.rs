//! Files: that each belongs to a module and to a room, and that none is too long.

use crate::{
    House,
    code::{Code, Standing},
    is_in,
};

/// The most lines of code that a file may have: without comments, empty lines and tests.
const LONGEST_FILE: usize = 400;

/// Files that lie in no room, those of tests too; rooms and pure parts that have no file.
pub(crate) fn strays(house: &House, code: &Code) -> Vec<String> {
    let homeless = code
        .files
        .iter()
        .filter(|file| !file.module.is_empty() && house.room_of(&file.module).is_none())
        .map(|file| format!("{} lies in no room", file.path));
    let empty = house
        .rooms
        .iter()
        .flat_map(|room| {
            room.pure_modules()
                .into_iter()
                .chain([room.name.to_owned()])
        })
        .filter(|place| !code.product().any(|file| is_in(&file.module, place)))
        .map(|place| format!("{place} stands in the table and has no file"));
    homeless.chain(empty).collect()
}

/// Files that no file declares, and modules whose file lies somewhere else.
pub(crate) fn orphans(code: &Code) -> Vec<String> {
    let orphans = code
        .files
        .iter()
        .filter(|file| file.standing == Standing::Orphan)
        .map(|file| format!("{} belongs to no module", file.path));
    let missing = code
        .missing
        .iter()
        .map(|(path, name)| format!("{path} declares {name}, whose file lies somewhere else"));
    orphans.chain(missing).collect()
}

/// Files with too many lines of code. Those of tests may be as long as they are.
pub(crate) fn long_files(code: &Code) -> Vec<String> {
    code.product()
        .map(|file| (&file.path, file.lines()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{path} has {lines} lines of code, over {LONGEST_FILE}"))
        .collect()
}
