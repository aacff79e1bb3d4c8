//! Points in time and durations for people.

use std::time::{Duration, SystemTime};

/// `12s`, `3m05s`, `2h10m`, `4d03h`.
pub(super) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d{:02}h", hours % 24),
        () if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{:02}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// How long ago.
pub(super) fn ago(at: SystemTime) -> String {
    short(at.elapsed().unwrap_or_default())
}

/// How long until then; empty where it is past.
pub(super) fn until(at: SystemTime) -> String {
    at.duration_since(SystemTime::now())
        .map(short)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (65, "1m05s"),
            (7_800, "2h10m"),
            (356_400, "4d03h"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
