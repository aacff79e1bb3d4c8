//! Refusals as gRPC knows them: a code, a sentence, and details that programs can read
//! (`google.rpc`, error model of AIP-193).

use crate::engine::Refusal;
use std::{io, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `ErrorInfo.domain`
const DOMAIN: &str = "segue.dev";
/// `ResourceInfo.resource_type` of an upgrade.
pub(super) const UPGRADE: &str = "segue.dev/Upgrade";
/// `ResourceInfo.resource_type` of a proxy.
pub(super) const PROXY: &str = "segue.dev/Proxy";
/// Names that a refusal lists.
const NAMES: usize = 10;
/// Characters of a refusal: it travels in headers, thrice, and what is asked for is part of it.
const LONGEST: usize = 1_000;
/// When to ask again, where the control plane can't answer now.
const AGAIN: Duration = Duration::from_secs(1);

/// What the engine refused of an upgrade or a service of this name.
pub(super) fn refusal(refusal: &Refusal, name: &str) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotFound(_) => not_found(UPGRADE, name, message),
        Refusal::Exists(_) => {
            let mut details = info("EXISTS");
            details.set_resource_info(UPGRADE, name, "", &message);
            with(Code::AlreadyExists, message, details)
        }
        Refusal::NotNow(_) => {
            let mut details = info("NOT_NOW");
            details.add_precondition_failure_violation("STATE", name, &message);
            with(Code::FailedPrecondition, message, details)
        }
        Refusal::MovedOn(_) => {
            let mut details = info("MOVED_ON");
            details.add_precondition_failure_violation("RESOURCE_VERSION", name, &message);
            with(Code::Aborted, message, details)
        }
        Refusal::Unavailable(_) => {
            let mut details = info("UNAVAILABLE");
            details.set_retry_info(Some(AGAIN));
            with(Code::Unavailable, message, details)
        }
    }
}

/// There is no such thing.
pub(super) fn not_found(kind: &str, name: &str, message: String) -> Status {
    let mut details = info("NOT_FOUND");
    let message = clipped(message);
    details.set_resource_info(kind, clipped(name.to_owned()), "", &message);
    with(Code::NotFound, message, details)
}

/// The decision log is there, and can't be read.
pub(super) fn unreadable(error: &io::Error) -> Status {
    let message = format!(
        "the decision log can't be read ({error}): see the state folder of the control plane"
    );
    with(Code::Internal, message, info("UNREADABLE"))
}

/// A field of the request is wrong by itself.
pub(super) fn bad_field(field: &str, message: impl Into<String>) -> Status {
    let message = clipped(message.into());
    let mut details = info("INVALID_ARGUMENT");
    details.add_bad_request_violation(field, &message);
    with(
        Code::InvalidArgument,
        format!("{field}: {message}"),
        details,
    )
}

/// The first few of some names, for who named none of them; empty where there are none.
pub(super) fn some_of<T: ToString>(names: impl ExactSizeIterator<Item = T>) -> String {
    let more = names.len().saturating_sub(NAMES);
    let mut shown: Vec<String> = names.take(NAMES).map(|name| name.to_string()).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, std::collections::HashMap::new())
}

fn with(code: Code, message: String, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}
