//! `segue demo`: a live service goes from v1 to v2 under traffic, before your eyes.
//!
//! A small cluster of real processes is started in the lab; an ordinary client loads the service
//! through hijacked connections; the new version comes, and the control plane does the rest. At
//! the end it is said what was promised and what came. `scenario` plays it, `judge` judges it,
//! `load` is the client.
//!
//! The invariant: the exit code is 0 only where everything was as promised.

mod cluster;
mod course;
mod evidence;
mod follow;
mod frame;
pub mod interval;
mod judge;
pub mod load;
mod manifests;
mod scenario;
mod script;
mod summary;
mod text;
mod view;

use crate::lab::{self, Entered, Mode};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use evidence::Evidence;
use scenario::Played;
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use summary::Story;
use view::View;

/// Upgrade a live service under load, here on this machine
///
/// Starts a small cluster of real processes (no root, nothing installed), loads the service
/// `checkout` with 1,000 requests a second through hijacked connections, and upgrades it from v1
/// to v2: 5 %, 25 %, 50 %, 100 %, the old version on standby, drained, gone. Takes a good minute.
///
/// Exits with 0 if no request failed, no session moved and no stream was cut; with --fault, if the
/// service went back to v1 and only requests already sent to the faulty v2 failed.
#[derive(Clone, Debug, clap::Args)]
#[expect(missing_docs, reason = "the help texts are the documentation")]
pub struct Args {
    /// Make v2 bad while it has 25 % of the traffic, and watch the way back
    #[arg(long, value_enum)]
    pub fault: Option<Fault>,
    /// Kill the control plane (kill -9) in the middle of two steps, and start it again
    #[arg(long)]
    pub kill_control_plane: bool,
    /// Write the summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Requests per second; sessions in proportion
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=20_000))]
    pub rate: u64,
    /// Seed of what is random in the load
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep manifests, state and logs in this folder (else only after a failure, in a temporary one)
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    #[command(flatten)]
    pub timing: Timing,
}

/// How long things last.
#[derive(Clone, Debug, clap::Args)]
pub struct Timing {
    /// The time before v2 comes
    #[arg(long, default_value = "5s", value_parser = text::duration)]
    pub baseline: Duration,
    /// The time at 5, 25 and 50 %
    #[arg(long, default_value = "12s", value_parser = text::duration)]
    pub hold: Duration,
    /// The time at 100 % with v1 on standby
    #[arg(long, default_value = "8s", value_parser = text::duration)]
    pub window: Duration,
    /// The time that a draining instance gets for what is still open
    #[arg(long, default_value = "20s", value_parser = text::duration)]
    pub drain: Duration,
    /// The time without a request after which a session is over
    #[arg(long, default_value = "5s", value_parser = text::duration)]
    pub session: Duration,
}

impl Timing {
    /// When an upgrade takes too long.
    fn deadline(&self) -> Duration {
        self.baseline
            + 3 * self.hold
            + self.window
            + self.session
            + 2 * self.drain
            + Duration::from_secs(90)
    }
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            baseline: seconds(5),
            hold: seconds(12),
            window: seconds(8),
            drain: seconds(20),
            session: seconds(5),
        }
    }
}

/// How v2 turns bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Every answer is a 500
    Errors,
    /// Every answer takes 3 s
    Slow,
    /// The processes end abruptly
    Crash,
    /// No answer ever
    Hang,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Crash => "crash",
            Self::Hang => "hang",
        }
    }
}

/// Runs the demo. To be called before any runtime or thread exists: the lab is entered first.
pub fn run(args: &Args) -> ExitCode {
    let prepared = args.keep.as_deref().map_or(Ok(()), fresh);
    let prepared = prepared.and_then(|()| args.json.as_deref().map(create).transpose());
    let json = match prepared {
        Ok(json) => json,
        Err(error) => return complain(&error, 2),
    };
    match lab::enter(std::env::args_os()) {
        Entered::Finished(code) => code,
        Entered::Inside(mode) => match inside(args, mode, json) {
            Ok(code) => code,
            Err(error) => complain(&error, 1),
        },
    }
}

/// A control plane would resume what an earlier run left in this folder.
fn fresh(folder: &Path) -> Result<()> {
    let kept = [cluster::MANIFESTS, cluster::STATE].map(|part| folder.join(part));
    match kept.iter().find(|part| part.exists()) {
        None => Ok(()),
        Some(part) => bail!(
            "{} is there from an earlier run; give --keep a folder of its own",
            part.display()
        ),
    }
}

/// Before a minute of work, not after it. What the file holds stays until there is a summary.
fn create(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path);
    file.with_context(|| format!("{} cannot be written", path.display()))
}

fn write(mut file: File, story: &Story) -> Result<()> {
    // A pipe or a terminal has nothing to cut off.
    file.set_len(0).ok();
    serde_json::to_writer_pretty(&mut file, &story.summary)?;
    file.write_all(b"\n")?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the process ends with this sentence")]
fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("segue demo: {error:#}");
    ExitCode::from(code)
}

fn inside(args: &Args, mode: Mode, json: Option<File>) -> Result<ExitCode> {
    let folder = Folder::create(args.keep.as_deref())?;
    let mut view = View::new();
    let mut evidence = Evidence::default();
    // One thread: the lab's processes live as long as the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let played = runtime.block_on(Box::pin(scenario::play(
        args,
        mode,
        folder.path(),
        &mut evidence,
        &mut view,
    )));
    if matches!(played, Ok(Played::Interrupted)) {
        view.note("interrupted; everything is stopped, nothing was judged");
        return Ok(ExitCode::FAILURE);
    }
    let story = Story::of(&evidence);
    let good = played.is_ok() && story.is_good();
    if evidence.latest.sent > 0 {
        view.note(&story.text());
    }
    if !good || args.keep.is_some() {
        let kept = folder.keep();
        view.note(&format!(
            "manifests, state and logs are in {}",
            kept.display()
        ));
    }
    if let Some(json) = json {
        write(json, &story).context("the summary cannot be written")?;
    }
    played?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where manifests, state and logs are.
#[derive(Debug)]
enum Folder {
    Asked(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn create(asked: Option<&Path>) -> Result<Self> {
        let Some(asked) = asked else {
            let folder = tempfile::Builder::new().prefix("segue-demo-").tempdir();
            return Ok(Self::Temporary(folder?));
        };
        std::fs::create_dir_all(asked)
            .and_then(|()| asked.canonicalize())
            .map(Self::Asked)
            .with_context(|| format!("{} cannot be made", asked.display()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Asked(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Asked(path) => path,
            Self::Temporary(folder) => folder.keep(),
        }
    }
}
