//! The last good configuration on disk, so that a sidecar which is restarted while the control
//! plane is away serves at once.
//!
//! One file, replaced whole by a rename: a SHA-256 of the rest, then the resources as protobuf. A
//! file that does not hold together is as good as none.

use prost::Message;
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

const FILE: &str = "last-good.pb";
const DIGEST: usize = 32;

/// A resource as it came.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SavedResource {
    /// Its type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The name it was asked for by.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The server's version of it.
    #[prost(string, tag = "3")]
    pub version: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "4")]
    pub body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<SavedResource>,
}

/// The file that holds the last good configuration.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Keeps the configuration in this folder, which is made where its parent exists.
    pub fn open(folder: &Path) -> io::Result<Self> {
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            path: folder.join(FILE),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved last; nothing where nothing was.
    pub fn load(&self) -> io::Result<Vec<SavedResource>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let corrupt = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let (digest, body) = bytes
            .split_at_checked(DIGEST)
            .ok_or_else(|| corrupt("the file is too short"))?;
        if Sha256::digest(body).as_slice() != digest {
            return Err(corrupt("the file does not match its checksum"));
        }
        let saved = Saved::decode(body).map_err(|error| corrupt(&error.to_string()))?;
        Ok(saved.resources)
    }

    /// Replaces what was saved. Blocks: not for a runtime's thread.
    pub fn save(&self, resources: Vec<SavedResource>) -> io::Result<()> {
        let body = Saved { resources }.encode_to_vec();
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(Sha256::digest(&body).as_slice())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::{Disk, SavedResource};
    use std::fs;

    fn resource() -> SavedResource {
        SavedResource {
            type_url: "type".to_owned(),
            name: "name".to_owned(),
            version: "1".to_owned(),
            body: vec![1, 2, 3],
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("state")).unwrap();
        assert_eq!(disk.load().unwrap(), []);
        disk.save(vec![resource()]).unwrap();
        disk.save(vec![resource(), resource()]).unwrap();
        let again = Disk::open(&folder.path().join("state")).unwrap();
        assert_eq!(again.load().unwrap(), [resource(), resource()]);
    }

    #[test]
    fn a_damaged_file_is_an_error_at_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        disk.save(vec![resource()]).unwrap();
        let good = fs::read(disk.path()).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(disk.path(), &bad).unwrap();
            assert!(disk.load().is_err(), "byte {index}");
            fs::write(disk.path(), &good[..index]).unwrap();
            assert!(disk.load().is_err(), "cut at {index}");
        }
    }

    #[test]
    fn a_folder_without_a_parent_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Disk::open(&folder.path().join("a/b")).is_err());
    }
}
