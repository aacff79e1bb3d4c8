//! Whole files, written so that a reader finds the old one or the new one, and knows what it found.
//!
//! ```text
//! {"segue":"run","version":2,"sha256":"<of the rest of the file>"}
//! <the content, JSON>
//! ```
//!
//! A file that is torn, of another kind or of another format is refused whole, never half-read.

use super::JournalError;
use crate::sealed::digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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

/// The format of all files. 1 had neither kind nor checksum.
const VERSION: u32 = 2;

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "segue")]
    kind: String,
    version: u32,
    sha256: String,
}

pub(super) fn read<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<T, JournalError> {
    let bytes = fs::read(path).map_err(at(path))?;
    open(&bytes, kind).map_err(|reason| JournalError::Corrupt {
        path: path.to_owned(),
        reason,
    })
}

/// The content, or what is wrong with the file.
fn open<T: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<T, String> {
    let (head, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => bytes.split_at(end),
        None => (bytes, &[][..]),
    };
    let header: Header = serde_json::from_slice(head).map_err(|_| {
        "its first line is not that of a state file: it is torn, or somebody else's".to_owned()
    })?;
    if header.version != VERSION {
        return Err(format!(
            "it has format {}, and this Segue reads format {VERSION}: run the version that wrote it",
            header.version
        ));
    }
    if header.kind != kind {
        return Err(format!(
            "it holds {:?} and should hold {kind:?}: it belongs elsewhere",
            header.kind
        ));
    }
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    if header.sha256 != digest(body) {
        return Err("its checksum is wrong: it is torn or was changed".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

pub(super) fn read_or_default<T: DeserializeOwned + Default>(
    path: &Path,
    kind: &str,
) -> Result<T, JournalError> {
    if fs::exists(path).map_err(at(path))? {
        read(path, kind)
    } else {
        Ok(T::default())
    }
}

pub(super) fn write(path: &Path, kind: &str, content: &impl Serialize) -> Result<(), JournalError> {
    let bytes = seal(kind, content)
        .map_err(io::Error::other)
        .map_err(at(path))?;
    write_bytes(path, &bytes)
}

fn seal(kind: &str, content: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_vec(content)?;
    let header = Header {
        kind: kind.to_owned(),
        version: VERSION,
        sha256: digest(&body),
    };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    bytes.extend(body);
    Ok(bytes)
}

pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Puts a file in its place, whole and synced.
pub(super) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
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

/// The kind of the token key's file.
const KEY: &str = "token-key";

/// The key of the session tokens, made from the system's randomness where there is none yet.
pub(super) fn read_or_make_key(path: &Path) -> Result<[u8; 32], JournalError> {
    if fs::exists(path).map_err(at(path))? {
        return read(path, KEY);
    }
    let source = Path::new("/dev/urandom");
    let mut key = [0; 32];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut key))
        .map_err(at(source))?;
    write(path, KEY, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        open::<Vec<u32>>(bytes, "numbers").unwrap_err()
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = seal("numbers", &[1, 2, 3]).unwrap();
        assert_eq!(open::<Vec<u32>>(&bytes, "numbers"), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let bytes = seal("numbers", &[1, 2, 3]).unwrap();
        for length in 0..bytes.len() {
            let cut = bytes.get(..length).unwrap();
            assert!(open::<Vec<u32>>(cut, "numbers").is_err(), "{length}");
        }
    }

    #[test]
    fn a_file_with_any_bit_flipped_is_refused() {
        let bytes = seal("numbers", &[1, 2, 3]).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            let read = open::<Vec<u32>>(&flipped, "numbers");
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn foreign_files_are_refused_with_what_they_are() {
        assert!(refusal(b"[1,2,3]").contains("first line"));
        assert!(refusal(b"\xff\xfe\n\0").contains("first line"));
        assert!(refusal(&seal("run", &[1]).unwrap()).contains("\"run\""));
        let text = String::from_utf8(seal("numbers", &[1]).unwrap()).unwrap();
        let newer = text.replace("\"version\":2", "\"version\":3");
        assert!(refusal(newer.as_bytes()).contains("format 3"));
        let wrong = seal("numbers", &["one"]).unwrap();
        assert!(refusal(&wrong).contains("invalid type"));
    }
}
