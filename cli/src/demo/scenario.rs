//! The demo from beginning to end: start, load, upgrade, end. Decides nothing about traffic: that
//! is the control plane's, which it only watches.

use super::{
    Args,
    cluster::{CLIENT, Cluster, INSTANCES},
    course::Course,
    evidence::{Asked, Evidence},
    follow,
    load::{Report, unix_ms},
    script::{Act, KILLS, Script},
    view::View,
};
use crate::lab::Mode;
use anyhow::{Context as _, Result, bail};
use segue_proto::control::Upgrade;
use std::{path::Path, time::Duration};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// How long the proxies and the first answer may take.
const START_UP: Duration = Duration::from_secs(30);

/// A run under way.
struct Run<'a> {
    args: &'a Args,
    cluster: Cluster,
    evidence: &'a mut Evidence,
    view: &'a mut View,
    reports: mpsc::UnboundedReceiver<String>,
    upgrades: mpsc::Receiver<Upgrade>,
    follower: JoinHandle<()>,
    /// Lines of the history that were told.
    told: usize,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Played {
    /// To the last word of the script.
    Out,
    /// Somebody stopped it.
    Interrupted,
}

/// Plays the demo; what was seen is in `evidence` also where it fails.
pub(super) async fn play(
    args: &Args,
    mode: Mode,
    folder: &Path,
    evidence: &mut Evidence,
    view: &mut View,
) -> Result<Played> {
    evidence.asked = Asked {
        fault: args.fault,
        kills: if args.kill_control_plane {
            KILLS.len()
        } else {
            0
        },
    };
    // Whichever ends first: dropping the other kills what is in the cluster.
    tokio::select! {
        outcome = whole(args, mode, folder, evidence, view) => outcome.map(|()| Played::Out),
        signal = interrupted() => signal.map(|()| Played::Interrupted),
    }
}

async fn whole(
    args: &Args,
    mode: Mode,
    folder: &Path,
    evidence: &mut Evidence,
    view: &mut View,
) -> Result<()> {
    let mut run = Box::pin(start(args, mode, folder, evidence, view)).await?;
    let outcome = run.upgrade().await;
    run.follower.abort();
    outcome?;
    run.finish().await
}

async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

async fn start<'a>(
    args: &'a Args,
    mode: Mode,
    folder: &Path,
    evidence: &'a mut Evidence,
    view: &'a mut View,
) -> Result<Run<'a>> {
    view.note("starting the lab and the control plane");
    let mut cluster = Cluster::start(mode, folder.to_owned(), args).await?;
    for note in cluster.notes() {
        view.note(&format!("note: {note}"));
    }
    view.note(&format!(
        "starting {INSTANCES} instances of checkout v1, each an application with its sidecar"
    ));
    cluster.start_version("v1", None).await?;
    proxies_are_there(&cluster, INSTANCES).await?;
    view.note(&format!(
        "starting web: {} requests/s, {} long sessions, {} new sessions/s, 20 streams, 10 TCP connections",
        args.rate,
        args.rate / 5,
        args.rate / 20
    ));
    let mut reports = cluster.start_client(args).await?;
    let first = timeout(START_UP, reports.recv()).await;
    let first = first.context("checkout has not answered the load generator in time")?;
    evidence.add(read(first)?);
    let (sender, upgrades) = mpsc::channel(16);
    let follower = tokio::spawn(follow::follow(cluster.server()?, sender));
    view.begin();
    Ok(Run {
        args,
        cluster,
        evidence,
        view,
        reports,
        upgrades,
        follower,
        told: 0,
    })
}

