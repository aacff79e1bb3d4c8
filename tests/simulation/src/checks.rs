//! The invariants, each with a name, held against what is really so.

use super::{
    instance::Instance,
    queue::Ms,
    route::{self, InFlight},
    simulation::{Simulation, Step, service},
};
use segue_control_plane::{
    engine::{Board, UpgradeView},
    model::{
        Command, Generation, Phase, SessionToken, Share, Side, Timestamp, UpgradeKey,
        UpgradeStatus, Verdict, VersionId, World,
    },
};
use segue_sidecar::model::Health;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// Shares are checked within so many standard deviations.
const DEVIATIONS: f64 = 6.0;
/// An instance that is called drained has been left alone for nearly the barrier's second.
const QUIET: Ms = 900;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What was so instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.invariant, self.what)
    }
}

impl Violation {
    /// The simulator itself can't go on.
    pub(crate) fn simulator(error: &dyn fmt::Display) -> Self {
        Self {
            invariant: "the simulator works",
            what: error.to_string(),
        }
    }
}

fn violated<T>(invariant: &'static str, what: String) -> Step<T> {
    Err(Violation { invariant, what })
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    board: Board,
    generation: Generation,
    /// Tokens that hold, by version; and all that once were let go.
    held: BTreeMap<VersionId, SessionToken>,
    released: BTreeSet<SessionToken>,
    /// Of which analysis once said that the new version is worse.
    pub(crate) worse: BTreeSet<UpgradeKey>,
    /// Since when the old version's instances drain.
    pub(crate) old_drains: Option<Ms>,
    /// By weight in basis points: draws, and those of them for the new version.
    draws: BTreeMap<u16, (u32, u32)>,
    pub(crate) answered: u64,
    pub(crate) excused: u64,
    nack: Option<String>,
}

impl Checks {
    pub(crate) fn remember(&mut self, board: Board) {
        self.board = board;
    }

    pub(crate) fn nacked(&mut self, line: &str) {
        self.nack.get_or_insert_with(|| line.to_owned());
    }

    /// Whether every run is over.
    pub(crate) fn all_over(&self) -> bool {
        let mut views = self.board.upgrades.values();
        views.all(|view| view.status.phase.is_final())
    }

    pub(crate) fn ends(&self) -> Vec<String> {
        let views = self.board.upgrades.values();
        views.map(|view| view.status.phase.to_string()).collect()
    }

    fn newest_view(&self) -> Option<&Arc<UpgradeView>> {
        self.board.upgrades.values().max_by_key(|view| {
            let active = !view.status.phase.is_final();
            (active, view.created)
        })
    }

    pub(crate) fn newest(&self) -> Option<UpgradeKey> {
        self.newest_view().map(|view| view.spec.key.clone())
    }

    /// The instances that are called drained.
    pub(crate) fn drained(&self) -> Vec<String> {
        let views = self.board.upgrades.values();
        let drained = views.flat_map(|view| &view.status.drained);
        drained.map(|key| key.name.to_string()).collect()
    }

    /// True where instances of a version are still wanted.
    pub(crate) fn wants(&self, version: &str) -> bool {
        let Some(view) = self.newest_view() else {
            return true;
        };
        let gone = match view.status.phase {
            Phase::Draining | Phase::Succeeded => &view.spec.from,
            Phase::RollingBack | Phase::RolledBack => &view.spec.to,
            _ => return true,
        };
        &*gone.0 != version
    }

    /// What a person would answer runs that wait for one.
    pub(crate) fn wishes(&self) -> Vec<(UpgradeKey, Command)> {
        let active = self
            .board
            .upgrades
            .values()
            .filter(|view| !view.status.phase.is_final());
        active
            .filter_map(|view| {
                let command = if view.status.paused {
                    Command::Resume
                } else if view.status.phase == Phase::Pending {
                    Command::Start
                } else if view.status.message.contains("promote") {
                    Command::Promote { full: false }
                } else {
                    return None;
                };
                Some((view.spec.key.clone(), command))
            })
            .collect()
    }

    /// A world goes out.
    pub(crate) fn published(&mut self, world: &World, board: &Board) -> Step {
        if world.generation <= self.generation {
            let what = format!("{} after {}", world.generation.0, self.generation.0);
            return violated("a published generation never goes back", what);
        }
        self.generation = world.generation;
        let Some(view) = world.services.get(&service()) else {
            return Ok(());
        };
        let held: BTreeMap<VersionId, SessionToken> = view
            .versions
            .iter()
            .filter_map(|version| Some((version.id.clone(), version.token.clone()?)))
            .collect();
        let present: BTreeSet<&VersionId> = view
            .instances
            .iter()
            .map(|instance| &instance.workload.version)
            .collect();
        for (version, token) in std::mem::take(&mut self.held) {
            if held.get(&version) == Some(&token) {
                continue;
            }
            let allowed = !present.contains(&version) || may_release(board, &version);
            if !allowed {
                let what = format!("{version}'s token ceased to hold");
                return violated("sessions are let go only by a version that goes", what);
            }
            self.released.insert(token);
        }
        self.held = held;
        let rolling_back = board.upgrades.values().find(|one| {
            let weight = |view: &segue_control_plane::model::VersionView| {
                view.id == one.spec.to && view.weight > Share::ZERO
            };
            one.status.phase == Phase::RollingBack && view.versions.iter().any(weight)
        });
        match rolling_back {
            Some(run) => violated(
                "a version that is rolled back gets no weight",
                format!("{}", run.spec.key),
            ),
            None => Ok(()),
        }
    }

