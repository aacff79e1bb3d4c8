//! What operators are told.

use super::{Phase, ServiceKey, Share, Timestamp, UpgradeKey, VersionId};
use serde::{Deserialize, Serialize};

/// Something that happened to an upgrade. Told at least once; what comes twice has the same `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Names it for good: `NAMESPACE/NAME/<time the run was made>/<number within the run>`.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// To which upgrade.
    pub upgrade: UpgradeKey,
    /// Of which service.
    pub service: ServiceKey,
    /// From which version.
    pub from: VersionId,
    /// To which version.
    pub to: VersionId,
    /// The phase after it.
    pub phase: Phase,
    /// The new version's weight after it.
    pub weight: Share,
    /// One CamelCase word: a phase (`RollingBack`), `VerdictChanged`, `ProxyLagging`, `Paused`…
    pub reason: String,
    /// A sentence.
    pub message: String,
}
