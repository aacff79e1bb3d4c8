//! Manifests in a folder: `*.yaml`, `*.yml` and `*.json`, of one or several documents each.
//!
//! ```text
//! folder -> files -> documents -> checked resources -> Catalog
//!                        \____________\_____________ Invalid { file, line, field, message }
//! ```
//!
//! [`read`] reads the folder once. [`watch`] does so again whenever it changes. Either the whole
//! folder is valid or nothing of it counts; the reader keeps the last good catalog in force.

mod assemble;
mod check;
mod document;
mod folder;
mod invalid;
mod policies;
mod tree;
mod watch;

#[cfg(test)]
mod tests;

pub use check::{Checked, check, read_policy};
pub use invalid::Invalid;
pub use watch::watch;

use crate::model::Catalog;
use std::path::Path;

/// Reads a folder: everything, or all that is wrong.
pub fn read(dir: &Path) -> Result<Catalog, Vec<Invalid>> {
    let mut wrong = Vec::new();
    let mut documents = Vec::new();
    for file in folder::files(dir).map_err(|invalid| vec![invalid])? {
        match document::read_all(&file) {
            Ok(mut read) => documents.append(&mut read),
            Err(mut invalid) => wrong.append(&mut invalid),
        }
    }
    let catalog = assemble::catalog(&documents).unwrap_or_else(|mut invalid| {
        wrong.append(&mut invalid);
        Catalog::default()
    });
    if wrong.is_empty() {
        return Ok(catalog);
    }
    wrong.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Err(wrong)
}
