//! Names in requests, checked before the engine sees them: they become parts of file names.

use super::refuse::bad_field;
use crate::model::{Key, UpgradeKey};
use tonic::Status;

/// A DNS label, as Kubernetes has it.
const LABEL: usize = 63;
/// A DNS subdomain.
const SUBDOMAIN: usize = 253;
/// Nobody needs a longer request id.
const MOST_ID: usize = 128;
/// Nobody reads a longer reason.
const MOST_REASON: usize = 1_024;

/// `namespace/name`, where `field` says what the name is called in the request.
pub(super) fn key(namespace: &str, field: &str, name: &str) -> Result<UpgradeKey, Status> {
    if namespace.is_empty() {
        return Err(bad_field(
            "namespace",
            "it is empty: say in which namespace",
        ));
    }
    self::namespace(namespace)?;
    if name.is_empty() {
        return Err(bad_field(field, "it is empty"));
    }
    if name.len() > SUBDOMAIN || !is_label(name, true) {
        return Err(bad_field(
            field,
            format!("{name:?} is no name of at most {SUBDOMAIN} of a-z, 0-9, '-' and '.'"),
        ));
    }
    Ok(Key::new(namespace, name))
}

/// A namespace; empty: every one.
pub(super) fn namespace(namespace: &str) -> Result<(), Status> {
    if namespace.is_empty() || (namespace.len() <= LABEL && is_label(namespace, false)) {
        return Ok(());
    }
    Err(bad_field(
        "namespace",
        format!("{namespace:?} is no name of at most {LABEL} of a-z, 0-9 and '-'"),
    ))
}

/// A version id as labels allow it.
pub(super) fn version(id: &str) -> Result<&str, Status> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > LABEL || !id.chars().all(good) {
        return Err(bad_field(
            "to",
            format!("{id:?} is no version id (letters, digits, '-', '_' and '.', at most {LABEL})"),
        ));
    }
    Ok(id)
}

/// What is kept with the decision: bounded, and without what would break a line of a log.
pub(super) fn asked(request_id: &str, reason: &str) -> Result<(), Status> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    if request_id.len() > MOST_ID || !printable(request_id) {
        return Err(bad_field(
            "request_id",
            format!("at most {MOST_ID} bytes of printable text"),
        ));
    }
    if reason.len() > MOST_REASON || !printable(reason) {
        return Err(bad_field(
            "reason",
            format!("at most {MOST_REASON} bytes of printable text on one line"),
        ));
    }
    Ok(())
}

fn is_label(name: &str, dots: bool) -> bool {
    let good = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && matches!(c, '.' | '_'))
    };
    let edges = |c: char| c != '-' && c != '.';
    name.chars().all(good) && name.starts_with(edges) && name.ends_with(edges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn names_that_are_none_are_refused() {
        for (namespace, name) in [
            ("", "a"),
            ("shop", ""),
            ("../x", "a"),
            ("Shop", "a"),
            ("shop", "../a"),
            ("shop", "a/b"),
            ("-shop", "a"),
            ("shop", "."),
        ] {
            let refused = key(namespace, "name", name).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{namespace}/{name}");
        }
        assert!(key("shop", "name", "checkout-v1.2.3-1").is_ok());
        assert!(namespace("").is_ok());
    }

    #[test]
    fn what_is_asked_is_bounded() {
        assert!(asked("id", "a reason").is_ok());
        assert!(asked(&"i".repeat(129), "").is_err());
        assert!(asked("", "two\nlines").is_err());
    }
}
