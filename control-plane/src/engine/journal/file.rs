//! Whole files, written so that a reader finds the old one or the new one.

use super::JournalError;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError + '_ {
    move |source| JournalError::Io {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), JournalError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// The entries of a folder; none where there is no folder.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(at(folder)))
        .collect()
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, JournalError> {
    let bytes = fs::read(path).map_err(at(path))?;
    serde_json::from_slice(&bytes).map_err(|error| JournalError::Corrupt {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

pub(super) fn read_or_default<T: DeserializeOwned + Default>(
    path: &Path,
) -> Result<T, JournalError> {
    if fs::exists(path).map_err(at(path))? {
        read(path)
    } else {
        Ok(T::default())
    }
}

pub(super) fn write(path: &Path, content: &impl Serialize) -> Result<(), JournalError> {
    let bytes = serde_json::to_vec(content)
        .map_err(io::Error::other)
        .map_err(at(path))?;
    write_bytes(path, &bytes)
}

pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_folder(folder)?;
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .map_err(at(&beside))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(at(path))
}

/// The key of the session tokens, made from the system's randomness where there is none yet.
pub(super) fn read_or_make_key(path: &Path) -> Result<[u8; 32], JournalError> {
    if fs::exists(path).map_err(at(path))? {
        let bytes = fs::read(path).map_err(at(path))?;
        return bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| JournalError::Corrupt {
                path: path.to_owned(),
                reason: format!("{} bytes instead of 32", bytes.len()),
            });
    }
    let source = Path::new("/dev/urandom");
    let mut key = [0; 32];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut key))
        .map_err(at(source))?;
    write_bytes(path, &key)?;
    Ok(key)
}
