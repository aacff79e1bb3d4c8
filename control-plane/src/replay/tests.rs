//! Simulated runs, logged as the engine logs them, and replayed.

use super::{Context, Line, Replay, Unplayable, replay};
use crate::{
    model::{
        self, Action, Applied, Command, Decision, Evidence, Generation, InstanceObservation, Key,
        Lagging, Observation, Phase, Policy, Rollback, Share, Step, Tally, Timestamp,
        UpgradeStatus,
    },
    upgrade,
};
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use std::time::Duration;

const START: Timestamp = Timestamp(5_000_000);
/// A line is written at least so often.
const LOOKED: Duration = Duration::from_secs(5);

fn step(percent: u16, hold: u64, manual: bool) -> Step {
    Step {
        weight: Share::from_percent(percent).unwrap(),
        hold: Duration::from_secs(hold),
        manual,
    }
}

fn policy() -> Policy {
    Policy {
        steps: vec![step(5, 20, false), step(50, 10, false), step(100, 0, false)],
        rollback: Rollback {
            window: Duration::from_secs(20),
        },
        progress_deadline: Duration::from_secs(60),
        ..Policy::default()
    }
}

/// What happens in a run, beside the time that passes.
#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    Ask(Command),
    /// So many new instances are ready.
    Ready(usize),
    /// An instance of the new version fails so many checks.
    Fails(u32),
    /// The proxy ACKs at once, or not for now.
    Acks(bool),
    Traffic(u64, u64),
}

/// The engine, as far as its log is concerned.
struct Recorder {
    policy: Policy,
    status: UpgradeStatus,
    now: Timestamp,
    ready: usize,
    failures: u32,
    acks: bool,
    acked: u64,
    published: u64,
    evidence: Evidence,
    logged_at: Timestamp,
    lines: Vec<Line>,
}

impl Recorder {
    fn new(policy: Policy) -> Self {
        let status = upgrade::begin(&policy, 2, START);
        let mut recorder = Self {
            policy,
            status,
            now: START,
            ready: 2,
            failures: 0,
            acks: true,
            acked: 0,
            published: 0,
            evidence: Evidence::default(),
            logged_at: START,
            lines: Vec::new(),
        };
        let context = Context {
            policy: Some(recorder.policy.clone()),
            spec: None,
            old_instances: Some(2),
            let_go: None,
        };
        let inputs = recorder.observation(Vec::new());
        recorder.lines.push(Line {
            at: START,
            rule: "Began".to_owned(),
            inputs,
            context,
        });
        recorder
    }

    fn run(policy: Policy, happenings: &[Happening]) -> Self {
        let mut recorder = Self::new(policy);
        recorder.tick(Vec::new());
        for happening in happenings {
            match happening {
                Happening::Pass(seconds) => {
                    for _ in 0..*seconds {
                        recorder.now = recorder.now.after(Duration::from_secs(1));
                        recorder.tick(Vec::new());
                    }
                }
                Happening::Ask(command) => {
                    // Two who ask the same within a millisecond leave the lines of one.
                    recorder.now = recorder.now.after(Duration::from_millis(1));
                    recorder.tick(vec![command.clone()]);
                }
                Happening::Ready(ready) => recorder.ready = *ready,
                Happening::Fails(failures) => recorder.failures = *failures,
                Happening::Acks(acks) => recorder.acks = *acks,
                Happening::Traffic(requests, errors) => {
                    recorder.evidence.new.add(&tally(*requests, *errors));
                    recorder.evidence.old.add(&tally(*requests, 0));
                }
            }
        }
        recorder
    }

    fn tick(&mut self, mut commands: Vec<Command>) {
        for _ in 0..50 {
            if self.acks {
                self.acked = self.published;
            }
            let seen = self.observation(std::mem::take(&mut commands));
            let (status, actions) = upgrade::advance(&self.policy, &self.status, &seen, self.now);
            let settled = status == self.status && actions.is_empty();
            self.status = status;
            for action in actions {
                match action {
                    Action::Publish => {
                        self.published += 1;
                        self.status.generation = Some(Generation(self.published));
                    }
                    Action::Record(Decision { rule, .. }) => self.log(&rule, &seen),
                    Action::Notify { .. } => {}
                }
            }
            if settled {
                break;
            }
        }
        if self.now.since(self.logged_at) >= LOOKED && !self.status.phase.is_final() {
            let seen = self.observation(Vec::new());
            self.log("Looked", &seen);
        }
    }

