//! What of a Rust file is code: no comments, no contents of strings, nothing that only tests
//! compile. Lines stay where they are, and a line of a string is not empty.

/// What stands for each character of a string.
const INSIDE_STRING: char = '"';

/// Without comments, and with nothing readable in strings and character literals.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.chars().next_back().is_some_and(is_word);
        let (length, is_string) = match first {
            '/' if rest.starts_with("//") => (line_comment(rest), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (string(rest), true),
            '\'' => (character(rest).unwrap_or(0), true),
            'r' | 'b' | 'c' if !after_word => (raw_string(rest).unwrap_or(0), true),
            _ => (0, false),
        };
        if length == 0 {
            code.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (hidden, next) = rest.split_at_checked(length).unwrap_or((rest, ""));
        code.extend(hidden.chars().map(|c| match c {
            c if c.is_whitespace() => c,
            _ if is_string => INSIDE_STRING,
            _ => ' ',
        }));
        rest = next;
    }
    code
}

/// Without the items under `#[cfg(test)]`. Anything but an item stays: it then counts as code.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once(MARK) {
        kept.push_str(before);
        rest = after;
        if is_item(after) {
            let (_, next) = after.split_at_checked(item(after)).unwrap_or((after, ""));
            rest = next;
        }
    }
    kept.push_str(rest);
    kept
}

/// The names and numbers in code.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// Words, `::`, and every other character that is no space.
pub(crate) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, next) = rest.split_at(length);
        tokens.push(token);
        rest = next.trim_start();
    }
    tokens
}

/// True where a crate or module is named: it stands in a `use`, or a path goes on from it. A
/// variable of that name is none.
pub(crate) fn names_module(code: &str, name: &str) -> bool {
    let tokens = tokens(code);
    let mut in_use = false;
    tokens.iter().enumerate().any(|(at, token)| {
        match *token {
            "use" | "extern" => in_use = true,
            ";" => in_use = false,
            _ => {}
        }
        *token == name && (in_use || tokens.get(at + 1) == Some(&"::"))
    })
}

/// The modules that code declares with a file of their own.
pub(crate) fn declared_modules(code: &str) -> Vec<&str> {
    let tokens = tokens(code);
    let declared = tokens.windows(3).filter_map(|three| match three {
        ["mod", name, ";"] => Some(*name),
        _ => None,
    });
    declared.collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_comment(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut skip = false;
    for (at, c) in text.char_indices() {
        let here = text.get(at..).unwrap_or_default();
        if std::mem::take(&mut skip) {
            if c == '/' && depth == 0 {
                return at + 1;
            }
        } else if here.starts_with("/*") {
            (depth, skip) = (depth + 1, true);
        } else if here.starts_with("*/") {
            (depth, skip) = (depth - 1, true);
        }
    }
    text.len()
}

/// The length of the string that begins with the text's first character, its quote.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// None for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

/// None for a word that only begins like one.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let quoted = body.trim_start_matches('#');
    let hashes = body.len() - quoted.len();
    let content = quoted.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content
        .find(&end)
        .map_or(content.len(), |at| at + end.len());
    Some(text.len() - content.len() + length)
}

/// True where an item follows: what it is stands in front, after attributes and visibility.
fn is_item(code: &str) -> bool {
    const ITEMS: &[&str] = &[
        "mod",
        "use",
        "fn",
        "impl",
        "const",
        "static",
        "struct",
        "enum",
        "trait",
        "type",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
    ];
    let mut rest = code.trim_start();
    loop {
        let inner = rest
            .strip_prefix("#[")
            .map(|inner| closing(inner, ']'))
            .or_else(|| rest.strip_prefix("pub(").map(|inner| closing(inner, ')')))
            .or_else(|| rest.strip_prefix("pub "));
        match inner {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    words(rest)
        .next()
        .is_some_and(|word| rest.starts_with(word) && ITEMS.contains(&word))
}

/// What follows the bracket that closes the open one.
fn closing(inner: &str, bracket: char) -> &str {
    let mut depth = 0_usize;
    for (at, c) in inner.char_indices() {
        match c {
            c if c == bracket && depth == 0 => return inner.get(at + 1..).unwrap_or_default(),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    ""
}

/// The length of the item: to its `;`, or to the brace that closes its body.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        words(&without_tests(&code_of(text)))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "a // tokio\n b /* tokio /* tokio */ tokio */ c \"tokio \\\" tokio\" d";
        assert_eq!(words_of(text), ["a", "b", "c", "d"]);
        let raw = "a r\"tokio\\\" b r#\"tokio \" tokio\"# c br##\"tokio\"# tokio\"## d b\"tokio\" ";
        assert_eq!(words_of(raw), ["a", "b", "c", "d", "b"]);
    }

    #[test]
    fn what_follows_a_string_that_looks_like_a_comment_is_code() {
        assert_eq!(
            words_of("let u = \"http://x\"; tokio"),
            ["let", "u", "tokio"]
        );
        assert_eq!(words_of("let u = \"/*\"; tokio"), ["let", "u", "tokio"]);
    }

    #[test]
    fn lifetimes_and_raw_names_begin_no_string() {
        assert_eq!(
            words_of("<'a> tokio '\"' b '\\'' c '\\u{1F}' d"),
            ["a", "tokio", "b", "c", "d"]
        );
        assert_eq!(
            words_of("r#type bar\"x\" tokio"),
            ["r", "type", "bar", "tokio"]
        );
    }

    #[test]
    fn a_line_of_a_string_still_counts_and_a_comment_does_not() {
        let code = code_of("\"one\ntwo\"\n// three\n/* four\n */\nfive");
        let full = code.lines().filter(|line| !line.trim().is_empty());
        assert_eq!(full.count(), 3);
    }

    #[test]
    fn only_what_tests_alone_compile_is_left_out() {
        let text = "a\n#[cfg(test)]\nmod tests { fn f<A, B>() { x } }\nb #[cfg(test)] mod c;\n\
                    #[cfg(test)] #[path(z)]\npub(in x::y) use q::{r, s};\n d";
        assert_eq!(words_of(text), ["a", "b", "d"]);
    }

    #[test]
    fn a_field_under_the_mark_takes_nothing_after_it_along() {
        let text = "struct S { #[cfg(test)] a: u8, b: tokio::X } fn g() {}";
        assert!(words_of(text).contains(&"tokio".to_owned()));
    }

    #[test]
    fn only_a_module_in_a_file_of_its_own_is_declared() {
        assert_eq!(
            declared_modules("mod a; pub(crate) mod b ; mod c { }"),
            ["a", "b"]
        );
    }

    #[test]
    fn a_module_is_named_in_a_path_and_in_a_use_and_a_variable_names_none() {
        for code in [
            "fs::read()",
            "use std::{env, fs};",
            "use std::fs as disk;",
            "let x = 1; std::fs::read()",
            "extern crate fs;",
        ] {
            assert!(names_module(code, "fs"), "{code}");
        }
        assert!(!names_module(
            "use std::env; fn f(fs: u8) { fs.x(); self.fs }",
            "fs"
        ));
    }
}
