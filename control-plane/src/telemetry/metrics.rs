//! The board in Prometheus' text format.

use crate::{engine::Board, model::Phase};
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
pub(super) fn render(board: &Board) -> String {
    let mut text = String::new();
    upgrades(&mut text, board);
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

fn head(text: &mut String, name: &str, help: &str) {
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
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
        let text = render(&Board::default());
        assert!(
            text.contains("segue_upgrades{phase=\"WarmUp\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE segue_generation gauge\nsegue_generation 0\n"));
        assert!(text.contains("segue_journal_writable 1\n"));
    }
}
