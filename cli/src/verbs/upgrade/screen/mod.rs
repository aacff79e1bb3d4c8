//! One upgrade as a screen: state in, lines out.

mod versions;

use super::{
    terminal::{Line, Tone},
    text,
};
use crate::verbs::time;
use segue_proto::control::{Upgrade, UpgradeStatus};
use std::time::{Duration, SystemTime};

/// Events shown.
const EVENTS: usize = 5;
/// The column at which values begin.
const LABEL: usize = 13;

/// Whether what is shown is how things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// The control plane says so.
    Live,
    /// It does not answer.
    Lost {
        /// Since when.
        since: SystemTime,
        /// Why, as far as known.
        reason: String,
    },
}

/// The screen of one upgrade.
pub(super) fn lines(upgrade: &Upgrade, contact: &Contact, now: SystemTime) -> Vec<Line> {
    let status = upgrade.status.clone().unwrap_or_default();
    let mut page = Page::default();
    head(&mut page, upgrade, &status, now);
    stale(&mut page, contact, now);
    page.field("Weight", Tone::Plain, weight(&status));
    page.field("Applied", applied_tone(&status), text::applied(&status));
    let now_text = text::now(&status);
    // The reason stands above.
    if status.rollback_reason.is_empty() || !now_text.ends_with(&status.rollback_reason) {
        page.field("Now", Tone::Plain, now_text);
    }
    page.field("Until", Tone::Plain, until(&status, now));
    verdict(&mut page, &status);
    for condition in status.conditions.iter().filter(|c| c.status) {
        page.field(
            "Condition",
            Tone::Warn,
            format!("{}: {}", condition.r#type, condition.message),
        );
    }
    page.blank();
    versions::show(&mut page, &status, now);
    page.blank();
    way_back(&mut page, &status);
    next(&mut page, upgrade, &status);
    events(&mut page, &status);
    page.lines
}

/// The screen of all upgrades: a line each, those that go on first.
pub(super) fn table(upgrades: &[&Upgrade], contact: &Contact, now: SystemTime) -> Vec<Line> {
    let mut page = Page::default();
    page.line(
        Tone::Strong,
        format!(
            "{} upgrade{}   {}",
            upgrades.len(),
            if upgrades.len() == 1 { "" } else { "s" },
            clock(now)
        ),
    );
    stale(&mut page, contact, now);
    let mut sorted: Vec<&Upgrade> = upgrades.to_vec();
    sorted.sort_by_key(|upgrade| {
        (
            is_over(upgrade),
            upgrade.namespace.clone(),
            upgrade.name.clone(),
        )
    });
    let listed: Vec<Upgrade> = sorted.iter().map(|upgrade| (*upgrade).clone()).collect();
    for (index, line) in text::list(&listed).lines().enumerate() {
        let of = index.checked_sub(1).and_then(|index| sorted.get(index));
        let tone = match of {
            None => Tone::Dim,
            Some(upgrade) => tone(&upgrade.status.clone().unwrap_or_default()),
        };
        page.line(tone, line.to_owned());
    }
    page.lines
}

#[derive(Default)]
struct Page {
    lines: Vec<Line>,
}

impl Page {
    fn line(&mut self, tone: Tone, text: String) {
        self.lines.push(Line::new(tone, text));
    }

    fn blank(&mut self) {
        self.line(Tone::Plain, String::new());
    }

    /// Left out where there is nothing to say.
    fn field(&mut self, label: &str, tone: Tone, value: impl AsRef<str>) {
        let value = value.as_ref();
        if !value.is_empty() {
            self.line(tone, format!("{label:<LABEL$}{value}"));
        }
    }
}

fn head(page: &mut Page, upgrade: &Upgrade, status: &UpgradeStatus, now: SystemTime) {
    let spec = upgrade.spec.clone().unwrap_or_default();
    let target = spec.target_ref.unwrap_or_default();
    page.line(
        Tone::Strong,
        format!(
            "{}/{}   {} {}   {} -> {}   {}",
            upgrade.namespace,
            upgrade.name,
            target.kind,
            target.name,
            spec.from,
            spec.to,
            clock(now)
        ),
    );
    page.field("Phase", tone(status), phase(status));
    page.field("Because", Tone::Bad, &status.rollback_reason);
}

/// A finished rollback is a healthy service.
fn phase(status: &UpgradeStatus) -> String {
    let old = status.old.as_ref().map_or("", |old| old.id.as_str());
    let new = status.new.as_ref().map_or("", |new| new.id.as_str());
    let paused = if status.paused { ", paused" } else { "" };
    match status.phase.as_str() {
        "RolledBack" => format!("RolledBack: healthy on {old}, the upgrade to {new} failed"),
        "Succeeded" => format!("Succeeded: {new} serves everything"),
        phase => match status.step {
            0 => format!("{phase}{paused}"),
            step => format!("{phase}, step {step}/{}{paused}", status.steps),
        },
    }
}

/// What is shown is old: that must be the first thing seen.
fn stale(page: &mut Page, contact: &Contact, now: SystemTime) {
    let Contact::Lost { since, reason } = contact else {
        return;
    };
    let age = time::short(now.duration_since(*since).unwrap_or_default());
    page.line(
        Tone::Bad,
        format!(
            "NOT UP TO DATE: no control plane answers since {} ({age}): {reason}",
            clock(*since)
        ),
    );
    page.line(
        Tone::Bad,
        "What follows was true then. Proxies go on with what they have; trying again".to_owned(),
    );
}

fn tone(status: &UpgradeStatus) -> Tone {
    match status.phase.as_str() {
        "Succeeded" => Tone::Good,
        "RollingBack" | "RolledBack" => Tone::Bad,
        _ if status.paused => Tone::Warn,
        _ => Tone::Plain,
    }
}

fn is_over(upgrade: &Upgrade) -> bool {
    text::outcome(upgrade).is_some()
}

fn weight(status: &UpgradeStatus) -> String {
    let measured = match status.measured_weight {
        Some(measured) => format!("{} measured in this step", hundredths(measured)),
        None if text::is_judged(status) => "nothing measured yet".to_owned(),
        None => return text::percent(status.weight),
    };
    format!("{} set, {measured}", text::percent(status.weight))
}

/// `24.10 %`
fn hundredths(basis_points: u32) -> String {
    format!("{}.{:02} %", basis_points / 100, basis_points % 100)
}

fn applied_tone(status: &UpgradeStatus) -> Tone {
    let lagging = status.applied.as_ref().map(|applied| &applied.lagging);
    match lagging {
        Some(lagging) if lagging.iter().any(|proxy| !proxy.nack.is_empty()) => Tone::Bad,
        Some(lagging) if !lagging.is_empty() => Tone::Warn,
        _ => Tone::Plain,
    }
}

fn until(status: &UpgradeStatus, now: SystemTime) -> String {
    let Some(at) = status.next_at.and_then(|at| SystemTime::try_from(at).ok()) else {
        return String::new();
    };
    match at.duration_since(now) {
        Ok(left) => format!("{} (in {})", clock(at), time::short(left)),
        Err(_) => clock(at),
    }
}

fn verdict(page: &mut Page, status: &UpgradeStatus) {
    let Some(judgement) = &status.judgement else {
        return;
    };
    if !text::is_judged(status) {
        let last = format!(
            "{} after {} requests; nothing is analysed now",
            text::verdict(&judgement.verdict),
            judgement.requests
        );
        page.field("Last verdict", Tone::Dim, last);
        return;
    }
    let eta = judgement
        .eta
        .and_then(|eta| Duration::try_from(eta).ok())
        .map_or_else(String::new, |eta| {
            format!(", about {} to go", time::short(eta))
        });
    page.field(
        "Verdict",
        verdict_tone(&judgement.verdict),
        format!(
            "{} after {} requests in this step{eta}",
            text::verdict(&judgement.verdict),
            judgement.requests
        ),
    );
    for finding in &judgement.findings {
        let shared = if finding.shared {
            " (the old version too)"
        } else {
            ""
        };
        page.line(
            verdict_tone(&finding.verdict),
            format!("  {:<12} {}{shared}", finding.test, finding.text),
        );
    }
}

fn verdict_tone(verdict: &str) -> Tone {
    match verdict {
        "Worse" => Tone::Bad,
        "NotWorse" => Tone::Good,
        _ => Tone::Plain,
    }
}

/// How long the old version stays, and whether it could take over now.
fn way_back(page: &mut Page, status: &UpgradeStatus) {
    let (Some(old), Some(new)) = (&status.old, &status.new) else {
        return;
    };
    let window = text::policy_value(status, "rollback.window").unwrap_or("its window");
    let sessions = text::policy_value(status, "drain.sessionTimeout").unwrap_or("a while");
    page.field(
        "Old version",
        Tone::Plain,
        match status.phase.as_str() {
            "Succeeded" => "gone".to_owned(),
            "RolledBack" => "serves everything".to_owned(),
            "RollingBack" => "takes everything back".to_owned(),
            "Draining" => format!(
                "goes: {} of {} instances drained; sessions are held {sessions} at most",
                status.drained.len(),
                old.instances
            ),
            "RollbackWindow" => match status.next_at.and_then(|at| SystemTime::try_from(at).ok()) {
                Some(at) => format!(
                    "kept until {} at least, and until its last session ends",
                    clock(at)
                ),
                None => "kept".to_owned(),
            },
            _ => format!("kept until {window} after 100 %, and until its last session ends"),
        },
    );
    let warm = format!("{} warm, {}/{} instances", old.id, old.ready, old.instances);
    let (tone, ready) = match status.phase.as_str() {
        "Succeeded" => (Tone::Dim, format!("no: {} is gone", old.id)),
        "RollingBack" | "RolledBack" => (Tone::Plain, format!("{} goes or is gone", new.id)),
        _ if old.ready == 0 => (
            Tone::Bad,
            format!("NOT READY: no instance of {} is ready", old.id),
        ),
        _ if old.ready < old.instances => (Tone::Warn, format!("partly: {warm}")),
        _ => (Tone::Good, format!("ready: {warm}")),
    };
    page.field("Rollback", tone, ready);
}

/// What a person may do now, and what to type.
fn next(page: &mut Page, upgrade: &Upgrade, status: &UpgradeStatus) {
    let verbs: &[&str] = match status.phase.as_str() {
        "Succeeded" => &[],
        "RolledBack" => &["explain", "retry"],
        "RollingBack" => &["explain"],
        "Pending" => &["start"],
        _ if status.paused => &["resume", "rollback"],
        "Preparing" => &["pause", "rollback"],
        "Draining" => &["rollback"],
        _ => &["promote", "pause", "rollback"],
    };
    if !verbs.is_empty() {
        let verbs = verbs.join("|");
        page.field(
            "Next",
            Tone::Dim,
            format!(
                "segue upgrade {verbs} {}/{}",
                upgrade.namespace, upgrade.name
            ),
        );
    }
}

fn events(page: &mut Page, status: &UpgradeStatus) {
    for sink in status.sinks.iter().filter(|sink| text::is_troubled(sink)) {
        page.field("Sink", Tone::Warn, text::sink(sink));
    }
    // The newest first: a small screen cuts off the end.
    for (index, event) in status.events.iter().rev().take(EVENTS).enumerate() {
        let label = if index == 0 { "Events" } else { "" };
        let at = event.at.and_then(|at| SystemTime::try_from(at).ok());
        page.field(
            label,
            Tone::Plain,
            format!(
                "{} {} {}",
                at.map(clock).unwrap_or_default(),
                event.reason,
                event.message
            ),
        );
    }
}

/// `12:03:20 UTC`
pub(super) fn clock(at: SystemTime) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    format!(
        "{:02}:{:02}:{:02} UTC",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests;
