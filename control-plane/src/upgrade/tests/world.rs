//! A simulated world: two versions, one proxy, a clock that is moved by hand.
//!
//! It does what the engine does: shows an observation, carries out the actions, looks again until
//! nothing changes.

use crate::{
    model::{
        Action, Affinity, Applied, Capacity, Command, Decision, Evidence, Finding, Generation,
        InstanceObservation, Judgement, Key, Lagging, Observation, Phase, Policy, Rollback,
        SameSite, Share, Step, Test, Timestamp, UpgradeStatus, Verdict,
    },
    upgrade,
};
use std::time::Duration;

pub(super) const START: Timestamp = Timestamp(1_000_000);

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn percent(n: u16) -> Share {
    Share::from_percent(n).unwrap()
}

pub(super) fn step(weight: u16, hold: u64) -> Step {
    Step {
        weight: percent(weight),
        hold: seconds(hold),
        manual: false,
    }
}

pub(super) fn cookie() -> Affinity {
    Affinity::Cookie {
        name: None,
        ttl: seconds(3600),
        path: "/".to_owned(),
        same_site: SameSite::Lax,
        secure: false,
    }
}

/// 5, 50, 100 % with holds of 10 s, a window of 20 s.
pub(super) fn policy() -> Policy {
    Policy {
        steps: vec![step(5, 10), step(50, 10), step(100, 0)],
        capacity: Capacity::Match,
        rollback: Rollback {
            window: seconds(20),
        },
        progress_deadline: seconds(60),
        ..Policy::default()
    }
}

/// A judgement of one finding.
pub(super) fn judged(verdict: Verdict, shared: bool) -> Judgement {
    let text = match verdict {
        Verdict::NotYet => "errors undecided",
        Verdict::NotWorse => "errors 0.10 % against 0.10 %",
        Verdict::Worse => "errors 3.00 % against 0.10 % (limit 0.60 %)",
    };
    Judgement {
        verdict,
        requests: 212,
        eta: (verdict == Verdict::NotYet).then(|| seconds(240)),
        findings: vec![Finding {
            test: Test::SuccessDrop,
            verdict,
            new: None,
            old: None,
            limit: None,
            smallest_visible: None,
            eta: None,
            shared,
            text: text.to_owned(),
        }],
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) policy: Policy,
    pub(super) status: UpgradeStatus,
    pub(super) now: Timestamp,
    pub(super) old: Vec<InstanceObservation>,
    pub(super) new: Vec<InstanceObservation>,
    pub(super) others: u32,
    pub(super) last_old_session: Option<Timestamp>,
    /// The proxy ACKs at once.
    pub(super) acks: bool,
    pub(super) acked: u64,
    pub(super) published: u64,
    pub(super) nack: Option<std::sync::Arc<str>>,
    /// What analysis says of a step that is applied.
    pub(super) judgement: Option<Judgement>,
    /// Proxies that have not reported since a restart.
    pub(super) reports_pending: u32,
    /// Since when the proxy lags, where it does.
    pub(super) lags_since: Option<Timestamp>,
    pub(super) decisions: Vec<Decision>,
    pub(super) notices: Vec<String>,
}

pub(super) fn instances(version: &str, count: usize, ready: bool) -> Vec<InstanceObservation> {
    (0..count)
        .map(|n| InstanceObservation {
            workload: Key::new("shop", &format!("checkout-{version}-{n}")),
            ready,
            checked: true,
            consecutive_failures: 0,
            ejected_by: 0,
            active: 0,
            last_activity: None,
            last_report: None,
            ready_since: None,
            restarts: 0,
            lost: false,
            recent_requests: 0,
            recent_errors: 0,
        })
        .collect()
}

