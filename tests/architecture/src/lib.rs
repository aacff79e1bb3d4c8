//! Holds a crate's table of rooms against its code: who may use whom, which rooms are pure, which
//! crates only some rooms may name, and that no file is an orphan or has grown too long.
//! `ARCHITECTURE.md`, beside the crate's folder, shows the same table.
//!
//! It reads text, not meaning: a path counts when it begins with `crate`, `super` or `self`, a
//! crate when its name stands in code as a word. Comments, the contents of strings and what only
//! tests compile are no code. Every rule returns the offences that it found, one sentence each; a
//! crate that can't be read is an offence too, so that no rule passes by seeing nothing.

mod code;
mod page;
mod path;
mod rules;
mod text;

use code::Code;
use std::{fs, path::Path};

/// A crate of the workspace, and what it says of itself.
#[derive(Debug, Clone, Copy)]
pub struct House {
    /// As the architecture page names it.
    pub name: &'static str,
    /// The crate's folder: `env!("CARGO_MANIFEST_DIR")`.
    pub root: &'static str,
    /// The table, in the order in which the page shows it.
    pub rooms: &'static [Room],
    /// What a pure module may name all the same: the module, and the name.
    pub granted: &'static [(&'static str, &'static str)],
    /// Crates that only these rooms, or parts of rooms, may name.
    pub only: &'static [(&'static str, &'static [&'static str])],
    /// Crates that neither its code nor its tests nor its manifest may name.
    pub never: &'static [&'static str],
}

/// A module of the crate with a line in the table. A room within a room has a line of its own.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Its path in `src`: `store`, `xds/decode`.
    pub name: &'static str,
    /// What it does, for the page.
    pub what: &'static str,
    /// The rooms that it may use, with all that lies in them. Itself goes without saying.
    pub may_use: &'static [&'static str],
    /// How much of it is pure.
    pub pure: Pure,
}

/// How much of a room sees neither runtime nor socket, file, clock or chance.
#[derive(Debug, Clone, Copy)]
pub enum Pure {
    /// All of it.
    All,
    /// These modules, by their paths in the room.
    Parts(&'static [&'static str]),
    /// Nothing, or nothing that is held to it.
    No,
}

/// A line of the table.
pub const fn room(
    name: &'static str,
    what: &'static str,
    may_use: &'static [&'static str],
    pure: Pure,
) -> Room {
    Room {
        name,
        what,
        may_use,
        pure,
    }
}

impl House {
    /// Files that lie in no room; rooms and pure parts that have no file.
    pub fn strays(&self) -> Vec<String> {
        self.hold(rules::strays)
    }

    /// Uses of rooms that the table does not allow.
    pub fn trespasses(&self) -> Vec<String> {
        self.hold(rules::trespasses)
    }

    /// Circles in the table, and names in it that no room has.
    pub fn circles(&self) -> Vec<String> {
        rules::circles(self)
    }

    /// What pure rooms name and must not.
    pub fn impurities(&self) -> Vec<String> {
        self.hold(rules::impurities)
    }

    /// Crates named outside their rooms.
    pub fn misplaced_crates(&self) -> Vec<String> {
        self.hold(rules::misplaced_crates)
    }

    /// Crates named that the house must not know at all.
    pub fn strangers(&self) -> Vec<String> {
        self.hold(rules::strangers)
    }

    /// Files that belong to no module.
    pub fn orphans(&self) -> Vec<String> {
        self.hold(|_, code| rules::orphans(code))
    }

    /// Files with too many lines of code.
    pub fn long_files(&self) -> Vec<String> {
        self.hold(|_, code| rules::long_files(code))
    }

    /// The table on the architecture page, where it is not this one.
    pub fn page_drift(&self) -> Vec<String> {
        let page = Path::new(self.root).join("../ARCHITECTURE.md");
        match fs::read_to_string(&page) {
            Ok(text) => page::drift(self, &text),
            Err(error) => vec![format!("cannot read {}: {error}", page.display())],
        }
    }

    fn hold(&self, rule: impl FnOnce(&Self, &Code) -> Vec<String>) -> Vec<String> {
        match Code::read(Path::new(self.root)) {
            Ok(code) => rule(self, &code),
            Err(error) => vec![format!("cannot read {}: {error}", self.root)],
        }
    }

    /// The innermost room that a module lies in.
    fn room_of(&self, module: &str) -> Option<&'static Room> {
        self.rooms
            .iter()
            .filter(|room| is_in(module, room.name))
            .max_by_key(|room| room.name.len())
    }
}

impl Room {
    /// The paths of its pure modules in `src`.
    fn pure_modules(&self) -> Vec<String> {
        match self.pure {
            Pure::All => vec![self.name.to_owned()],
            Pure::Parts(parts) => {
                let whole = |part: &&str| format!("{}/{part}", self.name);
                parts.iter().map(whole).collect()
            }
            Pure::No => Vec::new(),
        }
    }
}

/// True of a module and all modules within it.
fn is_in(module: &str, place: &str) -> bool {
    module
        .strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
