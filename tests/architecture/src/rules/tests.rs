//! Each rule against planted offences, and against a house in order.

use super::*;
use crate::{House, Pure, Room, code::Code};

const fn room(name: &'static str, may_use: &'static [&'static str], pure: Pure) -> Room {
    crate::room(name, "a sample", may_use, pure)
}

const HOUSE: House = House {
    name: "sample",
    root: "",
    rooms: &[
        room("model", &[], Pure::All),
        room("wire", &["model"], Pure::Parts(&["codec"])),
        room("wire/inner", &["model"], Pure::No),
        room("app", &["wire"], Pure::No),
    ],
    granted: &[],
    only: &[("envoy_types", &["wire"])],
    never: &["segue_other"],
};

const CIRCLE: &[Room] = &[
    room("a", &["b"], Pure::No),
    room("b", &[], Pure::No),
    room("b/c", &["a"], Pure::No),
];

const DOUBLE: &[Room] = &[room("a", &["x"], Pure::No), room("a", &[], Pure::No)];

const EMPTY: &[Room] = &[
    room("model", &[], Pure::Parts(&["gone"])),
    room("wire", &[], Pure::No),
    room("app", &[], Pure::No),
    room("cellar", &[], Pure::No),
];

/// A house in order.
const ORDER: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[dependencies]\nserde = 1 # not segue-other\n",
    ),
    (
        "src/lib.rs",
        "mod app; mod model; mod wire; use model::A; use wire::B;",
    ),
    ("src/main.rs", "fn main() { sample::main() }"),
    (
        "src/app.rs",
        "use crate::{wire::inner, app::X}; use tokio::fs;",
    ),
    (
        "src/model.rs",
        "//! No tokio.\nconst A: &str = \"crate::app tokio\";\n\
        #[cfg(test)]\nmod tests { use crate::app; use tokio::fs; use envoy_types::X; }",
    ),
    (
        "src/wire/mod.rs",
        "mod codec; mod inner; use crate::model; use envoy_types::X;",
    ),
    (
        "src/wire/codec.rs",
        "use super::inner::B; use crate::model::C;",
    ),
    ("src/wire/inner.rs", "use std::time::Instant;"),
    ("tests/all.rs", "// segue_other\nuse segue_other_thing::X;"),
];

/// A house in order but for this one file.
fn with(path: &str, text: &str) -> Code {
    let own = |(path, text): (&str, &str)| (path.to_owned(), text.to_owned());
    let all = ORDER.iter().copied().chain([(path, text)]);
    Code::of(&all.map(own).collect())
}

fn order() -> Code {
    let (path, text) = ORDER[0];
    with(path, text)
}

#[test]
fn a_house_in_order_offends_against_nothing() {
    let code = order();
    let all = [
        strays(&HOUSE, &code),
        trespasses(&HOUSE, &code),
        circles(&HOUSE),
        impurities(&HOUSE, &code),
        misplaced_crates(&HOUSE, &code),
        strangers(&HOUSE, &code),
        orphans(&code),
        long_files(&code),
    ];
    assert_eq!(all.concat(), Vec::<String>::new());
}

#[test]
fn a_room_that_uses_another_one_is_seen_however_it_is_written() {
    for code in [
        "use crate::app;",
        "use crate::{wire::B, app::X};",
        "fn f() { crate::app::main() }",
        "#[cfg(test)] mod tests { }\nuse crate::app::X;",
        "use super::app::X;",
    ] {
        let found = trespasses(&HOUSE, &with("src/model.rs", code));
        assert!(
            found.contains(&"model.rs uses `app`, which model may not".to_owned()),
            "{code}: {found:?}"
        );
    }
}

#[test]
fn nobody_uses_what_lies_at_the_root() {
    for code in ["use crate::A;", "use crate::*;", "use super::*;"] {
        assert_eq!(
            trespasses(&HOUSE, &with("src/app.rs", code)).len(),
            1,
            "{code}"
        );
    }
}

#[test]
fn a_room_in_a_room_has_rules_of_its_own() {
    let inner = |code| trespasses(&HOUSE, &with("src/wire/inner.rs", code));
    assert_eq!(
        inner("use super::codec::C;"),
        ["wire/inner.rs uses `wire`, which wire/inner may not"]
    );
    assert_eq!(inner("use super::super::app::C;").len(), 1);
    assert!(inner("use super::super::model::C;").is_empty());
    assert!(trespasses(&HOUSE, &with("src/app.rs", "use crate::wire::inner::D;")).is_empty());
}

