//! A state of the small world: what the future depends on, and nothing else.
//!
//! Times are kept relative: all that lies further back than the longest duration of the policies
//! looks alike, so that there are finitely many states. What is for people alone is left out.

use super::super::world::{START, instances, judged};
use crate::model::{
    Applied, Evidence, Generation, InstanceObservation, Judgement, Lagging, Limits, Observation,
    Phase, Share, Side, Timestamp, UpgradeStatus, Verdict,
};
use std::hash::{Hash, Hasher};

/// Seconds: longer than any duration of the policies.
const LONG_AGO: u8 = 3;

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Being {
    Gone,
    Starting,
    Ready,
    Failing,
    Lost,
}

/// What a proxy made of the present generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Proxy {
    Lags,
    Acked,
    Refused,
}

/// Whose requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Burst {
    None,
    New,
    Both,
}

/// What analysis says where it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Said {
    NotYet,
    NotWorse,
    Worse,
    Shared,
}

/// Everything around the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Env {
    pub(super) old: Being,
    pub(super) new: Being,
    /// How often the new instance went from ready to not ready.
    pub(super) restarts: u8,
    /// For how many seconds it has been ready.
    pub(super) ready_for: u8,
    /// A third version has an instance.
    pub(super) third: bool,
    /// One or two proxies; the order means nothing, so it is always the same.
    pub(super) proxies: [Option<Proxy>; 2],
    pub(super) said: Said,
    pub(super) burst: Burst,
    /// Something is under way at the instance that drains.
    pub(super) busy: bool,
    /// For how many seconds nothing has been.
    pub(super) quiet_for: u8,
    /// For how many seconds no session has been seen at the old version.
    pub(super) sessionless_for: u8,
    /// What may still go wrong.
    pub(super) faults: u8,
    /// What people may still ask.
    pub(super) verbs: u8,
}

/// Memory of the judge, of what `advance` need not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ghost {
    /// Everyone ACKed that the instances drain that do.
    pub(super) drain_known: bool,
    /// 100 % was applied since the last start or retry.
    pub(super) all_applied: bool,
    /// For how many seconds the old version has stood by at an applied 100 %, where that is limited.
    pub(super) standby: u8,
    /// It is paused, and no person asked for that.
    pub(super) paused_itself: bool,
    /// The law that was broken on the way here.
    pub(super) broken: Option<&'static str>,
}

/// A state.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) status: UpgradeStatus,
    pub(super) env: Env,
    pub(super) ghost: Ghost,
}

/// What two equal states have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Essence {
    phase: Phase,
    weight: Share,
    traffic: crate::model::Traffic,
    ages: [Option<u8>; 5],
    flags: [bool; 9],
    verdict: Option<Verdict>,
    env: Env,
    ghost: Ghost,
}

impl Env {
    /// Every proxy is told something new.
    pub(super) fn tell(&mut self) {
        for proxy in self.proxies.iter_mut().flatten() {
            *proxy = Proxy::Lags;
        }
    }

    /// Every proxy has ACKed.
    pub(super) fn all_acked(&self) -> bool {
        let mut proxies = self.proxies.iter().flatten();
        proxies.all(|proxy| *proxy == Proxy::Acked)
    }

    /// Those that have not ACKed have refused.
    pub(super) fn only_refused(&self) -> bool {
        !self.proxies.contains(&Some(Proxy::Lags)) && !self.all_acked()
    }

    fn applied(&self, now: Timestamp) -> Applied {
        let proxies = || self.proxies.iter().flatten();
        let lagging: Vec<Lagging> = (0..)
            .zip(proxies())
            .filter(|(_, proxy)| **proxy != Proxy::Acked)
            .map(|(n, proxy): (u8, _)| Lagging {
                proxy: format!("shop/web-{n}").as_str().into(),
                since: now,
                nack: (*proxy == Proxy::Refused).then(|| "no".into()),
            })
            .collect();
        let count = |n: usize| u32::try_from(n).unwrap();
        Applied {
            acked: count(proxies().count() - lagging.len()),
            total: count(proxies().count()),
            lagging,
        }
    }
}

impl State {
    pub(super) fn essence(&self) -> Essence {
        let s = &self.status;
        let age = |at: Timestamp| u8::try_from(START.since(at).as_secs()).unwrap();
        let drained = |side| s.drained.contains(&name(side));
        Essence {
            phase: s.phase,
            weight: s.weight,
            traffic: s.traffic,
            ages: [
                Some(age(s.phase_since)),
                s.applied_at.map(age),
                s.notes.resumed_at.map(age),
                s.notes.short_since.map(age),
                s.notes.lost_since.map(age),
            ],
            flags: [
                s.generation.is_some(),
                s.paused,
                s.promoted,
                s.promoted_full,
                s.low_traffic,
                drained(Side::Old),
                drained(Side::New),
                s.old_instances > 0,
                s.notes.restarts_forgiven.contains_key(&name(Side::New)),
            ],
            verdict: s.judgement.as_ref().map(|j| j.verdict),
            env: self.env,
            ghost: self.ghost,
        }
    }

