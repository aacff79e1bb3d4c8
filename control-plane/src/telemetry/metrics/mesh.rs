//! The metrics of the control plane as a whole, and of the sinks that it tells.

use super::text::{
    Family,
    Kind::{Counter, Gauge},
    Samples,
};
use crate::{
    engine::Board,
    event::SinkCounts,
    listen::DoorCounts,
    model::{Phase, ROLLBACK_RULES},
};

/// The control plane's.
#[rustfmt::skip]
pub(super) const MESH: &[Family<Board>] = &[
    Family { name: "segue_upgrades", kind: Gauge, show: by_phase,
        help: "Upgrades by phase, those that ended and are remembered too." },
    Family { name: "segue_upgrades_ended_total", kind: Counter, show: ends,
        help: "Upgrades that ended since this process began, by outcome." },
    Family { name: "segue_upgrade_rollbacks_total", kind: Counter, show: rollbacks,
        help: "Upgrades that began to go back since this process began, by the rule that decided. Commanded is a person; every other one says what the new version did." },
    Family { name: "segue_proxies_connected", kind: Gauge, show: |samples, board| samples.put(board.proxies.len()),
        help: "Proxies connected by ADS. A sudden drop is a network that parts, or a fleet that restarts." },
    Family { name: "segue_generation", kind: Gauge, show: |samples, board| samples.put(board.generation.0),
        help: "The newest generation published: grows with every change that proxies are told." },
    Family { name: "segue_journal_writable", kind: Gauge, show: |samples, board| samples.put(u8::from(board.journal_error.is_none())),
        help: "1 while the state folder can be written. At 0 nothing is decided but to go back: a full disk or a lost volume wants a person." },
];

/// Each sink's.
#[rustfmt::skip]
pub(super) const SINK: &[Family<SinkCounts>] = &[
    Family { name: "segue_events_pending", kind: Gauge, show: |samples, sink| samples.put(sink.pending),
        help: "Events that wait in the outbox for their sink. Growth means that the sink is down." },
    Family { name: "segue_events_delivered_total", kind: Counter, show: |samples, sink| samples.put(sink.delivered),
        help: "Events that their sink has taken since this process began." },
    Family { name: "segue_events_dropped_total", kind: Counter, show: |samples, sink| samples.put(sink.dropped),
        help: "Events that were dropped: the outbox was full, or no policy named the sink any more. These are lost." },
    Family { name: "segue_events_refused_total", kind: Counter, show: |samples, sink| samples.put(sink.refused),
        help: "Events that their sink refused (a 4xx) since this process began: they lie in STATE/outbox/dead-letters with the reason. Mend the sink, or notify in the policy." },
    Family { name: "segue_event_tries_failed_total", kind: Counter, show: |samples, sink| samples.put(sink.failed_tries),
        help: "Tries to deliver an event that failed." },
];

/// Each listener's.
#[rustfmt::skip]
pub(super) const LISTENER: &[Family<DoorCounts>] = &[
    Family { name: "segue_connections", kind: Gauge, show: |samples, door| samples.put(door.open),
        help: "Connections open at the listener: a proxy has one, and so has a command line that watches." },
    Family { name: "segue_connections_limit", kind: Gauge, show: |samples, door| samples.put(door.limit),
        help: "Connections that may be open at the listener." },
    Family { name: "segue_connections_refused_total", kind: Counter, show: |samples, door| samples.put(door.refused),
        help: "Connections closed at once, since as many were open as may be. Proxies that are sent away keep what they have and miss what is new." },
];

fn by_phase(samples: &mut Samples<'_>, board: &Board) {
    for phase in Phase::ALL {
        let views = board.upgrades.values();
        let count = views.filter(|view| view.status.phase == phase).count();
        samples.put_with(&[("phase", &phase.to_string())], count);
    }
}

fn ends(samples: &mut Samples<'_>, board: &Board) {
    samples.put_with(&[("outcome", "Succeeded")], board.ends.succeeded);
    samples.put_with(&[("outcome", "RolledBack")], board.ends.rolled_back);
}

/// All rules from the beginning: the first rollback by a rule is an increase, not a new series.
fn rollbacks(samples: &mut Samples<'_>, board: &Board) {
    for rule in ROLLBACK_RULES {
        let count = board.ends.rollbacks.get(rule).copied().unwrap_or(0);
        samples.put_with(&[("rule", rule)], count);
    }
}
