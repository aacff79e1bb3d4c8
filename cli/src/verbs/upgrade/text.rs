//! Upgrades as text for people.

use crate::verbs::{table::table, time};
use segue_proto::control::{EventSink, PolicyField, Upgrade, UpgradeStatus, VersionStatus};
use std::{fmt::Write as _, time::SystemTime};

/// The table of `list`.
pub(super) fn list(upgrades: &[Upgrade]) -> String {
    if upgrades.is_empty() {
        return "no upgrades yet\n".to_owned();
    }
    let rows: Vec<Vec<String>> = upgrades
        .iter()
        .map(|upgrade| {
            let status = upgrade.status.clone().unwrap_or_default();
            let spec = upgrade.spec.clone().unwrap_or_default();
            let created = upgrade.created.and_then(|at| SystemTime::try_from(at).ok());
            vec![
                upgrade.namespace.clone(),
                upgrade.name.clone(),
                spec.target_ref
                    .map(|target| target.name)
                    .unwrap_or_default(),
                spec.from,
                spec.to,
                phase(&status),
                percent(status.weight),
                applied(&status),
                short_verdict(&status),
                created.map(time::ago).unwrap_or_default(),
            ]
        })
        .collect();
    table(
        &[
            "NAMESPACE",
            "NAME",
            "TARGET",
            "FROM",
            "TO",
            "PHASE",
            "WEIGHT",
            "APPLIED",
            "VERDICT",
            "AGE",
        ],
        &rows,
    )
}

/// One line on where an upgrade stands.
pub(super) fn line(upgrade: &Upgrade) -> String {
    let status = upgrade.status.clone().unwrap_or_default();
    let mut line = format!(
        "{}/{}: {} {}, {}",
        upgrade.namespace,
        upgrade.name,
        phase(&status),
        percent(status.weight),
        applied(&status),
    );
    let verdict = short_verdict(&status);
    if !verdict.is_empty() {
        let _infallible = write!(line, ", {verdict}");
    }
    let now = now(&status);
    if !now.is_empty() {
        let _infallible = write!(line, " - {now}");
    }
    line
}

/// What goes on, without what analysis says where that is shown beside it.
pub(super) fn now(status: &UpgradeStatus) -> &str {
    match (&status.judgement, status.message.split_once("; analysis: ")) {
        (Some(_), Some((now, _))) => now,
        _ => &status.message,
    }
}

/// How it ended: succeeded, or the reason why not; None: it goes on.
pub(super) fn outcome(upgrade: &Upgrade) -> Option<Result<(), String>> {
    let status = upgrade.status.as_ref()?;
    match status.phase.as_str() {
        "Succeeded" => Some(Ok(())),
        "RolledBack" => Some(Err(match status.rollback_reason.as_str() {
            "" => "rolled back".to_owned(),
            reason => format!("rolled back: {reason}"),
        })),
        _ => None,
    }
}

/// True while verdicts are new ones; after that the last one stays in the status.
pub(super) fn is_judged(status: &UpgradeStatus) -> bool {
    matches!(
        status.phase.as_str(),
        "WarmUp" | "Shifting" | "RollbackWindow"
    )
}

/// `not worse`, while something is analysed.
fn short_verdict(status: &UpgradeStatus) -> String {
    match &status.judgement {
        Some(judgement) if is_judged(status) => verdict(&judgement.verdict).to_owned(),
        _ => String::new(),
    }
}

/// A verdict for people.
pub(super) fn verdict(verdict: &str) -> &str {
    match verdict {
        "NotYet" => "not yet",
        "NotWorse" => "not worse",
        "Worse" => "worse",
        other => other,
    }
}

/// A value of the effective policy.
pub(super) fn policy_value<'a>(status: &'a UpgradeStatus, path: &str) -> Option<&'a str> {
    let field = status.policy.iter().find(|field| field.path == path)?;
    Some(&field.value)
}

