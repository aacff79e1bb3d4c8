//! `Upgrade`: one run, asked for by hand.

use super::{
    Metadata, TargetRef,
    check::{Checks, FieldError},
    workload::check_version,
};
use crate::model::{Key, UpgradeSpec, VersionId};
use serde::{Deserialize, Serialize, de::IgnoredAny};

/// An `Upgrade` document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradeDocument {
    /// `segue.dev/v1alpha1`
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    /// `Upgrade`
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its names.
    pub metadata: Metadata,
    /// What is asked.
    pub spec: UpgradeDocumentSpec,
    /// Ours to say, so not read.
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// `spec`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradeDocumentSpec {
    /// What is upgraded; matched by the Service's name.
    pub target_ref: TargetRef,
    /// The version that serves before.
    pub from: String,
    /// The version that is to serve after.
    pub to: String,
    /// Stands still.
    #[serde(default)]
    pub paused: bool,
}

impl UpgradeDocument {
    /// The run, or all that is wrong with it.
    pub fn read(&self) -> Result<UpgradeSpec, Vec<FieldError>> {
        let mut checks = Checks::default();
        self.metadata.check(&mut checks);
        self.spec.target_ref.check("spec.targetRef", &mut checks);
        check_version(&self.spec.from, "spec.from", &mut checks);
        check_version(&self.spec.to, "spec.to", &mut checks);
        checks.require(
            self.spec.from != self.spec.to,
            "spec.to",
            &format!("{} is where it comes from", self.spec.to),
        );
        let key = self.metadata.key();
        let service = Key::new(&key.namespace, &self.spec.target_ref.name);
        checks.done(UpgradeSpec {
            key,
            service,
            from: VersionId::from(self.spec.from.as_str()),
            to: VersionId::from(self.spec.to.as_str()),
            paused: self.spec.paused,
        })
    }
}
