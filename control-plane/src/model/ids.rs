//! Names and numbers that identify things.

use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// A namespaced name, `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within it.
    pub name: Arc<str>,
}

impl Key {
    /// `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(format!("{text:?} is not of the form NAMESPACE/NAME")),
        }
    }
}

/// A Service's key.
pub type ServiceKey = Key;
/// An instance's key.
pub type WorkloadKey = Key;
/// An Upgrade's key.
pub type UpgradeKey = Key;

/// A version id: `pod-template-hash` or `controller-revision-hash` on Kubernetes, `spec.version`
/// standalone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(pub Arc<str>);

impl From<&str> for VersionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A proxy's node id; `namespace/name` of its workload for our sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProxyId(pub Arc<str>);

impl From<&str> for ProxyId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts the worlds that were published. A step is applied when every proxy concerned has ACKed
/// its generation or a later one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A point in time: milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later by a duration.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// As RFC 3339 has it, in UTC, to the millisecond.
    pub fn rfc3339(self) -> String {
        let seconds = i64::try_from(self.0 / 1_000).unwrap_or(i64::MAX);
        let nanos = i32::try_from(self.0 % 1_000).unwrap_or(0) * 1_000_000;
        prost_types::Timestamp { seconds, nanos }.to_string()
    }

    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
