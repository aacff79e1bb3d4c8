//! What is promised, held against runs that break it one way each.

use super::{End, Judgement, judge};
use crate::demo::{
    Fault,
    course::{Course, Step},
    evidence::{Asked, Evidence},
    load::{Begun, Channel, Event, Kind, Known, Report},
    manifests::WEIGHTS,
};

fn course() -> Course {
    Course {
        old: "v1".into(),
        new: "v2".into(),
        ..Course::default()
    }
}

fn moved(from: &str, to: &str, at: u64) -> Event {
    Event::Moved {
        sent: at - 1,
        at,
        session: 1,
        from: from.into(),
        to: to.into(),
    }
}

fn failed(version: Option<&str>, at: u64) -> Event {
    Event::Failed {
        request: String::new(),
        sent: at - 1,
        at,
        version: version.map(str::to_owned),
        known: Known::Session,
        kind: Kind::Reset,
        detail: String::new(),
    }
}

fn of(events: Vec<Event>, course: &Course, fault: Option<u64>) -> Judgement {
    judge(&seen(events, fault), course)
}

fn seen(events: Vec<Event>, fault: Option<u64>) -> Evidence {
    let mut evidence = Evidence {
        asked: Asked {
            fault: fault.map(|_| Fault::Crash),
            kills: 0,
        },
        fault,
        ..Evidence::default()
    };
    evidence.add(Report {
        failed: count(&events, |event| matches!(event, Event::Failed { .. })),
        events,
        ..Report::default()
    });
    evidence
}

fn count(events: &[Event], which: impl Fn(&Event) -> bool) -> u64 {
    u64::try_from(events.iter().filter(|event| which(event)).count()).unwrap()
}

/// An upgrade with every step, each of them measured.
fn whole(evidence: &mut Evidence, end: End) -> Course {
    let mut course = Course {
        end: Some(end),
        ..course()
    };
    for (weight, at) in WEIGHTS.into_iter().zip((1_000..).step_by(1_000)) {
        course.steps.push(Step {
            weight,
            at,
            applied: Some(at + 10),
            until: Some(at + 1_000),
        });
        for n in 0..10 {
            evidence.begun.push(Begun {
                sent: at + 100 + n,
                at: at + 101 + n,
                version: if n % 2 == 0 && weight > 2_500 || weight == 10_000 {
                    "v2"
                } else {
                    "v1"
                }
                .into(),
            });
        }
    }
    course
}

fn problems(evidence: &Evidence, course: &Course) -> Vec<String> {
    judge(evidence, course).problems(evidence, course)
}

#[test]
fn old_sessions_may_move_only_once_they_are_released() {
    let course = Course {
        released: Some(100),
        ..course()
    };
    let judgement = of(
        vec![moved("v1", "v2", 99), moved("v1", "v2", 100)],
        &course,
        None,
    );
    assert_eq!((judgement.moved_unexpectedly, judgement.moved), (1, 1));
}

#[test]
fn new_sessions_may_go_back_only_with_a_rollback_or_a_fault() {
    let back = [moved("v2", "v1", 50)];
    assert_eq!(of(back.to_vec(), &course(), None).moved_unexpectedly, 1);
    assert_eq!(of(back.to_vec(), &course(), Some(40)).moved, 1);
    let course = Course {
        back: Some(50),
        ..course()
    };
    assert_eq!(of(back.to_vec(), &course, None).moved, 1);
}

#[test]
fn without_a_fault_nothing_explains_a_failure() {
    let mut evidence = seen(vec![failed(Some("v2"), 10)], None);
    let course = whole(&mut evidence, End::Succeeded);
    assert_eq!(problems(&evidence, &course), ["1 requests failed"]);
}

#[test]
fn a_fault_explains_failures_of_the_new_version_alone() {
    let course = Course {
        back: Some(60),
        back_applied: Some(100),
        end: Some(End::RolledBack),
        ..course()
    };
    let events = vec![
        failed(Some("v2"), 49),
        failed(Some("v2"), 55),
        failed(Some("v1"), 55),
        failed(None, 52),
        failed(None, 10_000),
        Event::Cut {
            channel: Channel::Tcp,
            opened: 1,
            at: 70,
            version: Some("v2".into()),
            detail: String::new(),
        },
    ];
    let judgement = of(events, &course, Some(50));
    assert_eq!(judgement.failed_unexpectedly, 3);
    assert_eq!(judgement.explained.get(&Kind::Reset), Some(&2));
    assert_eq!(judgement.explained_by_time, 1);
    assert_eq!(judgement.first_bad, Some(52));
    assert_eq!(judgement.cut_unexpectedly(Channel::Tcp), 0);
}