    pub(super) fn observation(&self, now: Timestamp, analysed: bool) -> Observation {
        let (env, status) = (&self.env, &self.status);
        let applied = status
            .generation
            .map_or_else(Applied::default, |_| env.applied(now));
        Observation {
            old: self.instance(Side::Old, now),
            new: self.instance(Side::New, now),
            others: u32::from(env.third),
            applied,
            reports_pending: 0,
            last_old_session: Some(before(now, env.sessionless_for)),
            commands: Vec::new(),
            asked_because: String::new(),
            judgement: (analysed && is_judged(status)).then(|| self.judgement()),
            evidence: Evidence::default(),
        }
    }

    fn instance(&self, side: Side, now: Timestamp) -> Vec<InstanceObservation> {
        let env = &self.env;
        let (being, version) = match side {
            Side::Old => (env.old, "v1"),
            Side::New => (env.new, "v2"),
        };
        if being == Being::Gone {
            return Vec::new();
        }
        let mut seen = instances(version, 1, being == Being::Ready);
        for i in &mut seen {
            i.lost = being == Being::Lost;
            i.consecutive_failures = if being == Being::Failing { 2 } else { 0 };
            i.active = u64::from(env.busy);
            let quiet = if env.busy { 0 } else { env.quiet_for };
            i.last_activity = Some(before(now, quiet));
            i.last_report = (!i.lost).then_some(now);
            let fails = match side {
                Side::Old => env.burst == Burst::Both,
                Side::New => env.burst != Burst::None,
            };
            i.recent_requests = 10;
            i.recent_errors = if fails { 10 } else { 0 };
            if side == Side::New {
                i.restarts = u32::from(env.restarts);
                i.ready_since = i.ready.then(|| before(now, env.ready_for));
            }
        }
        seen
    }

    fn judgement(&self) -> Judgement {
        match self.env.said {
            Said::NotYet => judged(Verdict::NotYet, false),
            Said::NotWorse => judged(Verdict::NotWorse, false),
            Said::Worse => judged(Verdict::Worse, false),
            Said::Shared => judged(Verdict::Worse, true),
        }
    }

    /// Moves all times so that now is always the same, and forgets what no longer matters.
    pub(super) fn rebase(&mut self, now: Timestamp) {
        let status = &mut self.status;
        status.phase_since = moved(status.phase_since, now);
        for at in [
            &mut status.applied_at,
            &mut status.notes.resumed_at,
            &mut status.notes.short_since,
            &mut status.notes.lost_since,
        ] {
            *at = at.map(|at| moved(at, now));
        }
        status.notes.lagging_told.clear();
        status.generation = status.generation.map(|_| Generation(1));
        let keep = status.history.len().saturating_sub(1);
        drop(status.history.drain(..keep));
        for line in &mut status.history {
            (line.at, line.applied_at) = (START, line.applied_at.map(|_| START));
            line.reason.clear();
        }
        (status.sessions_released_at, status.rollback_reason) = (None, None);
        status.token_epoch = 0;
        status.conditions.clear();
        let drains = status.traffic.draining.is_some();
        let judged = is_judged(status);
        let draining = status.phase == Phase::Draining;
        let env = &mut self.env;
        if !drains {
            (env.busy, env.quiet_for) = (true, 0);
        }
        if !judged {
            env.said = Said::NotYet;
        }
        if !draining {
            env.sessionless_for = 0;
        }
        if env.restarts < 2 || env.new != Being::Ready {
            env.ready_for = 0;
        }
        if status.phase.is_final() && env.proxies.contains(&Some(Proxy::Refused)) {
            env.tell();
        }
        env.proxies.sort();
    }

    /// A second passes.
    pub(super) fn age(&mut self, limits: &Limits) {
        let env = &mut self.env;
        let older = |seconds: u8| u8::min(seconds + 1, LONG_AGO);
        if !env.busy {
            env.quiet_for = older(env.quiet_for);
        }
        env.sessionless_for = older(env.sessionless_for);
        env.ready_for = older(env.ready_for);
        let stands_by = self.status.phase == Phase::RollbackWindow;
        if stands_by && self.status.applied_at.is_some() && limits.min_rollback_window.is_some() {
            self.ghost.standby = older(self.ghost.standby);
        }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence().hash(state);
    }
}

/// The only instance of a side.
pub(super) fn name(side: Side) -> crate::model::WorkloadKey {
    let version = match side {
        Side::Old => "v1",
        Side::New => "v2",
    };
    crate::model::Key::new("shop", &format!("checkout-{version}-0"))
}

/// As the engine does: analysis speaks of a step that is applied.
pub(super) fn is_judged(status: &UpgradeStatus) -> bool {
    status.phase.is_analysed() && status.applied_at.is_some()
}

fn moved(at: Timestamp, now: Timestamp) -> Timestamp {
    let seconds = u64::min(now.since(at).as_secs(), LONG_AGO.into());
    Timestamp(START.0 - 1_000 * seconds)
}

fn before(now: Timestamp, seconds: u8) -> Timestamp {
    Timestamp(now.0 - 1_000 * u64::from(seconds))
}
