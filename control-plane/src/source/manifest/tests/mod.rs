//! Folders as people fill them, right and wrong.

mod right;
mod watching;
mod wrong;

use super::read;
use crate::model::{Catalog, Key, Policy, Share};
use std::fs;
use tempfile::TempDir;

pub(super) const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  selector: {app: checkout}
  ports:
    - {name: http, port: 80, targetPort: 8080, appProtocol: http}
";

pub(super) const POLICY: &str = "\
apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: checkout, namespace: shop}
spec:
  targetRef: {kind: Deployment, name: checkout}
";

pub(super) const MESH: &str = "\
apiVersion: segue.dev/v1alpha1
kind: ClusterUpgradePolicy
metadata: {name: mesh}
spec:
";

pub(super) const UPGRADE: &str = "\
apiVersion: segue.dev/v1alpha1
kind: Upgrade
metadata: {name: checkout-v2, namespace: shop}
spec:
";

pub(super) const WORKLOAD: &str = "\
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {name: checkout-v1-0, namespace: shop, labels: {app: checkout}}
spec:
";

pub(super) fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

pub(super) fn good(files: &[(&str, &str)]) -> Catalog {
    let dir = folder(files);
    read(dir.path()).unwrap_or_else(|wrong| panic!("{wrong:#?}"))
}

/// What is wrong, as people see it.
pub(super) fn bad(files: &[(&str, &str)]) -> Vec<String> {
    let dir = folder(files);
    let wrong = read(dir.path()).unwrap_err();
    wrong.iter().map(ToString::to_string).collect()
}

pub(super) fn checkout() -> Key {
    Key::new("shop", "checkout")
}

pub(super) fn policy_of(files: &[(&str, &str)]) -> Policy {
    (*good(files).policies[&checkout()]).clone()
}

pub(super) fn percent(n: u16) -> Share {
    Share::from_percent(n).unwrap()
}
