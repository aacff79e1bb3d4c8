//! Numbers and durations as people read and write them. Pure.

use std::time::Duration;

/// 12,345
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as `1.9 ms`.
pub(super) fn milliseconds(us: Option<u64>) -> String {
    us.map_or_else(
        || "-".to_owned(),
        |us| format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
    )
}

/// `0:42`
pub(super) fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Reads `12s`, `250ms`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let n: u64 = digits
        .parse()
        .map_err(|_| "a duration is written like 12s, 250ms or 2m".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(n)),
        "s" => Ok(Duration::from_secs(n)),
        "m" => Ok(Duration::from_secs(n.saturating_mul(60))),
        _ => Err(format!("{unit:?} is none of the units ms, s, m")),
    }
}

#[cfg(test)]
mod tests {
    use super::{clock, count, duration, milliseconds};
    use std::time::Duration;

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(7), "7");
        assert_eq!(count(123), "123");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(milliseconds(Some(1_950)), "1.9 ms");
        assert_eq!(milliseconds(None), "-");
        assert_eq!(clock(Duration::from_secs(62)), "1:02");
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("12s"), Ok(Duration::from_secs(12)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "12", "12h", "-1s", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