/// Waits until as many sidecars are connected and have applied everything.
async fn proxies_are_there(cluster: &Cluster, wanted: usize) -> Result<()> {
    let server = cluster.server()?;
    let begun = Instant::now();
    loop {
        let seen = follow::proxies(&server).await;
        let ready = seen.as_ref().map_or(0, |proxies| {
            let current = |proxy: &&segue_proto::control::Proxy| {
                proxy.acked_generation >= proxy.sent_generation
            };
            proxies.iter().filter(current).count()
        });
        if ready >= wanted {
            return Ok(());
        }
        if begun.elapsed() > START_UP {
            seen.context("the control plane does not answer")?;
            bail!("only {ready} of {wanted} sidecars have applied their configuration");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn read(line: Option<String>) -> Result<Report> {
    let line = line.context("the load generator has ended")?;
    serde_json::from_str(&line).context("the load generator says what nobody understands")
}

impl Run<'_> {
    /// Follows the script until the upgrade is over.
    async fn upgrade(&mut self) -> Result<()> {
        let begun = unix_ms();
        let timing = &self.args.timing;
        let fault = self.args.fault.is_some();
        let mut script = Script::new(timing, fault, self.args.kill_control_plane, begun);
        let deadline = Instant::now() + timing.deadline();
        let mut ticks = interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                line = self.reports.recv() => {
                    self.evidence.add(read(line)?);
                    self.view.show(self.evidence);
                }
                Some(upgrade) = self.upgrades.recv() => self.heard(upgrade),
                Some(stopped) = self.cluster.stopped() => self.view.note(&stopped?),
                _ = ticks.tick() => {
                    let course = self.course();
                    match script.next(&course, unix_ms()) {
                        Some(Act::Finish) => return Ok(()),
                        Some(act) => self.act(act).await?,
                        None if script.control_plane_is_up() => self.cluster.check()?,
                        None => {}
                    }
                    if Instant::now() > deadline {
                        bail!("the upgrade takes too long");
                    }
                }
            }
        }
    }

    fn course(&self) -> Course {
        let upgrade = self.evidence.upgrade.as_ref();
        upgrade.map(Course::of).unwrap_or_default()
    }

    async fn act(&mut self, act: Act) -> Result<()> {
        match act {
            Act::StartNew => {
                let names = (0..INSTANCES).map(|n| format!("checkout-v2-{n}"));
                let names: Vec<_> = names.collect();
                self.view.note(&format!("v2 comes: {}", names.join(", ")));
                self.cluster.start_version("v2", self.args.fault).await
            }
            Act::BreakNew => {
                let fault = self.args.fault.map_or("", super::Fault::name);
                self.view.note(&format!("v2 turns bad: {fault}"));
                self.evidence.fault = Some(unix_ms());
                self.cluster.break_version("v2").await
            }
            Act::Kill => {
                self.view.note("the control plane is killed (kill -9)");
                self.cluster.kill_control_plane().await
            }
            Act::Restart => {
                self.cluster.restart_control_plane().await?;
                self.evidence.killed += 1;
                self.view.note("the control plane is back");
                Ok(())
            }
            Act::Finish => Ok(()),
        }
    }

    /// Something about the upgrade has changed: tell it, and stop what may be stopped.
    fn heard(&mut self, upgrade: Upgrade) {
        let Some(status) = &upgrade.status else {
            return;
        };
        for transition in status.history.iter().skip(self.told) {
            self.view.note(&format!(
                "{} {} %: {}",
                transition.phase,
                transition.weight / 100,
                transition.reason
            ));
        }
        self.told = status.history.len().max(self.told);
        for instance in &status.drained {
            let name = instance.rsplit('/').next().unwrap_or(instance);
            if self.cluster.stop_instance(name) {
                self.view.note(&format!("{name} is drained; stopping it"));
            }
        }
        self.evidence.upgrade = Some(upgrade);
    }

    /// Ends the load in order, hears its last report, then stops everything.
    async fn finish(mut self) -> Result<()> {
        self.cluster.stop_instance(CLIENT);
        while !self.evidence.latest.last {
            let line = timeout(START_UP, self.reports.recv()).await;
            let report = read(line.context("the load generator does not end")?)?;
            self.evidence.add(report);
        }
        self.view.show(self.evidence);
        self.view.note("stopping everything");
        self.cluster.stop().await
    }
}
