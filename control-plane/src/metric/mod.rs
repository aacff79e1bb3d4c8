//! Extra metrics of policies (`analysis.metrics`): asked of Prometheus and of users' webhooks while
//! an upgrade shifts traffic, and handed to the engine as observations.
//!
//! What can't be asked or says nothing is `Unknown`, never good and never bad.

mod poll;
mod prometheus;
mod template;
#[cfg(test)]
mod tests;
mod webhook;

pub use poll::poll;

use crate::model::{ServiceKey, UpgradeKey, VersionId};

/// The upgrade that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    upgrade: UpgradeKey,
    service: ServiceKey,
    from: VersionId,
    to: VersionId,
}

/// Text from elsewhere, short enough for a status and without control characters.
fn short(text: &str) -> String {
    const MOST: usize = 300;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(MOST).map(printable).collect()
}
