//! The decision log: a line for everything that was decided, with its inputs.
//!
//! ```text
//! NAME.jsonl    what was decided, and what people asked: never let go while the run is kept
//! NAME.looks    the newest looks that decided nothing
//! NAME.looks-1  those before them
//! ```
//!
//! Each is a file of sealed records (`crate::sealed`). All lines of a run are numbered as they came,
//! so that a reader puts them in order again and knows how many looks were let go, and where.
//!
//! Looks take two files of [`FULL`] at most. What was decided is bounded by the rules: some ten lines
//! for each step and each try, and one for each change of a verdict, a condition or a lagging
//! proxy and for each verb; each has about 200 bytes for every instance of both versions.

use super::{
    JournalError, file,
    history::{History, Part},
};
use crate::{
    model::{Decision, LOOKED, Observation, Policy, UpgradeKey, UpgradeSpec, UpgradeStatus},
    sealed,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file of looks this large is full.
const FULL: u64 = 4 << 20;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// One of the files of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What was decided.
    Decisions,
    /// The newest looks.
    Looks,
    /// The looks before them.
    OlderLooks,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Decisions, Self::OlderLooks, Self::Looks];

    fn extension(self) -> &'static str {
        match self {
            Self::Decisions => "jsonl",
            Self::Looks => "looks",
            Self::OlderLooks => "looks-1",
        }
    }

    /// What the first record says that the file is.
    pub(super) fn format(self) -> &'static str {
        match self {
            Self::Decisions => "segue-decisions",
            Self::Looks | Self::OlderLooks => "segue-looks",
        }
    }
}

/// The decision logs of all upgrades.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    folder: PathBuf,
    /// How far each log is written. Whoever reads holds it while the files are opened, so that none
    /// is moved meanwhile.
    written: Arc<Mutex<BTreeMap<UpgradeKey, Written>>>,
}

/// How far a log is written. Behind that may stand what a failed write left.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// The next line's number.
    next: u64,
    decisions: u64,
    looks: u64,
}

/// A decision with what was seen when it fell.
#[derive(Debug, Deserialize)]
pub struct LoggedDecision {
    /// Its place in the log, from 0.
    pub number: u64,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// The inputs, an [`Observation`].
    pub inputs: serde_json::Value,
    /// What else the line carries: `policy` where another one is in force from here on; `spec`,
    /// `status` and `old_instances` where a run began; `let_go` where looks were let go.
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

/// A line to be. Those of one call of `advance` have the same inputs, but for the evidence.
#[derive(Clone, Debug, Serialize)]
pub(in crate::engine) struct Line {
    #[serde(skip)]
    pub key: UpgradeKey,
    #[serde(flatten)]
    pub decision: Decision,
    pub inputs: Observation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<Policy>>,
    #[serde(flatten)]
    pub began: Option<Began>,
}

/// Where a replay starts.
#[derive(Clone, Debug, Serialize)]
pub(in crate::engine) struct Began {
    pub spec: UpgradeSpec,
    /// As the first look found it.
    pub status: UpgradeStatus,
    pub old_instances: u32,
}

/// The first record of a file.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    /// Whose log it is.
    pub(super) upgrade: String,
}

/// A line as it is written.
#[derive(Serialize)]
struct Numbered<'a> {
    number: u64,
    #[serde(flatten)]
    line: &'a Line,
}

impl DecisionLog {
    /// The logs of a folder. Each is read once: one that was damaged is refused.
    pub(super) fn open(folder: PathBuf) -> Result<Self, JournalError> {
        let log = Self {
            folder,
            written: Arc::default(),
        };
        for key in log.keys()? {
            let written = log.measure(&key)?;
            log.written.lock().insert(key, written);
        }
        Ok(log)
    }

    /// Whose logs there are.
    fn keys(&self) -> Result<BTreeSet<UpgradeKey>, JournalError> {
        let mut keys = BTreeSet::new();
        for namespace in file::list(&self.folder)? {
            for path in file::list(&namespace)? {
                let extension = path.extension().and_then(|extension| extension.to_str());
                let is_log = Kind::ALL
                    .iter()
                    .any(|kind| extension == Some(kind.extension()));
                if extension == Some("tmp") {
                    // What a write left that was cut off before its rename: never in force.
                    file::remove(&path)?;
                } else if is_log
                    && let Some(name) = path.file_stem().and_then(|name| name.to_str())
                    && let Some(namespace) = namespace.file_name().and_then(|name| name.to_str())
                {
                    keys.insert(UpgradeKey::new(namespace, name));
                }
            }
        }
        Ok(keys)
    }