#[test]
fn a_circle_a_double_and_an_unknown_name_in_the_table_are_seen() {
    let found = circles(&House {
        rooms: CIRCLE,
        ..HOUSE
    });
    assert_eq!(found, ["a circle among a, b"]);
    assert_eq!(
        circles(&House {
            rooms: DOUBLE,
            ..HOUSE
        })
        .len(),
        2
    );
}

#[test]
fn an_impure_name_in_a_pure_room_or_part_is_seen() {
    for code in [
        "use tokio::sync;",
        "std::fs::read()",
        "Instant::now()",
        "static mut A: u8 = 0;",
    ] {
        for path in ["src/model.rs", "src/wire/codec.rs"] {
            assert_eq!(
                impurities(&HOUSE, &with(path, code)).len(),
                1,
                "{path}: {code}"
            );
        }
        assert!(impurities(&HOUSE, &with("src/wire/mod.rs", code)).is_empty());
    }
}

#[test]
fn a_grant_holds_for_one_name_in_one_module_and_must_be_needed() {
    let house = House {
        granted: &[("wire/codec", "parking_lot")],
        ..HOUSE
    };
    let found = |path, text| impurities(&house, &with(path, text)).len();
    assert_eq!(found("src/wire/codec.rs", "use parking_lot::Mutex;"), 0);
    assert_eq!(
        found(
            "src/wire/codec.rs",
            "use parking_lot::Mutex; use tokio::fs;"
        ),
        2
    );
    assert_eq!(found("src/wire/codec.rs", ""), 1);
    assert_eq!(found("src/model.rs", "use parking_lot::Mutex;"), 2);
}

#[test]
fn a_crate_outside_its_rooms_is_seen_at_the_root_too() {
    for (path, shown) in [("src/app.rs", "app.rs"), ("src/lib.rs", "lib.rs")] {
        let text = "mod app; mod model; mod wire; use envoy_types::X;";
        let found = misplaced_crates(&HOUSE, &with(path, text));
        assert_eq!(
            found,
            [format!("{shown} names envoy_types, which only wire may")]
        );
    }
}

#[test]
fn a_stranger_is_seen_in_code_in_tests_and_in_the_manifest() {
    let found = |path, text| strangers(&HOUSE, &with(path, text));
    assert_eq!(found("src/app.rs", "segue_other::x()").len(), 1);
    assert_eq!(
        found("src/app.rs", "#[cfg(test)]\nmod t { use segue_other; }").len(),
        1
    );
    assert_eq!(found("tests/all.rs", "use segue_other::x;").len(), 1);
    assert_eq!(found("build.rs", "use segue_other::x;").len(), 1);
    assert_eq!(
        found("Cargo.toml", "[x]\nsegue-other.workspace = true").len(),
        1
    );
}

#[test]
fn a_file_that_nobody_declares_is_an_orphan() {
    let found = orphans(&with("src/wire/lost.rs", ""));
    assert_eq!(found, ["wire/lost.rs belongs to no module"]);
    let beside = orphans(&with("src/wire/inner.rs", "// mod lost;\nmod elsewhere;"));
    assert_eq!(beside.len(), 1);
}

#[test]
fn a_file_in_no_room_and_a_room_without_files_are_strays() {
    assert!(strays(&HOUSE, &order()).is_empty());
    let found = strays(&HOUSE, &with("src/attic.rs", ""));
    assert_eq!(found, ["attic.rs lies in no room"]);
    let found = strays(
        &House {
            rooms: EMPTY,
            ..HOUSE
        },
        &order(),
    );
    assert_eq!(
        found,
        [
            "model/gone stands in the table and has no file",
            "cellar stands in the table and has no file",
        ]
    );
}

#[test]
fn only_lines_of_code_make_a_file_long() {
    let code = "x();\n".repeat(400);
    let padding = "// a comment\n\n".repeat(400);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
    let fits = format!("{padding}{code}{tests}");
    assert!(long_files(&with("src/app.rs", &fits)).is_empty());
    let found = long_files(&with("src/app.rs", &format!("{fits}y();\n")));
    assert_eq!(found, ["app.rs has 401 lines of code, over 400"]);
}
