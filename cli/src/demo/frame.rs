//! What the live view says: a block of lines for a terminal, one line for a log. Pure.

use super::{
    course::{Course, unix_ms},
    evidence::Evidence,
    interval,
    summary::percent,
    text::{clock, count, milliseconds},
};
use segue_proto::control::{Judgement, UpgradeStatus};
use std::{collections::BTreeMap, time::Duration};

/// The block of lines for a terminal.
pub(super) fn block(evidence: &Evidence, elapsed: Duration, now: u64) -> Vec<String> {
    let mut lines = vec![format!("checkout under load, {}", clock(elapsed))];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<10} {text}"));
    let upgrade = evidence.upgrade.as_ref();
    match upgrade.and_then(|upgrade| upgrade.status.as_ref()) {
        None => line("phase", "v1 serves; no upgrade yet".to_owned()),
        Some(status) => {
            line("phase", phase(status));
            line("", status.message.clone());
            let course = upgrade.map(Course::of).unwrap_or_default();
            line("weight", weight(evidence, &course, status.weight));
            line("proxies", applied(status));
            line("next", next(status, now));
            if let Some(judgement) = &status.judgement {
                line("verdict", verdict(judgement));
            }
        }
    }
    let second = evidence.now();
    line(
        "traffic",
        format!(
            "{} requests/s   p50 {}   p99 {}   failed {} ({}/s)",
            count(second.requests),
            milliseconds(second.p50),
            milliseconds(second.p99),
            count(evidence.latest.failed),
            count(second.failures),
        ),
    );
    line("sessions", by_version(&evidence.latest.sessions));
    line(
        "streams",
        format!(
            "{}   cut {}",
            by_version(&evidence.latest.streams.alive),
            evidence.latest.streams.cut
        ),
    );
    line(
        "TCP",
        format!(
            "{}   cut {}",
            by_version(&evidence.latest.tcp.alive),
            evidence.latest.tcp.cut
        ),
    );
    lines
}

