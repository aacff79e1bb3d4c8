//! What analysis says: kept in the status, told where it changes, put into words.
//!
//! Only weight up needs a *not worse*; the 100 % step and the window have no weight to go up to, and
//! end by time. *Worse* goes back from all of them (see `trigger`).

use super::run::Run;
use crate::model::{Finding, Judgement, Verdict};
use std::time::Duration;

/// Takes note of what analysis says now. A change is told, a look alone is not.
pub(super) fn look(run: &mut Run<'_>) {
    if !run.status.phase.is_analysed() {
        return;
    }
    let before = run.status.judgement.as_ref().map(|j| j.verdict);
    let seen = run.seen;
    let Some(judgement) = &seen.judgement else {
        return;
    };
    if run.status.judgement.as_ref() != Some(judgement) {
        run.status.judgement = Some(judgement.clone());
    }
    // A step begins with "not yet": that is no news.
    let news = before.map_or(judgement.verdict != Verdict::NotYet, |before| {
        before != judgement.verdict
    });
    if news {
        let message = format!(
            "at {}, analysis: {}",
            run.status.weight,
            describe(judgement)
        );
        run.record("VerdictChanged", message.clone());
        run.notify("VerdictChanged", message);
    }
}

/// What analysis says of the present step; None: it is not analysed.
pub(super) fn present<'a>(run: &Run<'a>) -> Option<&'a Judgement> {
    let seen = run.seen;
    let judgement = seen.judgement.as_ref();
    judgement.filter(|_| run.status.phase.is_analysed())
}

/// True where analysis says *worse*.
pub(super) fn is_worse(run: &Run<'_>) -> bool {
    present(run).is_some_and(|judgement| judgement.verdict == Verdict::Worse)
}

/// `not yet (212 requests; a decision in about 4 min): errors undecided, …`
pub(super) fn describe(judgement: &Judgement) -> String {
    let verdict = match judgement.verdict {
        Verdict::NotYet => "not yet",
        Verdict::NotWorse => "not worse",
        Verdict::Worse => "worse",
    };
    let requests = judgement.requests;
    let unit = if requests == 1 { "request" } else { "requests" };
    let eta = judgement.eta.map_or(String::new(), |eta| {
        format!("; a decision in about {}", duration(eta))
    });
    let head = format!("{verdict} ({requests} {unit}{eta})");
    let texts = texts(judgement.findings.iter());
    if texts.is_empty() {
        head
    } else {
        format!("{head}: {texts}")
    }
}

/// What makes it worse, and whether the old version suffers it too in every part.
pub(super) fn worse(judgement: &Judgement) -> (String, bool) {
    let (shared, own): (Vec<&Finding>, Vec<&Finding>) = judgement
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Worse)
        .partition(|finding| finding.shared);
    let alike = own.is_empty() && !shared.is_empty();
    let text = texts(if alike { shared } else { own }.into_iter());
    let text = if text.is_empty() {
        "analysis says that the new version is worse".to_owned()
    } else {
        text
    };
    (text, alike)
}

fn texts<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let texts: Vec<&str> = findings
        .map(|finding| finding.text.as_str())
        .filter(|text| !text.is_empty())
        .collect();
    texts.join("; ")
}

/// `40 s`, `4 min`, `3 h`: rounded up, for people.
pub(super) fn duration(length: Duration) -> String {
    let seconds = length.as_millis().div_ceil(1_000);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}
