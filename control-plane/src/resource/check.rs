//! Checking: what is wrong, and in which field.

use super::Period;
use std::{fmt, time::Duration};

/// The shortest interval of looks and health checks: each look is a line on disk.
pub(super) const SHORTEST_INTERVAL: Period = Period(Duration::from_millis(250));

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, `spec.strategy.steps[1].weight`; empty: the document as a whole.
    pub field: String,
    /// What, a sentence without the field's name.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// Gathers all that is wrong, so that one reading shows everything.
#[derive(Debug, Default)]
pub(super) struct Checks {
    errors: Vec<FieldError>,
}

impl Checks {
    pub(super) fn fail(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
    }

    pub(super) fn at_least(&mut self, field: &str, period: Option<Period>, least: Period) {
        if let Some(period) = period {
            let message = format!("{period} is less than {least}");
            self.require(period.0 >= least.0, field, &message);
        }
    }

    pub(super) fn require(&mut self, holds: bool, field: &str, message: &str) {
        if !holds {
            self.fail(field, message);
        }
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// The value, or all that is wrong.
    pub(super) fn done<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(self.errors)
        }
    }
}

/// RFC 1123 label: what Kubernetes asks of a namespace or Service name.
pub(super) fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// RFC 1123 subdomain: labels with dots between, at most 253 characters.
pub(super) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// A Kubernetes label's value that is not empty; version ids are such.
pub(super) fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && edge(value.chars().next())
        && edge(value.chars().last())
}
