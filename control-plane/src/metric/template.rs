//! Fills names into a query.

use super::Subject;

/// The query with `{{namespace}}`, `{{service}}`, `{{from}}`, `{{to}}` and `{{upgrade}}` filled in,
/// each escaped so that it stays within a string of PromQL. What is not known stays as it is;
/// policies that have such are refused.
pub(super) fn fill(query: &str, subject: &Subject) -> String {
    let mut filled = String::with_capacity(query.len());
    let mut rest = query;
    while let Some((before, opened)) = rest.split_once("{{") {
        filled.push_str(before);
        let value = opened
            .split_once("}}")
            .and_then(|(name, after)| Some((value(name.trim(), subject)?, after)));
        if let Some((value, after)) = value {
            filled.push_str(&escape(value));
            rest = after;
        } else {
            filled.push_str("{{");
            rest = opened;
        }
    }
    filled + rest
}

fn value<'a>(name: &str, subject: &'a Subject) -> Option<&'a str> {
    Some(match name {
        "namespace" => &subject.upgrade.namespace,
        "service" => &subject.service.name,
        "from" => &subject.from.0,
        "to" => &subject.to.0,
        "upgrade" => &subject.upgrade.name,
        _ => return None,
    })
}

/// Escapes for strings in either kind of quotes: `\x22` is one in both, `\"` is not.
///
/// Source: Prometheus documentation, Querying basics, "String literals", and its `strutil.Unquote`.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str(r"\\"),
            '"' => escaped.push_str(r"\x22"),
            '\'' => escaped.push_str(r"\x27"),
            '\n' => escaped.push_str(r"\n"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::tests::subject;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn names_are_filled_in() {
        let query = r#"rate(x{ns="{{namespace}}",s="{{ service }}",v=~"{{from}}|{{to}}"}[1m]) or u{n='{{upgrade}}'}"#;
        assert_eq!(
            fill(query, &subject()),
            r#"rate(x{ns="shop",s="checkout",v=~"v1|v2"}[1m]) or u{n='checkout-v2-1'}"#
        );
        assert_eq!(fill("{{x}} {{to", &subject()), "{{x}} {{to");
    }

    #[test]
    fn no_name_leaves_its_string() {
        let mut subject = subject();
        subject.to = "a\"} or vector(0) #'\\".into();
        assert_eq!(
            fill(r#"x{v="{{to}}"}"#, &subject),
            r#"x{v="a\x22} or vector(0) #\x27\\"}"#
        );
    }

    proptest! {
        #[test]
        fn a_query_without_placeholders_stays_as_it_is(query in "[^{]{0,40}") {
            prop_assert_eq!(fill(&query, &subject()), query);
        }
    }
}