    /// Nothing more will happen by itself: every run is over, or waits and says for what.
    pub(crate) fn at_the_bound(&self, now: Ms) -> Step {
        for view in self.board.upgrades.values() {
            let status = &view.status;
            let waits = status.paused
                || status.phase == Phase::Pending
                || status.message.contains("promote")
                || status.conditions.values().any(|condition| condition.status);
            if !status.phase.is_final() && (!waits || status.message.is_empty()) {
                return violated(
                    "every run ends, or waits for a reason that it states",
                    format!(
                        "at {now}: {} {}: {}",
                        view.spec.key, status.phase, status.message
                    ),
                );
            }
        }
        Ok(())
    }

    pub(crate) fn at_the_end(&self) -> Step {
        if let Some(nack) = &self.nack {
            return violated("no sidecar refuses what it is told", nack.clone());
        }
        for (weight, (draws, new)) in &self.draws {
            let share = f64::from(*weight) / 10_000.0;
            let expected = f64::from(*draws) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            if (f64::from(*new) - expected).abs() > DEVIATIONS * deviation + 1.0 {
                let what = format!("{new} of {draws} at {weight} basis points");
                return violated("new sessions are split by the weight", what);
            }
        }
        Ok(())
    }
}

/// A run lets go of a version's sessions: the new one's when it goes back, the old one's when it
/// drains.
fn may_release(board: &Board, version: &VersionId) -> bool {
    board.upgrades.values().any(|view| match view.status.phase {
        Phase::RollingBack | Phase::RolledBack => view.spec.to == *version,
        Phase::Draining | Phase::Succeeded => view.spec.from == *version,
        _ => false,
    })
}

impl Simulation {
    /// What a turn changed in the runs.
    pub(crate) fn check_board(&mut self, board: &Board) -> Step {
        let known = self.checks.board.upgrades.clone();
        for (key, view) in &board.upgrades {
            let before = known.get(key).map(|view| &view.status);
            if before == Some(&view.status) {
                continue;
            }
            if view.status.traffic.draining == Some(Side::Old) {
                self.checks.old_drains.get_or_insert(self.now);
            }
            let default = BTreeSet::new();
            let drained = before.map_or(&default, |before| &before.drained);
            for workload in view.status.drained.difference(drained) {
                self.check_drained(&workload.name, view)?;
            }
            if let Some(before) = before {
                check_step(before, view)?;
                let applied = |status: &UpgradeStatus| {
                    let steps = matches!(status.phase, Phase::WarmUp | Phase::Shifting);
                    status.applied_at.filter(|_| steps)
                };
                if applied(&view.status).is_some() && applied(before) != applied(&view.status) {
                    self.look_closer();
                }
                if is_worse(&view.status) {
                    self.checks.worse.insert(key.clone());
                }
                if view.status.weight > before.weight && before.weight > Share::ZERO {
                    self.check_applied(view, before.weight)?;
                }
                self.note_step(before, view);
            }
        }
        Ok(())
    }

    fn note_step(&mut self, before: &UpgradeStatus, view: &UpgradeView) {
        let status = &view.status;
        let same = (before.phase, before.weight, before.paused)
            == (status.phase, status.weight, status.paused);
        if !same || before.message != status.message {
            let paused = if status.paused { ", paused" } else { "" };
            let line = format!(
                "{} {} {}{paused}: {}",
                view.spec.key, status.phase, status.weight, status.message
            );
            self.note(&line);
        }
    }

    /// Every sidecar that counts serves by the weight that is left now.
    fn check_applied(&self, view: &UpgradeView, before: Share) -> Step {
        for (name, proxy) in &self.proxies {
            if !proxy.alive || !proxy.is_client() || proxy.is_fenced(self.now) {
                continue;
            }
            for snapshot in proxy.snapshots() {
                let Some(host) = route::find(snapshot) else {
                    continue;
                };
                let weight = route::weight(host, &view.spec.to.0).unwrap_or(0);
                if weight < u32::from(before.basis_points()) {
                    return violated(
                        "the weight rises only from one that every sidecar has applied",
                        format!("{name} serves by {weight}, not {before}: {}", view.spec.key),
                    );
                }
            }
        }
        Ok(())
    }