/// A line that fits in so many columns.
pub(super) fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept = line.chars().take(columns.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// The one line for a log.
pub(super) fn line(evidence: &Evidence, elapsed: Duration, now: u64) -> String {
    let second = evidence.now();
    let upgrade = evidence.upgrade.as_ref();
    let course = upgrade.map(Course::of).unwrap_or_default();
    let progress = upgrade
        .and_then(|upgrade| upgrade.status.as_ref())
        .map_or_else(
            || "v1 serves".to_owned(),
            |status| {
                format!(
                    "{}, weight {}, {}, next: {}",
                    phase(status),
                    weight(evidence, &course, status.weight),
                    applied(status),
                    next(status, now)
                )
            },
        );
    format!(
        "{} {progress} | {} requests/s, failed {}, p50 {}, p99 {} | sessions {}; streams {}; TCP {}",
        clock(elapsed),
        count(second.requests),
        count(evidence.latest.failed),
        milliseconds(second.p50),
        milliseconds(second.p99),
        by_version(&evidence.latest.sessions),
        by_version(&evidence.latest.streams.alive),
        by_version(&evidence.latest.tcp.alive),
    )
}

fn phase(status: &UpgradeStatus) -> String {
    let paused = if status.paused { ", paused" } else { "" };
    match status.phase.as_str() {
        "WarmUp" | "Shifting" => format!(
            "{} (step {} of {}){paused}",
            status.phase, status.step, status.steps
        ),
        phase => format!("{phase}{paused}"),
    }
}

/// What analysis said last, and when it may know more.
fn verdict(judgement: &Judgement) -> String {
    let word = match judgement.verdict.as_str() {
        "NotYet" => "not yet known",
        "NotWorse" => "not worse",
        "Worse" => "worse",
        other => other,
    };
    let requests = count(judgement.requests);
    let eta = judgement.eta.as_ref().map_or_else(String::new, |eta| {
        format!(", decided in about {} s", eta.seconds)
    });
    format!("{word} after {requests} requests of this step{eta}")
}

fn weight(evidence: &Evidence, course: &Course, set: u32) -> String {
    let measured = course
        .steps
        .last()
        .filter(|step| step.weight == set)
        .and_then(|step| step.applied)
        .map(|applied| evidence.sessions_between(applied, None, &course.new))
        .and_then(|(all, on_new)| {
            let (low, high) = interval::region(all, set);
            Some(format!(
                ", measured {:.1} % of {} new sessions ({:.1} .. {:.1} % by chance)",
                percent(on_new, all)?,
                count(all.into()),
                percent(low, all)?,
                percent(high, all)?
            ))
        });
    format!("{} %{}", set / 100, measured.unwrap_or_default())
}

fn applied(status: &UpgradeStatus) -> String {
    let Some(applied) = &status.applied else {
        return "nothing to apply".to_owned();
    };
    let mut text = format!("applied {}/{} proxies", applied.acked, applied.total);
    if let Some(first) = applied.lagging.first() {
        let others = applied.lagging.len() - 1;
        text = format!("{text}, lagging: {}", first.proxy);
        if others > 0 {
            text = format!("{text} and {others} others");
        }
    }
    text
}

/// A hold ends at its time; elsewhere something is waited for, and the time is the last moment.
fn next(status: &UpgradeStatus, now: u64) -> String {
    let left = status
        .next_at
        .as_ref()
        .map(|at| unix_ms(at).saturating_sub(now).div_ceil(1_000));
    let (awaited, until) = match status.phase.as_str() {
        "Succeeded" | "RolledBack" => return "the end".to_owned(),
        "Preparing" => ("once the new instances are ready", "gives up"),
        "Draining" | "RollingBack" => ("once nothing is active any more", "ends anyway"),
        _ => {
            return left.map_or_else(
                || "as soon as its condition is met".to_owned(),
                |seconds| match seconds {
                    0 => "now".to_owned(),
                    seconds => format!("in {seconds} s"),
                },
            );
        }
    };
    left.map_or_else(
        || awaited.to_owned(),
        |seconds| format!("{awaited} ({until} in {seconds} s)"),
    )
}

fn by_version(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(version, n)| format!("{version} {}", count(*n)))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{block, cut, line};
    use crate::demo::{
        course::tests::{timestamp, upgrade},
        evidence::Evidence,
        load::{Begun, Report},
    };
    use segue_proto::control::{Applied, Judgement, LaggingProxy};
    use std::time::Duration;

    #[test]
    fn a_verdict_is_shown_once_there_is_one() {
        let mut evidence = evidence();
        let shows = |evidence: &Evidence| {
            let lines = block(evidence, Duration::from_secs(9), 9_000);
            lines.into_iter().find(|line| line.contains("verdict"))
        };
        assert_eq!(shows(&evidence), None);
        let status = evidence.upgrade.as_mut().unwrap().status.as_mut().unwrap();
        status.judgement = Some(Judgement {
            verdict: "NotYet".into(),
            requests: 120,
            eta: Some(prost_types::Duration {
                seconds: 4,
                nanos: 0,
            }),
            findings: Vec::new(),
        });
        let line = shows(&evidence).unwrap();
        assert!(
            line.ends_with("not yet known after 120 requests of this step, decided in about 4 s"),
            "{line}"
        );
    }

    fn evidence() -> Evidence {
        let mut upgrade = upgrade("WarmUp", &[("WarmUp", 500, 1_000, Some(1_100))]);
        let status = upgrade.status.as_mut().unwrap();
        status.weight = 500;
        status.step = 1;
        status.steps = 4;
        status.next_at = Some(timestamp(9_500));
        status.applied = Some(Applied {
            acked: 3,
            total: 4,
            lagging: vec![LaggingProxy {
                proxy: "shop/web".into(),
                ..LaggingProxy::default()
            }],
        });
        let mut evidence = Evidence {
            upgrade: Some(upgrade),
            ..Evidence::default()
        };
        evidence.begun.push(Begun {
            sent: 1_200,
            at: 1_201,
            version: "v1".into(),
        });
        evidence.add(Report {
            sessions: [("v1".to_owned(), 1_201)].into(),
            ..Report::default()
        });
        evidence
    }

    #[test]
    fn the_block_names_step_share_laggard_and_what_is_next() {
        let block = block(&evidence(), Duration::from_secs(61), 5_000).join("\n");
        for part in [
            "checkout under load, 1:01",
            "WarmUp (step 1 of 4)",
            "5 %, measured 0.0 % of 1 new sessions",
            "applied 3/4 proxies, lagging: shop/web",
            "in 5 s",
            "v1 1,201",
        ] {
            assert!(block.contains(part), "{part} is missing in\n{block}");
        }
    }

    #[test]
    fn a_long_line_is_cut_to_the_terminal() {
        assert_eq!(cut("weight 5 %", 10), "weight 5 %");
        assert_eq!(cut("weight 50 %", 10), "weight 50…");
    }

    #[test]
    fn without_an_upgrade_there_is_traffic_to_show() {
        let line = line(&Evidence::default(), Duration::ZERO, 0);
        assert!(line.starts_with("0:00 v1 serves | 0 requests/s"), "{line}");
    }
}
