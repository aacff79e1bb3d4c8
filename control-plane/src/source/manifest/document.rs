//! One file's documents, each read into the type that its `apiVersion` and `kind` name.

use super::{Invalid, folder::File, tree::Tree};
use crate::{
    model::{Service, UpgradeSpec, Workload},
    resource::{
        API_VERSION, ClusterUpgradePolicy, FieldError, ServiceDocument, UpgradeDocument,
        UpgradePolicy, WorkloadDocument,
    },
};
use serde::de::DeserializeOwned;

/// A checked document, and where it stands.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) file: String,
    pub(super) line: u32,
    tree: Tree,
    pub(super) resource: Resource,
}

/// What a document is.
#[derive(Debug)]
pub(super) enum Resource {
    Service(Service),
    Workload(Workload),
    Policy(Box<UpgradePolicy>),
    ClusterPolicy(Box<ClusterUpgradePolicy>),
    Upgrade(UpgradeSpec),
    /// Something that is not for us.
    Foreign(String),
}

impl Document {
    /// Something that is wrong with it, with the field's line.
    pub(super) fn invalid(&self, error: FieldError) -> Invalid {
        at(&self.file, self.line, &self.tree, error)
    }

    /// `checkout.yaml:14`
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.first_line())
    }

    /// The line of its first field.
    pub(super) fn first_line(&self) -> u32 {
        line(self.line, &self.tree, "")
    }
}

/// Reads a file's documents: all of them, or all that is wrong.
pub(super) fn read_all(file: &File) -> Result<Vec<Document>, Vec<Invalid>> {
    let mut documents = Vec::new();
    let mut wrong = Vec::new();
    for (start, text) in split(&file.text) {
        match read(&file.name, start, &text) {
            Ok(document) => documents.push(document),
            Err(mut invalid) => wrong.append(&mut invalid),
        }
    }
    if wrong.is_empty() {
        Ok(documents)
    } else {
        Err(wrong)
    }
}

/// The documents' texts, each with the number of lines before it. `---` at a line's beginning
/// always parts documents in YAML; ones without content are left out.
fn split(text: &str) -> Vec<(u32, String)> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut current = String::new();
    for (number, line) in (0_u32..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if let Some(rest) = marker {
            documents.push((start, std::mem::take(&mut current)));
            start = number;
            current.push_str("   ");
            current.push_str(rest);
        } else {
            current.push_str(line);
        }
        current.push('\n');
    }
    documents.push((start, current));
    documents.retain(|(_, text)| has_content(text));
    documents
}

fn has_content(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .any(|line| !line.is_empty() && !line.starts_with('#') && line != "...")
}

fn read(file: &str, start: u32, text: &str) -> Result<Document, Vec<Invalid>> {
    let tree = Tree::parse(text).map_err(|wrong| {
        vec![Invalid {
            file: file.to_owned(),
            line: start.saturating_add(narrow(wrong.line)),
            field: String::new(),
            message: wrong.message,
        }]
    })?;
    let resource = resource(&tree).map_err(|errors| {
        errors
            .into_iter()
            .map(|error| at(file, start, &tree, error))
            .collect::<Vec<_>>()
    })?;
    Ok(Document {
        file: file.to_owned(),
        line: start,
        tree,
        resource,
    })
}

fn resource(tree: &Tree) -> Result<Resource, Vec<FieldError>> {
    let stated = |field: &str| {
        tree.text(field).ok_or_else(|| {
            vec![FieldError {
                field: field.to_owned(),
                message: "it is missing, or not a text".to_owned(),
            }]
        })
    };
    let (api_version, kind) = (stated("apiVersion")?, stated("kind")?);
    match (api_version, kind) {
        ("v1", "Service") => typed::<ServiceDocument>(tree)?
            .read()
            .map(Resource::Service),
        (API_VERSION, "Workload") => typed::<WorkloadDocument>(tree)?
            .read()
            .map(Resource::Workload),
        (API_VERSION, "Upgrade") => typed::<UpgradeDocument>(tree)?
            .read()
            .map(Resource::Upgrade),
        (API_VERSION, "UpgradePolicy") => {
            let policy: UpgradePolicy = typed(tree)?;
            sound(policy.check(), Resource::Policy(Box::new(policy)))
        }
        (API_VERSION, "ClusterUpgradePolicy") => {
            let policy: ClusterUpgradePolicy = typed(tree)?;
            sound(policy.check(), Resource::ClusterPolicy(Box::new(policy)))
        }
        (API_VERSION, _) => Err(vec![FieldError {
            field: "kind".to_owned(),
            message: format!(
                "{kind:?} is none of Workload, UpgradePolicy, ClusterUpgradePolicy and Upgrade"
            ),
        }]),
        _ if api_version.starts_with("segue.dev/") => Err(vec![FieldError {
            field: "apiVersion".to_owned(),
            message: format!("{api_version:?} is not known; write {API_VERSION}"),
        }]),
        _ => Ok(Resource::Foreign(format!("{api_version} {kind}"))),
    }
}

fn sound(errors: Vec<FieldError>, resource: Resource) -> Result<Resource, Vec<FieldError>> {
    if errors.is_empty() {
        Ok(resource)
    } else {
        Err(errors)
    }
}

fn typed<T: DeserializeOwned>(tree: &Tree) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(tree.to_json()).map_err(|error| {
        let path = error.path().to_string();
        vec![FieldError {
            field: if path == "." { String::new() } else { path },
            message: error.into_inner().to_string(),
        }]
    })
}

fn at(file: &str, start: u32, tree: &Tree, error: FieldError) -> Invalid {
    Invalid {
        file: file.to_owned(),
        line: line(start, tree, &error.field),
        field: error.field,
        message: error.message,
    }
}

fn line(start: u32, tree: &Tree, field: &str) -> u32 {
    start.saturating_add(narrow(tree.line_of(field)))
}

fn narrow(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
