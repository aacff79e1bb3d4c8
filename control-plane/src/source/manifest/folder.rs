//! The folder's files, as text, in the order of their names.

use super::Invalid;
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A manifest larger than this is a mistake.
const MOST_BYTES: u64 = 8 << 20;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads all manifests of a folder; not of folders within.
pub(super) fn files(dir: &Path) -> Result<Vec<File>, Invalid> {
    let mut files = Vec::new();
    for (name, path) in manifests(dir)? {
        match read(&path) {
            // An editor that has just begun to write must not look like someone who removed all.
            Ok(text) if text.is_empty() => {
                return Err(about(name, "it is empty; remove it instead".to_owned()));
            }
            Ok(text) => files.push(File { name, text }),
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(about(name, format!("it can't be read: {error}"))),
        }
    }
    Ok(files)
}

/// Reads one manifest, whatever it is called, or all of a folder; named by their whole path.
pub(super) fn files_at(path: &Path) -> Result<Vec<File>, Invalid> {
    let shown = path.display().to_string();
    if path.is_dir() {
        let mut files = files(path)?;
        for file in &mut files {
            file.name = path.join(&file.name).display().to_string();
        }
        return Ok(files);
    }
    match read(path) {
        Ok(text) => Ok(vec![File { name: shown, text }]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(about(shown, "there is no such file or folder".to_owned()))
        }
        Err(error) => Err(about(shown, format!("it can't be read: {error}"))),
    }
}

/// Tells whether anything has changed, without reading: names, sizes, times.
pub(super) fn fingerprint(dir: &Path) -> Vec<(String, u64, Option<SystemTime>)> {
    let manifests = manifests(dir).unwrap_or_default();
    manifests
        .into_iter()
        .filter_map(|(name, path)| {
            let data = fs::metadata(path).ok()?;
            Some((name, data.len(), data.modified().ok()))
        })
        .collect()
}

/// Which folder it is that has this path now; None where there is none.
pub(super) fn identity(dir: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(dir).ok()?;
    Some((data.dev(), data.ino()))
}

fn manifests(dir: &Path) -> Result<Vec<(String, PathBuf)>, Invalid> {
    let shown = || dir.display().to_string();
    let entries = fs::read_dir(dir).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => "there is no such folder of manifests".to_owned(),
            io::ErrorKind::NotADirectory => "this is not a folder of manifests".to_owned(),
            _ => format!("the folder of manifests can't be read: {error}"),
        };
        about(shown(), message)
    })?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| about(shown(), format!("it can't be read: {error}")))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if is_manifest(&name) && !path.is_dir() {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Manifests by their ending; what editors leave lying about is none.
fn is_manifest(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|e| e.to_str());
    !name.starts_with('.') && matches!(ending, Some("yaml" | "yml" | "json"))
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MOST_BYTES {
        return Err(io::Error::other("it is larger than 8 MiB"));
    }
    fs::read_to_string(path)
}

fn about(file: String, message: String) -> Invalid {
    Invalid {
        file,
        line: 0,
        field: String::new(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::is_manifest;

    #[test]
    fn what_editors_leave_lying_about_is_no_manifest() {
        for name in ["a.yaml", "b.yml", "c.json", "a.b.yaml"] {
            assert!(is_manifest(name), "{name}");
        }
        for name in [
            ".a.yaml.swp",
            ".a.yaml",
            "a.yaml~",
            "a.yaml.swp",
            "a.yaml.tmp",
            "README.md",
            "yaml",
            "#a.yaml#",
        ] {
            assert!(!is_manifest(name), "{name}");
        }
    }
}
