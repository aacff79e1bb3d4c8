//! `Workload`: an instance outside Kubernetes, such as a process on a laptop or VM.

use super::{
    Metadata, ProbesSpec,
    check::{Checks, FieldError, is_label_value},
};
use crate::model::{VersionId, Workload};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::{collections::BTreeMap, net::IpAddr};

/// A `Workload` document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadDocument {
    /// `segue.dev/v1alpha1`
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    /// `Workload`
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its names and labels.
    pub metadata: Metadata,
    /// What it is.
    pub spec: WorkloadSpec,
    /// Not read.
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// `spec`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// What it runs.
    pub version: String,
    /// Where it is reached.
    pub address: String,
    /// By a Service port's name: where it is served, if not at its `targetPort`.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How to tell how it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<ProbesSpec>,
}

impl WorkloadDocument {
    /// The instance, or all that is wrong with it.
    pub fn read(&self) -> Result<Workload, Vec<FieldError>> {
        let mut checks = Checks::default();
        self.metadata.check(&mut checks);
        let place = self.metadata.place(&mut checks);
        check_version(&self.spec.version, "spec.version", &mut checks);
        let address = self.address(&mut checks);
        for (name, port) in &self.spec.ports {
            checks.require(
                *port != 0,
                &format!("spec.ports.{name}"),
                "0 is no port to connect to",
            );
        }
        let readiness = self
            .spec
            .probes
            .as_ref()
            .and_then(|probes| probes.readiness.as_ref())
            .and_then(|probe| probe.read("spec.probes.readiness", &mut checks));
        checks.done(Workload {
            key: self.metadata.key(),
            labels: self.metadata.labels.clone(),
            version: VersionId::from(self.spec.version.as_str()),
            address,
            ports: self.spec.ports.clone(),
            zone: self.spec.zone.clone().filter(|zone| !zone.is_empty()),
            readiness,
            place,
        })
    }

    fn address(&self, checks: &mut Checks) -> IpAddr {
        let none = IpAddr::from([0, 0, 0, 0]);
        let address = self.spec.address.parse().unwrap_or(none);
        checks.require(
            !address.is_unspecified() && !address.is_multicast(),
            "spec.address",
            &format!(
                "{:?} is not the IP address of an instance",
                self.spec.address
            ),
        );
        address
    }
}

/// A version id stands in cluster names and labels.
pub(super) fn check_version(version: &str, field: &str, checks: &mut Checks) {
    checks.require(
        is_label_value(version),
        field,
        &format!(
            "{version:?} is not a version id of at most 63 letters, digits, -, _ and ., with a letter or digit at both ends"
        ),
    );
    checks.require(
        !version.ends_with(".control"),
        field,
        "ids that end in .control name control groups",
    );
}
