//! What the engine keeps on disk, so that a control plane killed at any instruction goes on from
//! where it was.
//!
//! ```text
//! STATE/lock                        held while a control plane runs on this folder
//! STATE/token-key                   the key of the session tokens (0600)
//! STATE/generation.json             no generation above this was ever published
//! STATE/services.json               stable versions, token epochs, what was rolled back
//! STATE/health.json                 the last known readiness of each instance
//! STATE/proxies.json                who is expected back after a restart
//! STATE/upgrades/NAMESPACE/NAME.json   one run: what was asked and where it stands
//! STATE/decisions/NAMESPACE/NAME.jsonl its decision log, and beside it the newest looks that decided
//!                                   nothing: NAME.looks, NAME.looks-1
//! ```
//!
//! Every file but the log is written as a whole: beside its place, synced, renamed. So a file is
//! the old one or the new one, never half of one. The log grows line by line, each synced before the
//! run that it is of. Each file says what it holds, in which format, and its checksum or those of
//! its lines; one that was damaged or lies in another's place is refused with its name.

mod decisions;
mod file;
mod history;

pub(super) use decisions::{Began, Line};
pub use decisions::{DecisionLog, LoggedDecision};

use super::{
    health::ReadinessRecord, proxies::ProxyRecord, run::Run, services::ServiceMemory,
    token::TokenKey,
};
use crate::model::{ProxyId, ServiceKey, Timestamp, UpgradeKey, WorkloadKey};
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The state folder, held by this process.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    decisions: DecisionLog,
    _lock: Flock<File>,
}

/// What stood on disk when the process began.
#[derive(Debug)]
pub struct Recovered {
    pub(super) runs: BTreeMap<UpgradeKey, Run>,
    pub(super) services: BTreeMap<ServiceKey, ServiceMemory>,
    pub(super) health: BTreeMap<WorkloadKey, ReadinessRecord>,
    pub(super) proxies: BTreeMap<ProxyId, ProxyRecord>,
    pub(super) generation: u64,
    pub(super) tokens: TokenKey,
}

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else holds it.
    #[error(
        "another control plane runs on the state folder {0}: stop it first, or give this one another --state"
    )]
    Locked(PathBuf),
    /// The disk or its permissions.
    #[error("state folder: {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was damaged.
    #[error(
        "state folder: {path} can't be read ({reason}): restore it from a copy, or move it away"
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Recovered {
    /// The newest time that stands on disk.
    pub fn latest(&self) -> Timestamp {
        let times = self.runs.values().flat_map(Run::times);
        times.max().unwrap_or_default()
    }
}

impl Journal {
    /// Takes hold of a state folder, which is made if there is none, and reads it.
    pub fn open(root: &Path) -> Result<(Self, Recovered), JournalError> {
        file::make_folder(root)?;
        let lock = lock(root)?;
        let recovered = Recovered {
            runs: read_runs(&root.join("upgrades"))?,
            services: file::read_or_default(&root.join("services.json"), "services")?,
            health: file::read_or_default(&root.join("health.json"), "health")?,
            proxies: file::read_or_default(&root.join("proxies.json"), "proxies")?,
            generation: file::read_or_default(&root.join("generation.json"), "generation")?,
            tokens: TokenKey::new(file::read_or_make_key(&root.join("token-key"))?),
        };
        let journal = Self {
            root: root.to_owned(),
            decisions: DecisionLog::open(root.join("decisions"))?,
            _lock: lock,
        };
        Ok((journal, recovered))
    }

    /// Where decisions are read back.
    pub fn decisions(&self) -> &DecisionLog {
        &self.decisions
    }

    pub(super) fn write_run(&self, run: &Run) -> Result<(), JournalError> {
        file::write(&self.run_path(&run.spec.key), RUN, run)
    }

    pub(super) fn remove_run(&self, key: &UpgradeKey) -> Result<(), JournalError> {
        file::remove(&self.run_path(key))?;
        self.decisions.remove(key)
    }

    pub(super) fn write_services(
        &self,
        services: &BTreeMap<ServiceKey, ServiceMemory>,
    ) -> Result<(), JournalError> {
        file::write(&self.root.join("services.json"), "services", services)
    }

    pub(super) fn write_health(
        &self,
        health: &BTreeMap<WorkloadKey, ReadinessRecord>,
    ) -> Result<(), JournalError> {
        file::write(&self.root.join("health.json"), "health", health)
    }

    pub(super) fn write_proxies(
        &self,
        proxies: &BTreeMap<ProxyId, ProxyRecord>,
    ) -> Result<(), JournalError> {
        file::write(&self.root.join("proxies.json"), "proxies", proxies)
    }

    /// No generation above this one will be published before the next call.
    pub(super) fn reserve_generations(&self, up_to: u64) -> Result<(), JournalError> {
        file::write(&self.root.join("generation.json"), "generation", &up_to)
    }

    pub(super) fn record(&self, line: &Line) -> Result<(), JournalError> {
        self.decisions.append(line)
    }

    fn run_path(&self, key: &UpgradeKey) -> PathBuf {
        run_path(&self.root.join("upgrades"), key)
    }
}

/// The kind of a run's file.
const RUN: &str = "run";

fn run_path(folder: &Path, key: &UpgradeKey) -> PathBuf {
    folder
        .join(&*key.namespace)
        .join(format!("{}.json", key.name))
}

fn lock(root: &Path) -> Result<Flock<File>, JournalError> {
    let path = root.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| JournalError::Io {
            path: path.clone(),
            source,
        })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => JournalError::Locked(root.to_owned()),
        other => JournalError::Io {
            path,
            source: other.into(),
        },
    })
}

fn read_runs(folder: &Path) -> Result<BTreeMap<UpgradeKey, Run>, JournalError> {
    let mut runs = BTreeMap::new();
    for namespace in file::list(folder)? {
        for path in file::list(&namespace)? {
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let run: Run = file::read(&path, RUN)?;
                if run_path(folder, &run.spec.key) != path {
                    let reason = format!("it holds upgrade {}: it belongs elsewhere", run.spec.key);
                    return Err(JournalError::Corrupt { path, reason });
                }
                runs.insert(run.spec.key.clone(), run);
            } else {
                // What a write left that was cut off before its rename: never in force.
                fs::remove_file(&path).map_err(|source| JournalError::Io { path, source })?;
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests;
