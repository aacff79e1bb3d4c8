//! Which requests reached this application: their ids, in a file, each before anything is done about it.
//!
//! So a client that got no answer can be told afterwards where its request went.

use anyhow::{Context as _, Result};
use http::HeaderMap;
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The header in which the lab's clients send a request's id.
pub(crate) const REQUEST_HEADER: &str = "x-lab-request";

/// The file of ids, if one is asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Option<Arc<File>>);

impl Seen {
    /// Appends to this file.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(Some(Arc::new(file))))
    }

    /// Notes the request of these headers, if it has an id.
    ///
    /// Waits for the write: the next thing that happens may be the end of this process.
    pub(super) fn note(&self, headers: &HeaderMap) {
        let (Some(file), Some(id)) = (&self.0, headers.get(REQUEST_HEADER)) else {
            return;
        };
        let mut line = id.as_bytes().to_vec();
        line.push(b'\n');
        // One write to a file opened for appending is one line, whoever else writes.
        if let Err(error) = (&**file).write_all(&line) {
            tracing::warn!(%error, "a request that came is not noted");
        }
    }
}

/// The ids in such a file; none where it was never made.
pub fn read(path: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Where a folder keeps the ids that an instance has seen.
pub fn path(folder: &Path, instance: &str) -> PathBuf {
    folder.join(format!("{instance}.seen"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn ids_are_there_as_soon_as_they_are_noted_and_others_leave_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "checkout-v2-0");
        assert_eq!(read(&path).unwrap(), [] as [&str; 0]);
        let seen = Seen::open(Some(&path)).unwrap();
        let mut headers = HeaderMap::new();
        seen.note(&headers);
        for id in ["web-1-1", "web-1-2"] {
            headers.insert(REQUEST_HEADER, HeaderValue::from_static(id));
            seen.note(&headers);
        }
        assert_eq!(read(&path).unwrap(), ["web-1-1", "web-1-2"]);
    }
}
