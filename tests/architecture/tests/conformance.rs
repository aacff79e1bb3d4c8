//! `docs/xds-conformance.md` has every behaviour, and each has a test that exists or a reason.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Where tests are.
const FOLDERS: [&str; 4] = ["control-plane", "sidecar", "cli", "tests"];
/// How many behaviours the list has.
const BEHAVIOURS: usize = 60;

#[test]
fn every_behaviour_has_a_test_that_exists_or_a_reason() -> io::Result<()> {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/xds-conformance.md"))?;
    let tests = tests()?;
    let rows: Vec<Row<'_>> = page.lines().filter_map(row).collect();
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=BEHAVIOURS).collect::<Vec<_>>());
    for row in &rows {
        let proved = names(row.tests).next().is_some();
        let reasoned = row.tests.starts_with("none: ");
        assert!(
            proved || reasoned,
            "{} has neither a test nor a reason",
            row.number
        );
    }
    let unknown: Vec<&str> = names(&page).filter(|name| !tests.contains(*name)).collect();
    assert!(unknown.is_empty(), "there are no such tests: {unknown:?}");
    Ok(())
}

#[test]
fn a_name_that_is_no_test_is_seen() -> io::Result<()> {
    let tests = tests()?;
    assert!(tests.contains("a_name_that_is_no_test_is_seen"));
    assert!(!tests.contains("every_behaviour_is_proved"));
    let cell = "`s04_an_ack_is_not_answered`, and `removed_resources` is a field";
    assert_eq!(
        names(cell).collect::<Vec<_>>(),
        ["s04_an_ack_is_not_answered"]
    );
    Ok(())
}

/// A line of one of the page's lists.
struct Row<'a> {
    number: usize,
    tests: &'a str,
}

fn row(line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let number = cells.next()?.parse().ok()?;
    let tests = cells.nth(1)?;
    Some(Row { number, tests })
}

/// What is quoted and is a sentence in snake case: the names of tests.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| {
        let is_name =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        word.chars().all(is_name) && word.matches('_').count() >= 3
    })
}

/// The functions of the workspace that are tests.
fn tests() -> io::Result<BTreeSet<String>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&Path::new(ROOT).join(folder), &mut files)?;
    }
    let mut tests = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file)?;
        let mut after_attribute = false;
        for line in text.lines().map(str::trim) {
            after_attribute |= line == "#[test]" || line.starts_with("#[tokio::test");
            let declared = line.trim_start_matches("async ").strip_prefix("fn ");
            if let Some(name) = declared.and_then(|rest| rest.split('(').next()) {
                if after_attribute {
                    tests.insert(name.to_owned());
                }
                after_attribute = false;
            }
        }
    }
    Ok(tests)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