impl World {
    /// Three old instances serve, three new ones are ready; the proxy ACKs at once.
    pub(super) fn new(policy: Policy) -> Self {
        let status = upgrade::begin(&policy, 3, START);
        Self {
            policy,
            status,
            now: START,
            old: instances("v1", 3, true),
            new: instances("v2", 3, true),
            others: 0,
            last_old_session: None,
            acks: true,
            acked: 0,
            published: 0,
            nack: None,
            judgement: None,
            reports_pending: 0,
            lags_since: None,
            decisions: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Looks until nothing changes.
    pub(super) fn look(&mut self) {
        self.command_all(Vec::new());
    }

    pub(super) fn command(&mut self, command: Command) {
        self.command_all(vec![command]);
    }

    fn command_all(&mut self, mut commands: Vec<Command>) {
        for _ in 0..50 {
            let before = self.status.clone();
            let observation = self.observation(std::mem::take(&mut commands));
            let published = self.advance(&observation);
            if self.status == before && !published {
                return;
            }
        }
        panic!("no end of changes: {:#?}", self.status);
    }

    fn advance(&mut self, observation: &Observation) -> bool {
        let (status, actions) = upgrade::advance(&self.policy, &self.status, observation, self.now);
        self.status = status;
        let mut published = false;
        for action in actions {
            match action {
                Action::Publish => {
                    self.published += 1;
                    self.status.generation = Some(Generation(self.published));
                    published = true;
                }
                Action::Record(decision) => self.decisions.push(decision),
                Action::Notify { reason, .. } => self.notices.push(reason),
            }
        }
        if self.acks {
            self.ack();
        }
        published
    }

    /// The proxy ACKs what was published.
    pub(super) fn ack(&mut self) {
        self.acked = self.published;
    }

    pub(super) fn observation(&self, commands: Vec<Command>) -> Observation {
        let behind = self.status.generation.is_some_and(|g| self.acked < g.0);
        let lagging = Lagging {
            proxy: "shop/web-0".into(),
            since: self.lags_since.unwrap_or(self.now),
            nack: self.nack.clone(),
        };
        Observation {
            old: self.old.clone(),
            new: self.new.clone(),
            others: self.others,
            applied: Applied {
                acked: u32::from(!behind),
                total: 1,
                lagging: if behind { vec![lagging] } else { Vec::new() },
            },
            reports_pending: self.reports_pending,
            last_old_session: self.last_old_session,
            commands,
            asked_because: String::new(),
            judgement: self
                .judgement
                .clone()
                .filter(|_| self.status.applied_at.is_some() && self.status.phase.is_analysed()),
            evidence: Evidence::default(),
        }
    }

    /// Lets time pass and looks.
    pub(super) fn pass(&mut self, n: u64) {
        self.now = self.now.after(seconds(n));
        self.look();
    }

    /// Every instance reports now that it is quiet.
    pub(super) fn report_quiet(&mut self) {
        let now = self.now;
        for instance in self.old.iter_mut().chain(&mut self.new) {
            instance.active = 0;
            instance.last_report = Some(now);
        }
    }

    /// Analysis says something else from now on.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        self.judgement = Some(judged(verdict, false));
        self.look();
    }

    pub(super) fn rules(&self) -> Vec<&str> {
        self.decisions.iter().map(|d| d.rule.as_str()).collect()
    }

    pub(super) fn stands_at(&self, phase: Phase, weight: u16) {
        assert_eq!(
            (self.status.phase, self.status.weight),
            (phase, percent(weight)),
            "{}",
            self.status.message
        );
    }

    /// Goes to the step of 5 %.
    pub(super) fn warmed_up(policy: Policy) -> Self {
        let mut world = Self::new(policy);
        world.look();
        world.stands_at(Phase::WarmUp, 5);
        world
    }

    /// Goes on to 100 %, the window open.
    pub(super) fn in_window(policy: Policy) -> Self {
        let mut world = Self::warmed_up(policy);
        world.pass(10);
        world.pass(10);
        world.stands_at(Phase::RollbackWindow, 100);
        world
    }

    /// Goes on until the window is over.
    pub(super) fn draining(policy: Policy) -> Self {
        let mut world = Self::in_window(policy);
        world.pass(20);
        world.stands_at(Phase::Draining, 100);
        world
    }
}
