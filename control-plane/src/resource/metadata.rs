//! `metadata`: of it only names, labels and some annotations concern us; the rest may stand there.

use super::check::{Checks, is_dns_label, is_dns_subdomain};
use crate::model::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The namespace of documents that name none.
const DEFAULT_NAMESPACE: &str = "default";
/// The annotation that keeps sidecars from placing requests.
const PLACE: &str = "segue.dev/place";

/// The part of Kubernetes' `ObjectMeta` that we read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The name.
    #[serde(default)]
    pub name: String,
    /// The namespace; `default` where absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// `namespace/name`.
    pub fn key(&self) -> Key {
        Key::new(
            self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE),
            &self.name,
        )
    }

    /// Whether the sidecars of its instances may place requests (`segue.dev/place`); by default yes.
    pub(super) fn place(&self, checks: &mut Checks) -> bool {
        match self.annotations.get(PLACE).map(String::as_str) {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => {
                checks.fail(
                    format!("metadata.annotations[{PLACE}]"),
                    format!("{other:?} is neither \"on\" nor \"off\""),
                );
                false
            }
        }
    }

    /// Names that are to stand in host names, so labels.
    pub(super) fn check_label(&self, checks: &mut Checks) {
        self.check_namespace(checks);
        checks.require(
            is_dns_label(&self.name),
            "metadata.name",
            &format!(
                "{:?} is not a name of at most 63 of a-z, 0-9 and -, with a letter or digit at both ends",
                self.name
            ),
        );
    }

    /// Other names.
    pub(super) fn check(&self, checks: &mut Checks) {
        self.check_namespace(checks);
        checks.require(
            is_dns_subdomain(&self.name),
            "metadata.name",
            &format!(
                "{:?} is not a name of at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends of each part",
                self.name
            ),
        );
    }

    fn check_namespace(&self, checks: &mut Checks) {
        if let Some(namespace) = &self.namespace {
            checks.require(
                is_dns_label(namespace),
                "metadata.namespace",
                &format!("{namespace:?} is not a name of at most 63 of a-z, 0-9 and -"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::resource::ServiceDocument;

    /// Whether the sidecars of a Service's instances may place requests.
    fn place(annotations: &serde_json::Value, cluster_ip: &str) -> Result<bool, String> {
        let document = serde_json::json!({
            "metadata": {"name": "checkout", "annotations": annotations},
            "spec": {"selector": {"app": "checkout"}, "ports": [{"port": 80}], "clusterIP": cluster_ip},
        });
        let document: ServiceDocument = serde_json::from_value(document).unwrap();
        let read = document.read().map(|service| service.place);
        read.map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn placing_is_turned_off_by_an_annotation_and_never_on_for_headless_services() {
        let said = |value: &str| serde_json::json!({"segue.dev/place": value, "other": "x"});
        assert_eq!(place(&serde_json::json!({}), "10.96.0.1"), Ok(true));
        assert_eq!(place(&serde_json::json!({}), ""), Ok(true));
        assert_eq!(place(&said("on"), "10.96.0.1"), Ok(true));
        assert_eq!(place(&said("off"), "10.96.0.1"), Ok(false));
        assert_eq!(place(&said("on"), "None"), Ok(false));
        let wrong = place(&said("no"), "10.96.0.1").unwrap_err();
        assert_eq!(
            wrong,
            "metadata.annotations[segue.dev/place]: \"no\" is neither \"on\" nor \"off\""
        );
    }
}