    /// An instance has just been called drained.
    fn check_drained(&self, name: &str, view: &UpgradeView) -> Step {
        let Some(instance) = self.instances.get(name).filter(|one| !one.faulty) else {
            return Ok(());
        };
        for (proxy_name, proxy) in &self.proxies {
            if !proxy.alive || !proxy.is_client() || proxy.is_fenced(self.now) {
                continue;
            }
            if proxy.snapshots().any(|snapshot| serves(snapshot, instance)) {
                return violated(
                    "nothing is called drained before every sidecar has applied that it drains",
                    format!("{proxy_name} still sends to {name}"),
                );
            }
        }
        let time_is_up = view.status.applied_at.is_some_and(|at: Timestamp| {
            self.timestamp() >= at.after(view.effective.drain.timeout)
        });
        let quiet = instance
            .last_begin
            .is_none_or(|last| self.now - last >= QUIET);
        if (instance.active == 0 && quiet) || time_is_up {
            return Ok(());
        }
        violated(
            "nothing is called drained before it has been quiet for a second",
            format!(
                "{name}: {} under way, last began {:?}",
                instance.active, instance.last_begin
            ),
        )
    }

    /// Where the sidecar's rules place a request.
    pub(crate) fn check_placement(&mut self, request: &InFlight, cookie: Option<&str>) -> Step {
        if request.pinned {
            return Ok(());
        }
        if let (Some(cookie), false) = (cookie, request.fenced) {
            let of = |token: &SessionToken| cookie.contains(&format!("={}.", token.0));
            let held = self.checks.held.values().any(of);
            let released = self.checks.released.iter().any(of);
            if held && !released {
                return violated(
                    "a session whose token holds stays on its version",
                    format!("{} through {}", cookie, request.proxy),
                );
            }
        }
        self.count_draw(request);
        Ok(())
    }

    fn count_draw(&mut self, request: &InFlight) {
        let Some(view) = self.checks.newest_view() else {
            return;
        };
        let stepping = matches!(view.status.phase, Phase::WarmUp | Phase::Shifting);
        if !stepping || view.status.applied_at.is_none() || request.fenced {
            return;
        }
        let weight = view.status.weight.basis_points();
        let to = view.spec.to.clone();
        if route::weight(&request.host, &to.0) != Some(u32::from(weight)) {
            return;
        }
        let draws = self.checks.draws.entry(weight).or_default();
        draws.0 += 1;
        draws.1 += u32::from(route::version_of(&request.cluster) == Some(&*to.0));
    }
}

fn serves(snapshot: &segue_sidecar::model::Snapshot, instance: &Instance) -> bool {
    let address = instance.address();
    snapshot.clusters.values().any(|cluster| {
        let mut endpoints = cluster.endpoints.iter();
        endpoints.any(|one| one.address == address && one.health == Health::Healthy)
    })
}

fn is_worse(status: &UpgradeStatus) -> bool {
    let judgement = status.judgement.as_ref();
    judgement.is_some_and(|judgement| judgement.verdict == Verdict::Worse)
}

/// One status after another.
fn check_step(before: &UpgradeStatus, view: &UpgradeView) -> Step {
    let (after, key) = (&view.status, &view.spec.key);
    let going_back = before.phase == Phase::RollingBack;
    if going_back && after.weight > Share::ZERO {
        let what = format!("{key}: {}", after.weight);
        return violated("the weight never rises while a rollback is under way", what);
    }
    let may_follow = match before.phase {
        Phase::RollingBack => matches!(after.phase, Phase::RollingBack | Phase::RolledBack),
        Phase::RolledBack => {
            after.phase < Phase::Succeeded
                || after.phase == Phase::RolledBack
                || after.phase == Phase::RollingBack
        }
        Phase::Succeeded => after.phase == Phase::Succeeded,
        other => after.phase >= other,
    };
    if !may_follow {
        let what = format!("{key}: {} after {}", after.phase, before.phase);
        return violated("a run goes forward, or back", what);
    }
    if is_worse(before) && after.weight > before.weight {
        let what = format!("{key}: {} after {}", after.weight, before.weight);
        return violated("the weight never rises while the verdict is worse", what);
    }
    let moved = (before.phase, before.weight) != (after.phase, after.weight);
    let back = matches!(after.phase, Phase::RollingBack | Phase::RolledBack);
    let without_old = after.phase == Phase::Succeeded && view.old.instances == 0;
    let started = before.phase == Phase::Pending || before.phase == Phase::RolledBack;
    if before.paused && after.paused && moved && !back && !without_old && !started {
        let what = format!("{key}: {} at {}", after.phase, after.weight);
        return violated("a paused run never moves but back", what);
    }
    let kept = before.history.iter().zip(&after.history).all(|(old, new)| {
        (old.phase, old.weight, old.at, &old.reason) == (new.phase, new.weight, new.at, &new.reason)
    });
    if !kept || after.history.len() < before.history.len() {
        return violated("what was decided stays in the history", format!("{key}"));
    }
    Ok(())
}
