//! Values with a notation of their own: `10m`, `1h30m`, `250ms`; `5`, `99.5`; `0.5` seconds.

use crate::model::Share;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use std::{fmt, time::Duration};

/// A duration, written as `10m`, `250ms` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

impl Period {
    /// Reads `1h30m`; units are `d`, `h`, `m`, `s` and `ms`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, tail) = rest.split_at(digits);
            let (unit, factor) = UNITS
                .iter()
                .find(|(unit, _)| starts_with_unit(tail, unit))?;
            let millis = number.parse::<u64>().ok()?.checked_mul(*factor)?;
            total = total.checked_add(millis)?;
            rest = tail.get(unit.len()..)?;
        }
        (!text.is_empty()).then_some(Self(Duration::from_millis(total)))
    }
}

/// True where the text begins with this unit and then ends or goes on with a number.
fn starts_with_unit(text: &str, unit: &str) -> bool {
    text.strip_prefix(unit)
        .is_some_and(|rest| rest.chars().next().is_none_or(|c| c.is_ascii_digit()))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1_u64)] {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;

        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 10m, 250ms or 1h30m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                Period::parse(text).ok_or_else(|| {
                    E::custom(format!(
                        "{text:?} is not a duration such as 10m, 250ms or 1h30m"
                    ))
                })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Period, E> {
                if number == 0 {
                    return Ok(Period(Duration::ZERO));
                }
                Err(E::custom(format!(
                    "{number} lacks a unit: write {number}s, {number}m or {number}h"
                )))
            }
        }

        deserializer.deserialize_any(PeriodVisitor)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A share in percent, to two decimal places: `5`, `0.5`, `5%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub Share);

impl Percent {
    /// Reads `5`, `0.25` or `5%`, in tenths of a thousandth and so exactly.
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%').trim_end();
        let out_of_range = || format!("{number} is not between 0 and 100");
        if number.starts_with('-') {
            return Err(out_of_range());
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = fraction.trim_end_matches('0');
        let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return Err(format!("{text:?} is not a percentage"));
        }
        if fraction.len() > 2 {
            return Err(format!("{number} has more than two decimal places"));
        }
        let points = format!("{whole}{fraction:0<2}");
        points
            .parse()
            .ok()
            .and_then(Share::from_basis_points)
            .map(Self)
            .ok_or_else(out_of_range)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = self.0.basis_points();
        match (points / 100, points % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}"),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PercentVisitor;

        impl Visitor<'_> for PercentVisitor {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage between 0 and 100")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                Percent::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(PercentVisitor)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0.basis_points()) / 100.0)
    }
}

/// Seconds, as probes have them; decimals are ours (`0.5`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{number} is not a number of seconds above 0"));
        match Duration::try_from_secs_f64(number) {
            Ok(duration) if duration >= Duration::from_millis(1) => Ok(Self(duration)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::{Percent, Period, Seconds};
    use crate::model::Share;
    use proptest::prelude::proptest;
    use std::time::Duration;

    fn percent(text: &str) -> Result<u16, String> {
        serde_json::from_str::<Percent>(text)
            .map(|p| p.0.basis_points())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1m5s20ms", 65_020),
            ("0", 0),
            ("0s", 0),
            ("2d", 172_800_000),
        ] {
            assert_eq!(
                Period::parse(text),
                Some(Period(Duration::from_millis(millis))),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "m",
            "10 m",
            "-5s",
            "5x",
            "1.5h",
            "99999999999999999999s",
        ] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_advice() {
        let error = serde_json::from_str::<Period>("10")
            .unwrap_err()
            .to_string();
        assert!(error.contains("10 lacks a unit"), "{error}");
    }

    #[test]
    fn percentages_are_exact() {
        assert_eq!(percent("5"), Ok(500));
        assert_eq!(percent("0.1"), Ok(10));
        assert_eq!(percent("33.33"), Ok(3333));
        assert_eq!(percent("\"20%\""), Ok(2000));
        assert_eq!(percent("100"), Ok(10_000));
        for (text, wrong) in [
            ("120", "120 is not between 0 and 100"),
            ("-1", "-1 is not between 0 and 100"),
            ("0.125", "more than two decimal places"),
            ("\"five\"", "not a percentage"),
        ] {
            let error = percent(text).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn seconds_are_above_zero() {
        assert_eq!(
            serde_json::from_str::<Seconds>("0.25").unwrap().0,
            Duration::from_millis(250)
        );
        assert!(serde_json::from_str::<Seconds>("0").is_err());
        assert!(serde_json::from_str::<Seconds>("-1").is_err());
    }

    proptest! {
        #[test]
        fn a_duration_survives_writing_and_reading(millis in 0..u64::from(u32::MAX)) {
            let period = Period(Duration::from_millis(millis));
            assert_eq!(Period::parse(&period.to_string()), Some(period));
        }

        #[test]
        fn a_percentage_survives_writing_and_reading(points in 0..=10_000_u16) {
            let share = Share::from_basis_points(points).unwrap();
            let text = serde_json::to_string(&Percent(share)).unwrap();
            assert_eq!(percent(&text), Ok(points));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,12}") {
            let _read = (Period::parse(&text), Percent::parse(&text));
        }
    }
}
