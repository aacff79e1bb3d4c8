//! The documents as they would be read, without a control plane: for `segue policy check`.

use super::{
    Invalid, assemble,
    document::{self, Document, Resource},
    folder,
};
use crate::{
    model::{Catalog, Policy, PolicyField, ServiceKey},
    resource::effective,
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// What documents make, all of them valid.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What a control plane would take from them.
    pub catalog: Catalog,
    /// The effective policy, and its fields with their sources, of every service that is there or
    /// that a policy names.
    pub policies: BTreeMap<ServiceKey, (Arc<Policy>, Arc<[PolicyField]>)>,
}

/// Reads files and folders as one folder: everything, or all that is wrong. `also` is a service
/// whose policy is wanted even if nothing names it.
pub fn check(paths: &[PathBuf], also: Option<&ServiceKey>) -> Result<Checked, Vec<Invalid>> {
    let documents = documents(paths)?;
    let catalog = assemble::catalog(&documents)?;
    let policies = assemble::policies(&documents);
    let mut checked = Checked::default();
    for service in catalog
        .services
        .keys()
        .cloned()
        .chain(policies.targets())
        .chain(also.cloned())
    {
        let (policy, fields) = policies.of(&service);
        checked
            .policies
            .insert(service, (Arc::new(policy), fields.into()));
    }
    checked.catalog = catalog;
    Ok(checked)
}

/// The one `UpgradePolicy` of a file, put over the norms.
pub fn read_policy(path: PathBuf) -> Result<Policy, Vec<Invalid>> {
    let file = path.display().to_string();
    let documents = documents(&[path])?;
    let mut found = documents
        .iter()
        .filter_map(|document| match &document.resource {
            Resource::Policy(policy) => Some(policy),
            _ => None,
        });
    let refuse = |message: &str| {
        Err(vec![Invalid {
            file: file.clone(),
            line: 0,
            field: String::new(),
            message: message.to_owned(),
        }])
    };
    match (found.next(), found.next()) {
        (Some(policy), None) => Ok(effective([&policy.spec], None)),
        (None, _) => refuse(
            "there is no UpgradePolicy in it: write one (apiVersion: segue.dev/v1alpha1, kind: UpgradePolicy)",
        ),
        (Some(_), Some(_)) => {
            refuse("there are several UpgradePolicies in it: leave the one that is meant")
        }
    }
}

fn documents(paths: &[PathBuf]) -> Result<Vec<Document>, Vec<Invalid>> {
    let mut wrong = Vec::new();
    let mut documents = Vec::new();
    for path in paths {
        let files = match folder::files_at(path) {
            Ok(files) => files,
            Err(invalid) => {
                wrong.push(invalid);
                continue;
            }
        };
        for file in files {
            match document::read_all(&file) {
                Ok(mut read) => documents.append(&mut read),
                Err(mut invalid) => wrong.append(&mut invalid),
            }
        }
    }
    if wrong.is_empty() {
        return Ok(documents);
    }
    // What can be read may still not fit together: say all of it.
    if let Err(mut unfit) = assemble::catalog(&documents) {
        wrong.append(&mut unfit);
    }
    wrong.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Key,
        source::manifest::tests::{MESH, POLICY, SERVICE, folder},
    };
    use std::time::Duration;

    #[test]
    fn files_and_folders_are_read_as_one_and_sources_are_named() {
        let policy = format!("{POLICY}  rollback: {{window: 2h}}\n");
        let mesh = format!("{MESH}  defaults: {{drain: {{timeout: 9s}}}}\n");
        let dir = folder(&[("a.yaml", SERVICE), ("p.yaml", &policy)]);
        let other = folder(&[("mesh.yaml", &mesh)]);
        let paths = [dir.path().to_owned(), other.path().join("mesh.yaml")];
        let also = Key::new("shop", "cart");
        let checked = check(&paths, Some(&also)).unwrap();
        assert_eq!(checked.policies.len(), 2);
        let (policy, fields) = &checked.policies[&Key::new("shop", "checkout")];
        assert_eq!(policy.rollback.window, Duration::from_secs(7_200));
        let source = |path: &str| {
            let field = fields.iter().find(|field| field.path == path).unwrap();
            field.source.clone()
        };
        assert_eq!(source("rollback.window"), "UpgradePolicy shop/checkout");
        assert_eq!(source("drain.timeout"), "ClusterUpgradePolicy mesh");
        assert_eq!(source("start"), "built-in");
        let catalog = &checked.catalog;
        assert_eq!(
            catalog.policy_fields[&Key::new("shop", "checkout")],
            *fields
        );
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_file_line_and_field() {
        let bad = format!("{POLICY}  health: {{failureThreshold: 0}}\n");
        let worse = "kind: [\n";
        let dir = folder(&[("bad.yaml", &bad), ("worse.yaml", worse)]);
        let wrong = check(&[dir.path().to_owned()], None).unwrap_err();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].file.ends_with("/bad.yaml"), "{wrong:?}");
        assert_eq!(wrong[0].line, 6);
        assert_eq!(wrong[0].field, "spec.health.failureThreshold");
        let nothing = check(&["/nowhere/at/all".into()], None).unwrap_err();
        assert!(nothing[0].message.contains("no such"), "{nothing:?}");
    }

    #[test]
    fn one_policy_is_put_over_the_norms_and_anything_else_refused() {
        let policy = format!("{POLICY}  rollback: {{window: 1m}}\n");
        let two = format!(
            "{policy}---\n{}",
            policy.replace("name: checkout,", "name: b,")
        );
        let dir = folder(&[("p.yaml", &policy), ("s.yaml", SERVICE), ("two.yaml", &two)]);
        let read = |name: &str| read_policy(dir.path().join(name));
        let mut norms = Policy::default();
        norms.rollback.window = Duration::from_secs(60);
        assert_eq!(read("p.yaml").unwrap(), norms);
        assert!(
            read("s.yaml").unwrap_err()[0]
                .message
                .contains("no UpgradePolicy")
        );
        assert!(read("two.yaml").unwrap_err()[0].message.contains("several"));
    }
}
