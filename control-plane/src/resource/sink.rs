//! `spec.notify`: who is told of events.

use super::{address::check_address, check::Checks};
use crate::model::{ContentMode, Sink};
use serde::{Deserialize, Serialize};

/// `notify[]`: one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotifySpec {
    /// By CloudEvents over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_events: Option<SinkSpec>,
    /// By CloudEvents over NATS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsSpec>,
}

/// `notify[].cloudEvents`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkSpec {
    /// Where to.
    pub sink: String,
    /// `structured` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeSpec>,
}

/// `notify[].cloudEvents.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModeSpec {
    /// All as one JSON body.
    Structured,
    /// Attributes as headers.
    Binary,
}

/// `notify[].nats`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NatsSpec {
    /// `nats://nats.ops:4222`
    pub server: String,
    /// `segue.upgrades`
    pub subject: String,
    /// Waits for a stream's acknowledgement; false where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jet_stream: Option<bool>,
}

impl NotifySpec {
    /// Where it sends to; None where it names no sink, or two, which `check` refuses.
    pub(super) fn read(&self) -> Option<Sink> {
        match (&self.cloud_events, &self.nats) {
            (Some(to), None) => Some(Sink::CloudEvents {
                sink: to.sink.clone(),
                mode: match to.mode {
                    Some(ModeSpec::Binary) => ContentMode::Binary,
                    Some(ModeSpec::Structured) | None => ContentMode::Structured,
                },
            }),
            (None, Some(to)) => Some(Sink::Nats {
                server: to.server.clone(),
                subject: to.subject.clone(),
                jet_stream: to.jet_stream.unwrap_or(false),
            }),
            _ => None,
        }
    }

    pub(super) fn check(&self, field: &str, checks: &mut Checks) {
        checks.require(
            self.cloud_events.is_some() != self.nats.is_some(),
            field,
            "there must be one of cloudEvents and nats; two sinks are two entries of the list",
        );
        if let Some(to) = &self.cloud_events {
            let field = format!("{field}.cloudEvents.sink");
            check_address(&to.sink, &["http", "https"], false, &field, checks);
        }
        if let Some(to) = &self.nats {
            let server = format!("{field}.nats.server");
            check_address(&to.server, &["nats", "tls"], true, &server, checks);
            checks.require(
                is_subject(&to.subject),
                &format!("{field}.nats.subject"),
                &format!(
                    "{:?} is not a subject to publish to: words with dots between, no space, no wildcard, no $ at the start",
                    to.subject
                ),
            );
        }
    }
}

/// A NATS subject without wildcards.
///
/// Source: NATS documentation, Subject-Based Messaging, "Characters allowed and recommended".
fn is_subject(subject: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .chars()
                .all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '*' | '>'))
    };
    subject.len() <= 255 && !subject.starts_with('$') && subject.split('.').all(is_token)
}
