//! What people and programs ask of the engine, and what it answers.

use super::board::UpgradeView;
use crate::model::{Command, ServiceKey, UpgradeKey, VersionId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Of which upgrade.
    pub target: Target,
    /// What is asked.
    pub command: Command,
    /// Why, for the decision log and the history; empty: not said. A rollback's stands in its
    /// command.
    #[serde(default)]
    pub reason: String,
    /// Asked again under the same id, it gets the same answer; empty: no id.
    pub request_id: String,
    /// Refused where the upgrade has moved on; None: not checked.
    pub resource_version: Option<u64>,
}

/// Which upgrade is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// An existing one.
    Named(UpgradeKey),
    /// One to be made, or the one that already goes there.
    To {
        /// The service.
        service: ServiceKey,
        /// The version that is to serve.
        version: VersionId,
    },
}

/// The upgrade as it stands after the verb, or why not.
pub type Answer = Result<Arc<UpgradeView>, Refusal>;

/// Why a verb was refused; each with a sentence that says what would be possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It is so already, and not by an upgrade that could be shown.
    #[error("{0}")]
    Exists(String),
    /// It makes no sense now.
    #[error("{0}")]
    NotNow(String),
    /// The upgrade has moved on since the asker looked.
    #[error("{0}")]
    MovedOn(String),
    /// The engine can't write its state, or is going down.
    #[error("{0}")]
    Unavailable(String),
}