    fn log(&mut self, rule: &str, seen: &Observation) {
        let evidence = std::mem::take(&mut self.evidence);
        self.logged_at = self.now;
        self.lines.push(Line {
            at: self.now,
            rule: rule.to_owned(),
            inputs: Observation {
                evidence,
                ..seen.clone()
            },
            context: Context::default(),
        });
    }

    fn observation(&self, commands: Vec<Command>) -> Observation {
        let behind = self.status.generation.is_some_and(|g| self.acked < g.0);
        let lagging = Lagging {
            proxy: "shop/web-0".into(),
            since: self.now,
            nack: None,
        };
        let instances = |version: &str, ready: usize, failures: u32| {
            let instance = |n: usize| InstanceObservation {
                workload: Key::new("shop", &format!("checkout-{version}-{n}")),
                ready: n < ready,
                checked: true,
                consecutive_failures: if n == 0 { failures } else { 0 },
                ejected_by: 0,
                active: 0,
                last_activity: None,
                last_report: Some(self.now),
                ready_since: (n < ready).then_some(START),
                restarts: 0,
                lost: false,
                recent_requests: 0,
                recent_errors: 0,
            };
            (0..2).map(instance).collect()
        };
        let applied = match self.status.generation {
            None => Applied::default(),
            Some(_) => Applied {
                acked: u32::from(!behind),
                total: 1,
                lagging: if behind { vec![lagging] } else { Vec::new() },
            },
        };
        Observation {
            old: instances("v1", 2, 0),
            new: instances("v2", self.ready, self.failures),
            others: 0,
            applied,
            reports_pending: 0,
            last_old_session: None,
            commands,
            asked_because: String::new(),
            judgement: None,
            evidence: Evidence::default(),
        }
    }

    fn replay(&self, policy: &Policy) -> Replay {
        replay(&self.lines, policy).unwrap()
    }
}

fn tally(requests: u64, errors: u64) -> Tally {
    Tally {
        requests,
        errors,
        ..Tally::default()
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        6 => (1..25_u64).prop_map(Happening::Pass),
        1 => Just(Happening::Ask(Command::Pause)),
        1 => Just(Happening::Ask(Command::Resume)),
        1 => any::<bool>().prop_map(|full| Happening::Ask(Command::Promote { full })),
        1 => Just(Happening::Ask(Command::Rollback { reason: String::new() })),
        1 => Just(Happening::Ask(Command::Retry)),
        1 => Just(Happening::Ask(Command::Start)),
        2 => (0..3_usize).prop_map(Happening::Ready),
        1 => (0..5_u32).prop_map(Happening::Fails),
        2 => any::<bool>().prop_map(Happening::Acks),
        1 => (0..500_u64, 0..50_u64).prop_map(|(n, e)| Happening::Traffic(n, e)),
    ];
    prop::collection::vec(happening, 0..40)
}

proptest! {
    #[test]
    fn the_same_policy_decides_the_same(happenings in happenings()) {
        let run = Recorder::run(policy(), &happenings);
        let replay = run.replay(&policy());
        prop_assert_eq!(&replay.notes, &Vec::<String>::new());
        prop_assert_eq!(replay.diverged, None);
        prop_assert_eq!(
            (replay.otherwise.phase, replay.otherwise.weight),
            (run.status.phase, run.status.weight)
        );
    }

    #[test]
    fn any_policy_is_replayed_to_an_end(happenings in happenings(), hold in 0..60_u64, all: bool) {
        let run = Recorder::run(policy(), &happenings);
        let mut other = policy();
        other.steps = if all { vec![step(100, hold, false)] } else { vec![step(20, hold, true), step(100, 0, false)] };
        let replay = run.replay(&other);
        prop_assert!(replay.moments.windows(2).all(|pair| pair[0].at < pair[1].at));
        let first = replay.moments.iter().find(|moment| moment.differs).map(|moment| moment.at);
        prop_assert!(replay.diverged <= first || first.is_none());
    }
}

fn decided(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().map(|d| d.rule.as_str()).collect()
}

#[test]
fn a_longer_hold_is_where_the_two_part() {
    let run = Recorder::run(policy(), &[Happening::Pass(40)]);
    let mut longer = policy();
    longer.steps[0].hold = Duration::from_secs(45);
    let replay = run.replay(&longer);
    assert_eq!(replay.diverged, Some(START.after(Duration::from_secs(20))));
    let moment = replay.moments.iter().find(|m| m.differs).unwrap();
    assert_eq!(decided(&moment.recorded), ["HoldIsOver", "Applied"]);
    assert!(moment.otherwise.is_empty());
    assert_eq!(replay.recorded.phase, Phase::RollbackWindow);
    assert_eq!(replay.otherwise.phase, Phase::WarmUp);
}