#[test]
fn a_share_that_chance_does_not_explain_is_a_problem() {
    let mut evidence = Evidence::default();
    let mut course = whole(&mut evidence, End::Succeeded);
    assert_eq!(problems(&evidence, &course), [] as [&str; 0]);
    course.steps[0].applied = Some(1_005);
    for n in 0..400_u64 {
        evidence.begun.push(Begun {
            sent: 1_010 + n,
            at: 1_011 + n,
            version: if n % 5 == 0 { "v2" } else { "v1" }.into(),
        });
    }
    let judgement = judge(&evidence, &course);
    assert_eq!(judgement.steps[0].on_new, 80);
    assert!(!judgement.steps[0].is_as_set());
    assert_eq!(judgement.steps[0].applied_ms, Some(5));
    assert_eq!(judgement.problems(&evidence, &course).len(), 1);
}

#[test]
fn a_step_that_was_left_out_or_not_measured_is_a_problem() {
    let mut evidence = Evidence::default();
    let mut course = whole(&mut evidence, End::Succeeded);
    course.steps.remove(1);
    course.steps[1].applied = None;
    let problems = problems(&evidence, &course);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("at weight 25 %"), "{problems:?}");
    assert!(problems[1].contains("at weight 50 %"), "{problems:?}");
}

#[test]
fn what_was_counted_and_not_told_is_a_problem() {
    let mut evidence = Evidence::default();
    let course = whole(&mut evidence, End::Succeeded);
    let mut report = Report {
        last: true,
        sent: 1_000,
        answered: [("v1".to_owned(), 997)].into(),
        failed: 2,
        late: 11,
        events_omitted: 2,
        ..Report::default()
    };
    report.streams.cut = 1;
    evidence.add(report);
    assert_eq!(
        problems(&evidence, &course),
        [
            "of 2 failed requests only 0 are accounted for",
            "of 1 cut streams only 0 are accounted for",
            "of 1000 requests sent only 999 are accounted for",
            "2 events were not listed",
            "the load was not steady: 11 requests that were due could not be sent",
        ]
    );
}

#[test]
fn a_fault_or_a_kill_that_never_came_is_a_problem() {
    let mut evidence = Evidence {
        asked: Asked {
            fault: Some(Fault::Hang),
            kills: 2,
        },
        killed: 1,
        ..Evidence::default()
    };
    let course = whole(&mut evidence, End::Succeeded);
    let problems = problems(&evidence, &course).join("; ");
    for part in [
        "ended Succeeded instead of RolledBack",
        "the fault never came",
        "killed 1 times instead of 2",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

fn failing(known: Known, kind: Kind) -> Event {
    Event::Failed {
        request: String::new(),
        sent: 55,
        at: 56,
        version: Some("v2".into()),
        known,
        kind,
        detail: String::new(),
    }
}

#[test]
fn a_failure_must_look_like_the_fault() {
    let unexpected = |fault, event| {
        let mut evidence = seen(vec![event], Some(50));
        evidence.asked.fault = Some(fault);
        judge(&evidence, &course()).failed_unexpectedly
    };
    let named = failing(Known::Answer, Kind::ServerError);
    assert_eq!(unexpected(Fault::Errors, named), 0);
    // A version that answers everything with 500 neither resets nor leaves its name out.
    let nameless = failing(Known::Session, Kind::ServerError);
    assert_eq!(unexpected(Fault::Errors, nameless.clone()), 1);
    assert_eq!(unexpected(Fault::Crash, nameless), 0);
    let refused = failing(Known::Session, Kind::Refused);
    assert_eq!(unexpected(Fault::Crash, refused), 1);
}

#[test]
fn nothing_is_put_down_to_the_faulty_version_once_the_way_back_is_applied() {
    let course = Course {
        back: Some(100),
        back_applied: Some(200),
        ..course()
    };
    let cut = |opened| Event::Cut {
        channel: Channel::Stream,
        opened,
        at: 9_000,
        version: Some("v2".into()),
        detail: String::new(),
    };
    let events = vec![failed(Some("v2"), 5_000), cut(150), cut(5_000)];
    let judgement = of(events, &course, Some(50));
    assert_eq!(judgement.failed_unexpectedly, 1);
    assert_eq!(judgement.cut_unexpectedly(Channel::Stream), 1);
}

#[test]
fn more_first_requests_without_an_answer_than_the_share_are_a_problem() {
    let mut course = course();
    course.steps.push(Step {
        weight: 2_500,
        at: 0,
        applied: Some(1),
        until: Some(1_000),
    });
    course.back_applied = Some(1_000);
    let with = |failures: usize| {
        let mut evidence = seen(vec![failed(None, 500); failures], Some(50));
        for n in 0..75 {
            evidence.begun.push(Begun {
                sent: 100 + n,
                at: 101 + n,
                version: "v1".into(),
            });
        }
        let judgement = judge(&evidence, &course);
        judgement.explained_by_time > judgement.explainable_by_time
    };
    assert!(!with(25));
    assert!(with(75));
}

#[test]
fn the_same_loss_is_one_example() {
    let judgement = of(vec![failed(Some("v1"), 10); 7], &course(), None);
    assert_eq!(judgement.examples.values().collect::<Vec<_>>(), [&7]);
}
