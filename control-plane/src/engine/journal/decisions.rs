//! The decision log: a line of JSON for everything that was decided, with its inputs; append only.
//! What is older than two full files is let go, so that a run that lasts for months fills no disk.
//!
//! A line that was cut off by a crash is skipped by readers and closed by the next writer.

use super::{JournalError, file};
use crate::model::{Decision, Observation, UpgradeKey};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// A file this large is full.
const FULL: u64 = 4 << 20;
/// The extension of the full file before the present one.
const OLDER: &str = "jsonl.1";

/// The decision logs of all upgrades.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    folder: PathBuf,
}

/// A decision with what was seen when it fell.
#[derive(Debug, Deserialize)]
pub struct LoggedDecision {
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// The inputs, an [`Observation`].
    pub inputs: serde_json::Value,
    /// What else the line carries: `policy`, `spec` and `old_instances` where a run began.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl LoggedDecision {
    /// What else a replay needs, as a JSON object; empty where the line carries nothing else.
    pub fn context(&self) -> String {
        if self.more.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.more).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    decision: &'a Decision,
    inputs: &'a Observation,
}

impl DecisionLog {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, key: &UpgradeKey) -> PathBuf {
        self.folder
            .join(&*key.namespace)
            .join(format!("{}.jsonl", key.name))
    }

    pub(super) fn append(
        &self,
        key: &UpgradeKey,
        decision: &Decision,
        inputs: &Observation,
    ) -> Result<(), JournalError> {
        let path = self.path(key);
        if let Some(folder) = path.parent() {
            file::make_folder(folder)?;
        }
        let append = || -> io::Result<()> {
            let mut bytes = serde_json::to_vec(&Line { decision, inputs })?;
            bytes.push(b'\n');
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .open(&path)?;
            if file.metadata()?.len() >= FULL {
                fs::rename(&path, path.with_extension(OLDER))?;
                file = File::options()
                    .create(true)
                    .append(true)
                    .read(true)
                    .open(&path)?;
            }
            if ends_within_a_line(&mut file)? {
                bytes.insert(0, b'\n');
            }
            file.write_all(&bytes)
        };
        append().map_err(|source| JournalError::Io {
            path: path.clone(),
            source,
        })
    }

    /// The decisions of an upgrade, oldest first; none where nothing was decided yet.
    pub fn read(
        &self,
        key: &UpgradeKey,
    ) -> io::Result<impl Iterator<Item = io::Result<LoggedDecision>> + use<>> {
        let path = self.path(key);
        let files = [open(&path.with_extension(OLDER))?, open(&path)?];
        let lines = files
            .into_iter()
            .flatten()
            .flat_map(|file| BufReader::new(file).lines());
        Ok(lines.filter_map(|line| match line {
            Ok(line) => serde_json::from_str(&line).ok().map(Ok),
            Err(error) => Some(Err(error)),
        }))
    }

    pub(super) fn remove(&self, key: &UpgradeKey) -> Result<(), JournalError> {
        let path = self.path(key);
        file::remove(&path.with_extension(OLDER))?;
        file::remove(&path)
    }
}

/// None where there is no such file.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
