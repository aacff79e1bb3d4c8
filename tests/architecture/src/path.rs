//! The modules that code names by paths of its own crate: those that begin with `crate`, `super`
//! or `self`, alone or as groups in braces.

use crate::text::tokens;
use std::collections::BTreeSet;

/// The paths in a module's code, from the crate's root, segment by segment. A `*` is a segment.
/// The module is its segments.
pub(crate) fn used(code: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    let tokens = tokens(code);
    let mut used = BTreeSet::new();
    let mut rest = tokens.as_slice();
    let mut before = "";
    while let [first, next @ ..] = rest {
        // `pub(in path)` says who sees, not what is used.
        let is_path = matches!(*first, "crate" | "super" | "self")
            && next.first() == Some(&"::")
            && !matches!(before, "::" | "in");
        before = first;
        rest = next;
        if is_path {
            rest = tree(module, first, next, &mut used);
        }
    }
    used
}

/// Reads a path whose first segment is read already, and returns what follows it.
fn tree<'a, 'b>(
    base: &[String],
    first: &str,
    mut rest: &'b [&'a str],
    used: &mut BTreeSet<Vec<String>>,
) -> &'b [&'a str] {
    let mut path = step(base, first);
    loop {
        match rest {
            ["::", "{", members @ ..] => return group(&path, members, used),
            ["::", segment, next @ ..] if is_segment(segment) => {
                path = step(&path, segment);
                rest = next;
            }
            _ => {
                used.insert(path);
                return rest;
            }
        }
    }
}

fn group<'a, 'b>(
    base: &[String],
    mut rest: &'b [&'a str],
    used: &mut BTreeSet<Vec<String>>,
) -> &'b [&'a str] {
    while let [first, next @ ..] = rest {
        rest = match *first {
            "}" => return next,
            "," => next,
            "as" => next.get(1..).unwrap_or_default(),
            segment => tree(base, segment, next, used),
        };
    }
    rest
}

fn step(base: &[String], segment: &str) -> Vec<String> {
    let mut path = base.to_vec();
    match segment {
        "crate" => path.clear(),
        "self" => {}
        "super" => drop(path.pop()),
        name => path.push(name.to_owned()),
    }
    path
}

fn is_segment(token: &str) -> bool {
    token == "*" || token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As seen from `xds::stream`.
    fn used_in(code: &str) -> Vec<String> {
        let module = ["xds".to_owned(), "stream".to_owned()];
        let used = used(code, &module);
        used.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn a_path_is_seen_in_a_use_and_in_an_expression() {
        assert_eq!(
            used_in("use crate::a::B; x(crate::c::d(), 1)"),
            ["a::B", "c::d"]
        );
        assert_eq!(used_in("$crate::a::<crate::b::C>()"), ["a", "b::C"]);
    }

    #[test]
    fn every_member_of_a_group_is_seen() {
        let code = "use crate::{\n  a::{self, b::C as D, e::*},\n f, g as h,\n};\nuse crate::z;";
        assert_eq!(used_in(code), ["a", "a::b::C", "a::e::*", "f", "g", "z"]);
    }

    #[test]
    fn a_path_upwards_leads_where_it_leads() {
        assert_eq!(used_in("use super::decode::X;"), ["xds::decode::X"]);
        assert_eq!(used_in("use super::super::model::X;"), ["model::X"]);
        assert_eq!(
            used_in("use super::{super::{model, a::b}, c};"),
            ["a::b", "model", "xds::c"]
        );
        assert_eq!(used_in("use self::part::X;"), ["xds::stream::part::X"]);
        assert_eq!(used_in("use super::super::*;"), ["*"]);
    }

    #[test]
    fn other_paths_and_visibilities_are_none() {
        assert!(
            used_in("use std::a; self.x; pub(in super::super) fn f(); pub(crate) x").is_empty()
        );
    }
}
