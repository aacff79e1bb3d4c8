//! The programs of the lab: this executable under other names, and how they say that they serve.

use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Names under which this executable is another program.
const PROGRAMS: [&str; 5] = [
    "segue-control-plane",
    "segue-sidecar",
    "segue-lab-pod",
    "segue-lab-app",
    "segue-lab-load",
];
/// This executable, also after the file was replaced by a newer build.
pub(super) const EXECUTABLE: &str = "/proc/self/exe";
/// How long a program may take until it serves.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a log goes into an error.
const TAIL: u64 = 1500;

/// This executable under another name.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(EXECUTABLE);
    command.arg0(name);
    command
}

/// A command for this argument vector: one of ours under its name, or else a program of the system's.
///
/// `None` where the vector is empty.
pub fn command_of(argv: &[OsString]) -> Option<Command> {
    let (name, arguments) = argv.split_first()?;
    let ours = name.to_str().filter(|name| PROGRAMS.contains(name));
    let mut command = ours.map_or_else(|| Command::new(name), program);
    command.args(arguments);
    Some(command)
}

/// The addresses in a program's `listening name=ADDR …` line.
pub(super) fn listening(line: &str) -> Option<BTreeMap<String, SocketAddr>> {
    let fields = line.strip_prefix("listening ")?.split_whitespace();
    let pairs = fields.filter_map(|field| field.split_once('='));
    Some(
        pairs
            .filter_map(|(name, to)| Some((name.to_owned(), to.parse().ok()?)))
            .collect(),
    )
}

/// A log file that grows over restarts.
pub(super) fn log(path: &Path) -> Result<Stdio> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(file
        .with_context(|| format!("cannot write the log {}", path.display()))?
        .into())
}

/// Waits until the program says that it serves; afterwards its output is read and dropped.
pub(super) async fn serving(
    child: &mut Child,
    name: &str,
    log: &Path,
) -> Result<BTreeMap<String, SocketAddr>> {
    let output = child
        .stdout
        .take()
        .with_context(|| format!("{name} has no output to read"))?;
    let mut lines = BufReader::new(output).lines();
    let Ok(found) = timeout(PATIENCE, first(&mut lines)).await else {
        bail!(
            "{name} does not serve after {} s{}",
            PATIENCE.as_secs(),
            tail(log)
        );
    };
    let Some(addresses) = found else {
        let status = child
            .wait()
            .await
            .with_context(|| format!("cannot wait for {name}"))?;
        bail!("{name} ended before it served ({status}){}", tail(log));
    };
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(addresses)
}

async fn first(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<BTreeMap<String, SocketAddr>> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(addresses) = listening(&line) {
            return Some(addresses);
        }
    }
    None
}

/// The end of a log, for an error.
fn tail(log: &Path) -> String {
    let text = read_tail(log).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        return format!("; its log {} is empty", log.display());
    }
    format!("; the end of its log {}:\n{text}", log.display())
}

fn read_tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The arguments as the operating system takes them.
pub(super) fn arguments<const N: usize>(list: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    list.iter().map(|one| one.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_line_is_read_by_name() {
        let found = listening("listening outbound=127.0.0.1:15001 probe=0.0.0.0:15021").unwrap();
        assert_eq!(found["outbound"], "127.0.0.1:15001".parse().unwrap());
        assert_eq!(found.len(), 2);
        assert!(listening("listen to this").is_none());
    }

    #[test]
    fn our_own_names_mean_this_executable() {
        let ours = command_of(&["segue-lab-app".into(), "--http".into()]).unwrap();
        assert_eq!(ours.as_std().get_program(), EXECUTABLE);
        assert_eq!(ours.as_std().get_args().count(), 1);
        let other = command_of(&["curl".into()]).unwrap();
        assert_eq!(other.as_std().get_program(), "curl");
        assert!(command_of(&[]).is_none());
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_told_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut child = Command::new("sh")
            .args(["-c", "echo port in use >&2; exit 2"])
            .stdout(Stdio::piped())
            .stderr(log(&path).unwrap())
            .spawn()
            .unwrap();
        let error = serving(&mut child, "the program", &path)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 2") && error.contains("port in use"),
            "{error}"
        );
    }
}