/// Everything that people want to know of one upgrade.
pub(super) fn describe(upgrade: &Upgrade) -> String {
    let status = upgrade.status.clone().unwrap_or_default();
    let spec = upgrade.spec.clone().unwrap_or_default();
    let target = spec.target_ref.unwrap_or_default();
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            let _infallible = writeln!(text, "{name:<11}{value}");
        }
    };
    field("Upgrade", format!("{}/{}", upgrade.namespace, upgrade.name));
    field(
        "Target",
        format!(
            "{} {}: {} -> {}",
            target.kind, target.name, spec.from, spec.to
        ),
    );
    field("Phase", phase(&status));
    field("Weight", weight(&status));
    field("Applied", applied(&status));
    field("Now", now(&status).to_owned());
    field("Until", next_at(&status));
    for (name, side) in [("Old", &status.old), ("New", &status.new)] {
        field(name, side.as_ref().map(version).unwrap_or_default());
    }
    field("Drained", status.drained.join(", "));
    field("Why back", status.rollback_reason.clone());
    if let Some(judgement) = &status.judgement {
        field("Verdict", verdict(&judgement.verdict).to_owned());
        for finding in &judgement.findings {
            field("", finding.text.clone());
        }
    }
    for condition in status
        .conditions
        .iter()
        .filter(|condition| condition.status)
    {
        field(
            "Condition",
            format!(
                "{} ({}): {}",
                condition.r#type, condition.reason, condition.message
            ),
        );
    }
    for (name, said) in refusals(&status) {
        field("Refused by", format!("{name}: {said}"));
    }
    for sink in &status.sinks {
        field("Sink", self::sink(sink));
    }
    text.push('\n');
    text.push_str(&history(&status));
    if !status.policy.is_empty() {
        text.push('\n');
        text.push_str(&policy(&status.policy));
    }
    text
}

/// The effective policy, with where each value comes from.
pub(in crate::verbs) fn policy(fields: &[PolicyField]) -> String {
    let rows: Vec<Vec<String>> = fields
        .iter()
        .map(|field| {
            vec![
                field.path.clone(),
                field.source.clone(),
                // The last column: lists are long.
                field.value.clone(),
            ]
        })
        .collect();
    table(&["POLICY", "SOURCE", "VALUE"], &rows)
}

fn history(status: &UpgradeStatus) -> String {
    let rows: Vec<Vec<String>> = status
        .history
        .iter()
        .map(|line| {
            vec![
                line.at.map(|at| at.to_string()).unwrap_or_default(),
                line.phase.clone(),
                percent(line.weight),
                took(line.at, line.applied_at),
                line.reason.clone(),
            ]
        })
        .collect();
    table(&["AT", "PHASE", "WEIGHT", "APPLIED IN", "REASON"], &rows)
}

fn took<T>(from: Option<T>, to: Option<T>) -> String
where
    SystemTime: TryFrom<T>,
{
    let time = |at: Option<T>| at.and_then(|at| SystemTime::try_from(at).ok());
    match (time(from), time(to)) {
        (Some(from), Some(to)) => {
            let took = to.duration_since(from).unwrap_or_default();
            format!("{} ms", took.as_millis())
        }
        _ => String::new(),
    }
}

fn version(version: &VersionStatus) -> String {
    format!(
        "{}: {}/{} ready, {:.0} requests/s, {:.0} errors/s, {} requests and {} connections active",
        version.id,
        version.ready,
        version.instances,
        version.requests_per_second,
        version.errors_per_second,
        version.active_requests,
        version.active_connections
    )
}

fn phase(status: &UpgradeStatus) -> String {
    if status.paused {
        format!("{} (paused)", status.phase)
    } else {
        status.phase.clone()
    }
}

fn weight(status: &UpgradeStatus) -> String {
    match status.step {
        0 => percent(status.weight),
        step => format!(
            "{} (step {step} of {})",
            percent(status.weight),
            status.steps
        ),
    }
}

/// Refusals that are shown with their words.
const REFUSALS: usize = 5;

/// `37/38 applied, 1 lagging 4 s: shop/web-2`.
pub(super) fn applied(status: &UpgradeStatus) -> String {
    let applied = status.applied.clone().unwrap_or_default();
    let mut text = format!("{}/{} applied", applied.acked, applied.total);
    if !applied.lagging.is_empty() {
        let longest = applied
            .lagging
            .iter()
            .filter_map(|lagging| lagging.since.map(|since| since.seconds))
            .max()
            .unwrap_or_default();
        let names: Vec<&str> = applied
            .lagging
            .iter()
            .take(3)
            .map(|lagging| lagging.proxy.as_str())
            .collect();
        let more = if applied.lagging.len() > names.len() {
            ", …"
        } else {
            ""
        };
        let _infallible = write!(
            text,
            ", {} lagging {longest} s: {}{more}",
            applied.lagging.len(),
            names.join(", ")
        );
    }
    text
}

/// The first proxies that refuse the present step, and what they say.
fn refusals(status: &UpgradeStatus) -> impl Iterator<Item = (&str, &str)> {
    let lagging = status.applied.as_ref().map(|applied| &applied.lagging);
    let refusing = lagging.into_iter().flatten().filter(|l| !l.nack.is_empty());
    refusing
        .take(REFUSALS)
        .map(|l| (l.proxy.as_str(), l.nack.as_str()))
}

