//! The board in Prometheus' text format.

use crate::{engine::Board, event::SinkCounts, model::Phase};
use std::fmt::Write as _;

const PHASES: [Phase; 9] = [
    Phase::Pending,
    Phase::Preparing,
    Phase::WarmUp,
    Phase::Shifting,
    Phase::RollbackWindow,
    Phase::Draining,
    Phase::Succeeded,
    Phase::RollingBack,
    Phase::RolledBack,
];

/// All metrics.
pub(super) fn render(board: &Board, sinks: &[SinkCounts]) -> String {
    let mut text = String::new();
    upgrades(&mut text, board);
    events(&mut text, sinks);
    let writable = u8::from(board.journal_error.is_none());
    for (name, help, value) in [
        (
            "segue_proxies_connected",
            "Proxies connected by ADS.",
            board.proxies.len().to_string(),
        ),
        (
            "segue_generation",
            "The newest generation published.",
            board.generation.0.to_string(),
        ),
        (
            "segue_journal_writable",
            "1 while the state folder can be written; else nothing is decided.",
            writable.to_string(),
        ),
    ] {
        head(&mut text, name, help);
        line(&mut text, name, "", &value);
    }
    text
}

fn upgrades(text: &mut String, board: &Board) {
    head(text, "segue_upgrades", "Upgrades by phase.");
    for phase in PHASES {
        let count = board
            .upgrades
            .values()
            .filter(|view| view.status.phase == phase)
            .count();
        let labels = format!("phase=\"{phase}\"");
        line(text, "segue_upgrades", &labels, &count.to_string());
    }
    let name = "segue_upgrade_weight";
    head(
        text,
        name,
        "The new version's share of new sessions, 0 to 1.",
    );
    for (key, view) in &board.upgrades {
        if !view.status.phase.is_final() {
            let labels = format!(
                "namespace=\"{}\",service=\"{}\",upgrade=\"{}\"",
                key.namespace, view.spec.service.name, key.name
            );
            let weight = f64::from(view.status.weight.basis_points()) / 10_000.0;
            line(text, name, &labels, &weight.to_string());
        }
    }
}

fn events(text: &mut String, sinks: &[SinkCounts]) {
    type Count = fn(&SinkCounts) -> u64;
    let metrics: [(&str, &str, Count); 4] = [
        (
            "segue_events_pending",
            "Events that wait in the outbox for their sink.",
            |sink| sink.pending,
        ),
        (
            "segue_events_delivered_total",
            "Events that their sink has taken.",
            |sink| sink.delivered,
        ),
        (
            "segue_events_dropped_total",
            "Events that were dropped: the outbox was full, or their sink refused them.",
            |sink| sink.dropped,
        ),
        (
            "segue_event_tries_failed_total",
            "Tries to deliver an event that failed.",
            |sink| sink.failed_tries,
        ),
    ];
    for (name, help, count) in metrics {
        head(text, name, help);
        for sink in sinks {
            let shown = sink.sink.replace('\\', "\\\\").replace('"', "\\\"");
            let labels = format!("sink=\"{shown}\",queue=\"{}\"", sink.queue);
            line(text, name, &labels, &count(sink).to_string());
        }
    }
}

fn head(text: &mut String, name: &str, help: &str) {
    let kind = if name.ends_with("_total") {
        "counter"
    } else {
        "gauge"
    };
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &str, value: &str) {
    let _infallible = match labels {
        "" => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_control_plane_shows_zeros() {
        let text = render(&Board::default(), &[]);
        assert!(
            text.contains("segue_upgrades{phase=\"WarmUp\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE segue_generation gauge\nsegue_generation 0\n"));
        assert!(text.contains("segue_journal_writable 1\n"));
    }

    #[test]
    fn sinks_are_shown_with_their_counts() {
        let sink = SinkCounts {
            sink: "http://bus:80".to_owned(),
            queue: "0123456789abcdef".to_owned(),
            delivered: 7,
            pending: 2,
            dropped: 1,
            failed_tries: 9,
        };
        let text = render(&Board::default(), &[sink]);
        let labels = "{sink=\"http://bus:80\",queue=\"0123456789abcdef\"}";
        for line in [
            "# TYPE segue_events_pending gauge".to_owned(),
            format!("segue_events_pending{labels} 2"),
            "# TYPE segue_events_delivered_total counter".to_owned(),
            format!("segue_events_delivered_total{labels} 7"),
            format!("segue_events_dropped_total{labels} 1"),
            format!("segue_event_tries_failed_total{labels} 9"),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