    fn measure(&self, key: &UpgradeKey) -> Result<Written, JournalError> {
        let mut written = Written::default();
        for kind in Kind::ALL {
            let Some(part) = self.part(key, kind, None)? else {
                continue;
            };
            let records = part.records()?;
            match kind {
                Kind::Decisions => written.decisions = records.length(),
                Kind::Looks => written.looks = records.length(),
                Kind::OlderLooks => {}
            }
            let next = records.last()?.map_or(0, |line| line.number + 1);
            written.next = written.next.max(next);
        }
        Ok(written)
    }

    fn path(&self, key: &UpgradeKey, kind: Kind) -> PathBuf {
        self.folder
            .join(&*key.namespace)
            .join(format!("{}.{}", key.name, kind.extension()))
    }

    /// One file, opened; None where there is none. `length`: how far it is written, where known.
    fn part(
        &self,
        key: &UpgradeKey,
        kind: Kind,
        length: Option<u64>,
    ) -> Result<Option<Part>, JournalError> {
        if length == Some(0) {
            return Ok(None);
        }
        let path = self.path(key, kind);
        let opened = File::open(&path).and_then(|file| {
            let length = length.map_or_else(|| file.metadata().map(|of| of.len()), Ok)?;
            Ok((file, length))
        });
        match opened {
            Ok((file, length)) => Ok(Some(Part {
                path,
                kind,
                upgrade: key.to_string(),
                file,
                length,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JournalError::Io { path, source }),
        }
    }

    /// Writes a line; it is on disk when this returns.
    pub(super) fn append(&self, line: &Line) -> Result<(), JournalError> {
        let mut all = self.written.lock();
        let written = all.entry(line.key.clone()).or_default();
        let kind = if line.decision.rule == LOOKED {
            Kind::Looks
        } else {
            Kind::Decisions
        };
        let path = self.path(&line.key, kind);
        let failed = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        if kind == Kind::Looks && written.looks >= FULL {
            fs::rename(&path, self.path(&line.key, Kind::OlderLooks)).map_err(failed)?;
            written.looks = 0;
        }
        let length = match kind {
            Kind::Decisions => &mut written.decisions,
            Kind::Looks | Kind::OlderLooks => &mut written.looks,
        };
        let numbered = Numbered {
            number: written.next,
            line,
        };
        let bytes = sealed::line(&numbered)
            .map_err(io::Error::from)
            .map_err(failed)?;
        *length = if *length == 0 {
            begin(&path, kind, &line.key, bytes)?
        } else {
            append(&path, *length, &bytes).map_err(failed)?
        };
        written.next += 1;
        Ok(())
    }

    /// The decisions of an upgrade, oldest first; none where nothing was decided yet. Where looks were
    /// let go, a line of the rule `LooksLetGo` says how many. A log that was damaged is refused
    /// whole: the one item is the error then.
    pub fn read(
        &self,
        key: &UpgradeKey,
    ) -> io::Result<impl Iterator<Item = io::Result<LoggedDecision>> + Send + use<>> {
        let written = self.written.lock();
        let known = written.get(key).copied();
        let decisions = self.part(key, Kind::Decisions, known.map(|known| known.decisions));
        let older = self.part(key, Kind::OlderLooks, None);
        let looks = self.part(key, Kind::Looks, known.map(|known| known.looks));
        drop(written);
        let (decisions, older, looks) = (
            decisions.map_err(io::Error::other)?,
            older.map_err(io::Error::other)?,
            looks.map_err(io::Error::other)?,
        );
        let looks = [older, looks].into_iter().flatten().collect();
        Ok(History::new(decisions.into_iter().collect(), looks)
            .map(|line| line.map_err(io::Error::other)))
    }

    pub(super) fn remove(&self, key: &UpgradeKey) -> Result<(), JournalError> {
        let mut written = self.written.lock();
        // What was decided last: a log without its looks still says what it lacks.
        for kind in [Kind::OlderLooks, Kind::Looks, Kind::Decisions] {
            file::remove(&self.path(key, kind))?;
        }
        written.remove(key);
        Ok(())
    }
}

/// A new file with its first line, in its place as a whole.
fn begin(path: &Path, kind: Kind, key: &UpgradeKey, line: Vec<u8>) -> Result<u64, JournalError> {
    let header = Header {
        format: kind.format().to_owned(),
        version: VERSION,
        upgrade: key.to_string(),
    };
    let mut bytes = sealed::line(&header).map_err(|error| JournalError::Io {
        path: path.to_owned(),
        source: error.into(),
    })?;
    bytes.extend(line);
    file::write_bytes(path, &bytes)?;
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// Puts a line where the last whole one ends; how far the file is written then.
fn append(path: &Path, end: u64, line: &[u8]) -> io::Result<u64> {
    let file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    if length < end {
        return Err(io::Error::other(
            "it is shorter than what was written: somebody else changed it",
        ));
    }
    if length > end {
        file.set_len(end)?;
    }
    file.write_all_at(line, end)?;
    file.sync_data()?;
    Ok(end + u64::try_from(line.len()).unwrap_or(u64::MAX))
}
