//! The table as the architecture page shows it, between `<!-- rooms:NAME -->` and
//! `<!-- /rooms -->`.

use crate::{House, Pure, Room};

/// The table on the page, where it is not the house's.
pub(crate) fn drift(house: &House, page: &str) -> Vec<String> {
    let begin = format!("<!-- rooms:{} -->", house.name);
    let shown = page
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once("<!-- /rooms -->"))
        .map(|(shown, _)| shown.trim());
    let expected = table(house.rooms);
    if shown == Some(expected.trim()) {
        return Vec::new();
    }
    vec![format!(
        "ARCHITECTURE.md must show, between {begin} and <!-- /rooms -->:\n\n{expected}"
    )]
}

/// The table in Markdown.
fn table(rooms: &[Room]) -> String {
    let head = "| room | what it does | may use | pure |\n|---|---|---|---|\n";
    rooms
        .iter()
        .map(row)
        .fold(head.to_owned(), |table, row| table + &row)
}

fn row(room: &Room) -> String {
    let uses = match room.may_use {
        [] => "nothing".to_owned(),
        uses => quoted(uses),
    };
    let pure = match room.pure {
        Pure::All => "all".to_owned(),
        Pure::Parts(parts) => quoted(parts),
        Pure::No => "no".to_owned(),
    };
    format!("| `{}` | {} | {uses} | {pure} |\n", room.name, room.what)
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room;

    const HOUSE: House = House {
        name: "sample",
        root: "",
        rooms: &[
            room("model", "the nouns", &[], Pure::All),
            room(
                "store",
                "keeps them",
                &["model", "disk"],
                Pure::Parts(&["compile"]),
            ),
            room("disk", "writes", &[], Pure::No),
        ],
        granted: &[],
        only: &[],
        never: &[],
    };

    const PAGE: &str = "# Page\n<!-- rooms:other -->\n<!-- /rooms -->\n<!-- rooms:sample -->\n\n\
        | room | what it does | may use | pure |\n|---|---|---|---|\n\
        | `model` | the nouns | nothing | all |\n\
        | `store` | keeps them | `model`, `disk` | `compile` |\n\
        | `disk` | writes | nothing | no |\n\n<!-- /rooms -->\n";

    #[test]
    fn the_page_with_this_table_has_not_drifted() {
        assert!(drift(&HOUSE, PAGE).is_empty());
    }

    #[test]
    fn any_other_word_a_missing_row_or_a_missing_table_is_drift() {
        assert_eq!(drift(&HOUSE, &PAGE.replace("nouns", "verbs")).len(), 1);
        let row = "| `disk` | writes | nothing | no |\n";
        assert_eq!(drift(&HOUSE, &PAGE.replace(row, "")).len(), 1);
        assert_eq!(
            drift(&HOUSE, &PAGE.replace("rooms:sample", "rooms:x")).len(),
            1
        );
        assert_eq!(drift(&HOUSE, "").len(), 1);
    }
}
