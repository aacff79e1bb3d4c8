//! Dead letters: events that their sink refused, kept for people to see and to send by hand.
//!
//! One file for all sinks, of which the newest are kept. Nothing reads it back but a person, and
//! this process when it begins.

use super::{OutboxError, queue::put_in_place};
use crate::{
    model::{Event, Timestamp},
    sealed,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const FORMAT: &str = "segue-dead-letters";
const VERSION: u32 = 1;
/// Letters kept; older ones are let go.
const MOST: usize = 1_000;
/// Bytes of them.
const MOST_BYTES: usize = 1 << 20;

/// An event that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::event) struct DeadLetter {
    /// When.
    pub(in crate::event) at: Timestamp,
    /// By whom, without what may be secret in the address.
    pub(in crate::event) sink: String,
    /// The name of its queue.
    pub(in crate::event) queue: String,
    /// What it said.
    pub(in crate::event) reason: String,
    /// What happened.
    pub(in crate::event) event: Event,
}

#[derive(Serialize)]
struct Header {
    format: &'static str,
    version: u32,
}

/// The file.
#[derive(Debug)]
pub(super) struct DeadLetters {
    path: PathBuf,
    /// The records as they stand in the file.
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

pub(super) fn path_of(folder: &Path) -> PathBuf {
    folder.join("dead-letters")
}

impl DeadLetters {
    /// Those of a folder; none where there is no file.
    pub(super) fn open(folder: &Path) -> Result<Self, OutboxError> {
        let path = path_of(folder);
        let mut letters = Self {
            path: path.clone(),
            lines: VecDeque::new(),
            bytes: 0,
        };
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(letters),
            Err(source) => return Err(OutboxError::Io { path, source }),
        };
        let found = sealed::read(&content, FORMAT, VERSION)
            .map_err(|reason| OutboxError::Corrupt { path, reason })?;
        let ends = found.records.iter().map(|json| json.end + 1);
        let mut begin = found.header.end + 1;
        for end in ends {
            letters.keep(content.get(begin..end).unwrap_or_default().to_vec());
            begin = end;
        }
        Ok(letters)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// One more; it is on disk when this returns. The file is small and grows rarely, so it is
    /// written anew each time: it is never torn.
    pub(super) fn append(&mut self, letter: &DeadLetter) -> io::Result<()> {
        let header = Header {
            format: FORMAT,
            version: VERSION,
        };
        let mut kept = Self {
            path: self.path.clone(),
            lines: self.lines.clone(),
            bytes: self.bytes,
        };
        kept.keep(sealed::line(letter)?);
        let mut bytes = sealed::line(&header)?;
        bytes.extend(kept.lines.iter().flatten());
        put_in_place(&self.path, &bytes)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        File::open(folder)?.sync_all()?;
        *self = kept;
        Ok(())
    }

    fn keep(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use tempfile::tempdir;

    fn letter(number: u64, reason: &str) -> DeadLetter {
        DeadLetter {
            at: Timestamp(number),
            sink: "http://bus:80".to_owned(),
            queue: "0123456789abcdef".to_owned(),
            reason: reason.to_owned(),
            event: event(number),
        }
    }

    fn read(folder: &Path) -> Vec<DeadLetter> {
        let content = fs::read(path_of(folder)).unwrap();
        let found = sealed::read(&content, FORMAT, VERSION).unwrap();
        assert_eq!(found.length, content.len());
        let records = found.records.into_iter();
        records
            .map(|json| serde_json::from_slice(&content[json]).unwrap())
            .collect()
    }

    #[test]
    fn letters_are_kept_over_a_restart_and_the_oldest_are_let_go() {
        let folder = tempdir().unwrap();
        let mut letters = DeadLetters::open(folder.path()).unwrap();
        for number in 0..3 {
            letters.append(&letter(number, "415")).unwrap();
        }
        let mut letters = DeadLetters::open(folder.path()).unwrap();
        letters.append(&letter(3, "400")).unwrap();
        assert_eq!(read(folder.path()).len(), 4);
        assert_eq!(read(folder.path())[3], letter(3, "400"));
        let long = "x".repeat(MOST_BYTES / 4);
        for number in 4..12 {
            letters.append(&letter(number, &long)).unwrap();
        }
        let kept: Vec<u64> = read(folder.path()).iter().map(|l| l.at.0).collect();
        assert_eq!(kept, [9, 10, 11]);
        assert_eq!(DeadLetters::open(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        let folder = tempdir().unwrap();
        let mut letters = DeadLetters::open(folder.path()).unwrap();
        for number in 0..2 {
            letters.append(&letter(number, "415")).unwrap();
        }
        let path = path_of(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[80] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = DeadLetters::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("dead-letters") && error.contains("move it away"),
            "{error}"
        );
    }
}
