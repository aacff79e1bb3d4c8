//! The rules by way of the file system: a house in order, then one planted offence for each rule.

use segue_architecture::{House, Pure, room};
use std::{fs, io, path::Path};

const NONE: [&str; 0] = [];

const HOUSE: House = House {
    name: "sample",
    root: concat!(env!("CARGO_TARGET_TMPDIR"), "/planted/sample"),
    rooms: &[
        room("model", "the nouns", &[], Pure::All),
        room("app", "the wiring", &["model"], Pure::No),
    ],
    granted: &[],
    only: &[("clap", &["app"])],
    never: &["segue_other"],
};

fn write(path: &str, text: &str) -> io::Result<()> {
    let path = Path::new(HOUSE.root).join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

fn offences(house: &House) -> [usize; 9] {
    [
        house.strays(),
        house.trespasses(),
        house.circles(),
        house.impurities(),
        house.misplaced_crates(),
        house.strangers(),
        house.orphans(),
        house.long_files(),
        house.page_drift(),
    ]
    .map(|found| found.len())
}

#[test]
fn every_rule_is_silent_in_order_and_speaks_of_a_planted_offence() {
    let page = "<!-- rooms:sample -->\n| room | what it does | may use | pure |\n|---|---|---|---|\n\
                | `model` | the nouns | nothing | all |\n\
                | `app` | the wiring | `model` | no |\n<!-- /rooms -->\n";
    drop(fs::remove_dir_all(HOUSE.root));
    write("Cargo.toml", "[package]\nname = \"sample\"\n").unwrap();
    write("src/lib.rs", "mod app;\nmod model;\n").unwrap();
    write("src/app/mod.rs", "use crate::model;\nuse clap::Parser;\n").unwrap();
    write("src/model.rs", "pub struct Noun;\n").unwrap();
    write("tests/all.rs", "use sample::app;\n").unwrap();
    write("../ARCHITECTURE.md", page).unwrap();
    assert_eq!(offences(&HOUSE), [0; 9]);

    write("src/attic.rs", "").unwrap();
    write("src/app/mod.rs", &"let x = 1;\n".repeat(401)).unwrap();
    write(
        "src/model.rs",
        "use crate::app;\nuse tokio::fs as disk;\nuse clap::Parser;\n",
    )
    .unwrap();
    write("tests/all.rs", "use segue_other::app;\n").unwrap();
    write("../ARCHITECTURE.md", &page.replace("nouns", "verbs")).unwrap();
    // `tokio` and `fs` are two impurities.
    assert_eq!(offences(&HOUSE), [1, 1, 0, 2, 1, 1, 1, 1, 1]);
}

#[test]
fn a_house_that_is_not_there_offends_against_every_rule_that_reads() {
    let root = concat!(env!("CARGO_TARGET_TMPDIR"), "/planted/nowhere/at/all");
    let nowhere = House { root, ..HOUSE };
    assert_eq!(offences(&nowhere), [1, 1, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(nowhere.circles(), NONE);
}