/// How a sink of events does: `http://bus:80: 812 told, 3 waiting; last try: 503 Service Unavailable`.
pub(super) fn sink(sink: &EventSink) -> String {
    let mut text = format!("{}: {} told", sink.address, sink.delivered);
    let counts = [
        (sink.waiting, "waiting"),
        (sink.refused, "refused (see docs/events.md, dead letters)"),
        (sink.dropped, "dropped"),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        let _infallible = write!(text, ", {count} {what}");
    }
    if !sink.failure.is_empty() {
        let _infallible = write!(text, "; last try: {}", sink.failure);
    }
    text
}

/// True where somebody should look after a sink.
pub(super) fn is_troubled(sink: &EventSink) -> bool {
    !sink.failure.is_empty() || sink.refused > 0 || sink.dropped > 0
}

fn next_at(status: &UpgradeStatus) -> String {
    let Some(at) = status.next_at else {
        return String::new();
    };
    let left = SystemTime::try_from(at)
        .map(time::until)
        .unwrap_or_default();
    match left.as_str() {
        "" => at.to_string(),
        left => format!("{at} (in {left})"),
    }
}

/// Basis points as percent.
pub(super) fn percent(basis_points: u32) -> String {
    if basis_points.is_multiple_of(100) {
        format!("{} %", basis_points / 100)
    } else {
        format!("{:.2} %", f64::from(basis_points) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segue_proto::control::{Applied, EventSink, LaggingProxy};

    #[test]
    fn who_lags_is_named() {
        let status = UpgradeStatus {
            applied: Some(Applied {
                acked: 37,
                total: 38,
                lagging: vec![LaggingProxy {
                    proxy: "shop/web-2".to_owned(),
                    ..LaggingProxy::default()
                }],
            }),
            ..UpgradeStatus::default()
        };
        assert_eq!(applied(&status), "37/38 applied, 1 lagging 0 s: shop/web-2");
    }

    #[test]
    fn who_refuses_and_which_sink_fails_is_told_with_the_words() {
        let refusing = |proxy: &str, nack: &str| LaggingProxy {
            proxy: proxy.to_owned(),
            nack: nack.to_owned(),
            ..LaggingProxy::default()
        };
        let troubled = EventSink {
            address: "http://bus:80".to_owned(),
            waiting: 3,
            delivered: 41,
            refused: 2,
            failure: "503 Service Unavailable".to_owned(),
            ..EventSink::default()
        };
        let well = EventSink {
            address: "nats://bus:4222/up".to_owned(),
            delivered: 44,
            ..EventSink::default()
        };
        assert!(is_troubled(&troubled) && !is_troubled(&well));
        let text = describe(&Upgrade {
            status: Some(UpgradeStatus {
                applied: Some(Applied {
                    acked: 1,
                    total: 3,
                    lagging: vec![
                        refusing("shop/web-1", ""),
                        refusing("shop/web-2", "route: unknown cluster"),
                    ],
                }),
                sinks: vec![troubled, well],
                ..UpgradeStatus::default()
            }),
            ..Upgrade::default()
        });
        for line in [
            "Refused by shop/web-2: route: unknown cluster\n",
            "Sink       http://bus:80: 41 told, 3 waiting, 2 refused (see docs/events.md, dead letters); last try: 503 Service Unavailable\n",
            "Sink       nats://bus:4222/up: 44 told\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("shop/web-1: \n"), "{text}");
    }

    #[test]
    fn what_analysis_says_is_not_said_twice() {
        let mut status = UpgradeStatus {
            message: "at 10 %, waits for a verdict; analysis: not yet (157 requests)".to_owned(),
            ..UpgradeStatus::default()
        };
        assert_eq!(now(&status), status.message);
        status.judgement = Some(segue_proto::control::Judgement::default());
        assert_eq!(now(&status), "at 10 %, waits for a verdict");
    }

    #[test]
    fn a_description_has_a_line_for_each_thing_that_is_known() {
        let text = describe(&Upgrade {
            namespace: "shop".to_owned(),
            name: "checkout-v2-1".to_owned(),
            status: Some(UpgradeStatus {
                phase: "WarmUp".to_owned(),
                weight: 500,
                step: 1,
                steps: 4,
                ..UpgradeStatus::default()
            }),
            ..Upgrade::default()
        });
        assert!(text.contains("Weight     5 % (step 1 of 4)\n"), "{text}");
        assert!(!text.contains("Until"), "{text}");
    }
}
