//! The board in Prometheus' text format. It is made when somebody asks, from what the engine shows;
//! the engine does nothing for it.
//!
//! An upgrade is shown while it runs and a while longer, so that each is scraped once more after
//! its end; then its series vanish.

mod mesh;
mod text;
mod upgrade;

#[cfg(test)]
mod tests;

use self::{
    mesh::{LISTENER, MESH, SINK},
    text::labels_of,
    upgrade::{Shown, UPGRADE, VERSION},
};
use crate::{
    engine::{Board, UpgradeView, VersionNumbers},
    event::SinkCounts,
    listen::DoorCounts,
    model::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// How long an upgrade that has ended is still shown.
const AFTER_THE_END: Duration = Duration::from_secs(15 * 60);

/// All metrics.
pub(super) fn render(
    board: &Board,
    (sinks, doors): (&[SinkCounts], &[DoorCounts]),
    now: Timestamp,
) -> String {
    let mut text = String::new();
    for family in MESH {
        family.write(&mut text, [("", board)]);
    }
    let shown: Vec<(String, Shown)> = board
        .upgrades
        .values()
        .filter(|view| is_shown(view, now))
        .map(|view| {
            let view = Arc::clone(view);
            (labels(&view), Shown { view, now })
        })
        .collect();
    for family in UPGRADE {
        family.write(&mut text, shown.iter().map(|(l, s)| (l.as_str(), s)));
    }
    let versions: Vec<(String, &VersionNumbers)> = shown
        .iter()
        .flat_map(|(labels, Shown { view, .. })| {
            [("old", &view.old), ("new", &view.new)].map(|(role, numbers)| {
                let own = labels_of(&[("version", &numbers.id.0), ("role", role)]);
                (format!("{labels},{own}"), numbers)
            })
        })
        .collect();
    for family in VERSION {
        family.write(&mut text, versions.iter().map(|(l, n)| (l.as_str(), *n)));
    }
    let sinks: Vec<(String, &SinkCounts)> = sinks
        .iter()
        .map(|sink| {
            (
                labels_of(&[("sink", &sink.sink), ("queue", &sink.queue)]),
                sink,
            )
        })
        .collect();
    for family in SINK {
        family.write(&mut text, sinks.iter().map(|(l, s)| (l.as_str(), *s)));
    }
    let doors: Vec<(String, &DoorCounts)> = doors
        .iter()
        .map(|door| (labels_of(&[("listener", door.listener)]), door))
        .collect();
    for family in LISTENER {
        family.write(&mut text, doors.iter().map(|(l, d)| (l.as_str(), *d)));
    }
    text
}

fn is_shown(view: &UpgradeView, now: Timestamp) -> bool {
    !view.status.phase.is_final() || now.since(view.status.phase_since) < AFTER_THE_END
}

/// What every metric of an upgrade bears.
fn labels(view: &UpgradeView) -> String {
    let spec = &view.spec;
    labels_of(&[
        ("namespace", &spec.key.namespace),
        ("service", &spec.service.name),
        ("upgrade", &spec.key.name),
        ("from", &spec.from.0),
        ("to", &spec.to.0),
    ])
}