#[test]
fn a_stricter_health_goes_back_where_the_recorded_run_went_on() {
    let run = Recorder::run(policy(), &[Happening::Fails(2), Happening::Pass(25)]);
    assert_eq!(run.status.phase, Phase::Shifting);
    let mut strict = policy();
    strict.health.failure_threshold = 2;
    let replay = run.replay(&strict);
    assert!(replay.diverged.is_some());
    assert!(
        matches!(
            replay.otherwise.phase,
            Phase::RollingBack | Phase::RolledBack
        ),
        "{:?}",
        replay.otherwise
    );
    assert!(replay.otherwise.rollback_reason.is_some());
}

#[test]
fn limits_hold_in_a_replay_too() {
    let mut limited = policy();
    limited.limits.owner = "ClusterUpgradePolicy mesh".to_owned();
    limited.limits.min_rollback_window = Some(Duration::from_secs(20));
    limited.limits.max_first_weight = Share::from_percent(5);
    let promote = Happening::Ask(Command::Promote { full: false });
    let happenings = [Happening::Pass(45), promote, Happening::Pass(4)];
    let run = Recorder::run(limited, &happenings);
    assert_eq!(run.status.phase, Phase::RollbackWindow);
    // A document of a namespace says nothing of limits.
    let mut short = policy();
    short.rollback.window = Duration::from_secs(1);
    let replay = run.replay(&short);
    assert_eq!(replay.diverged, None);
    assert_eq!(replay.otherwise.phase, Phase::RollbackWindow);
    let mut heavy = policy();
    heavy.steps[0].weight = Share::from_percent(20).unwrap();
    let replay = run.replay(&heavy);
    let mut decisions = replay.moments.iter().flat_map(|m| &m.otherwise);
    let first = decisions.find(|d| d.rule == "InstancesReady").unwrap();
    assert!(first.verdict.contains(": 5 % goes to"), "{first:?}");
}

#[test]
fn a_log_whose_looks_were_let_go_is_replayed_and_says_so() {
    let mut run = Recorder::run(policy(), &[Happening::Pass(40)]);
    let whole = run.replay(&policy());
    let looks = |line: &Line| line.rule == model::LOOKED;
    let count = run.lines.iter().filter(|line| looks(line)).count();
    assert!(count > 0);
    let gap = Line {
        at: START,
        rule: model::LOOKS_LET_GO.to_owned(),
        inputs: Observation::default(),
        context: Context {
            let_go: Some(u64::try_from(count).unwrap()),
            ..Context::default()
        },
    };
    run.lines.retain(|line| !looks(line));
    run.lines.insert(1, gap);
    let replay = run.replay(&policy());
    assert_eq!(replay.diverged, None);
    assert_eq!(replay.recorded, whole.recorded);
    assert!(replay.notes[0].contains(&format!("{count} looks were let go")));
    assert_eq!(replay.notes.len(), 1, "{:?}", replay.notes);
}

#[test]
fn a_log_without_its_beginning_is_refused() {
    assert_eq!(replay(&[], &policy()).unwrap_err(), Unplayable::Empty);
    let run = Recorder::run(policy(), &[Happening::Pass(30)]);
    let refused = replay(&run.lines[1..], &policy()).unwrap_err();
    assert!(
        refused.to_string().contains("does not reach back"),
        "{refused}"
    );
}

#[test]
fn a_log_of_other_rules_is_said_to_be_one() {
    let mut run = Recorder::run(policy(), &[Happening::Pass(30)]);
    let line = run.lines.iter_mut().find(|line| line.rule == "HoldIsOver");
    line.unwrap().rule = "PatienceIsOver".to_owned();
    let replay = run.replay(&policy());
    assert!(
        replay.notes[0].contains("can't be followed exactly"),
        "{replay:#?}"
    );
}

#[test]
fn a_line_survives_its_json() {
    let run = Recorder::run(policy(), &[Happening::Traffic(5, 1), Happening::Pass(7)]);
    for line in &run.lines {
        let inputs = serde_json::to_string(&line.inputs).unwrap();
        let context = serde_json::to_string(&line.context).unwrap();
        assert_eq!(
            &Line::read(line.at, &line.rule, &inputs, &context).unwrap(),
            line
        );
    }
    let wrong = Line::read(START, "Looked", "{\"old\": 5}", "").unwrap_err();
    assert!(wrong.starts_with("inputs: "), "{wrong}");
}
