//! Rates that analysis reckons with: percent and fractions of 1, exact to a part per million; and
//! the bounds of metrics, which stay as they were written.

use crate::model::Ppm;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use std::fmt;

/// A percentage, to four decimal places: `99.995`, `0.5`, `20%`. May be above 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub Ppm);

/// A fraction of 1, to six decimal places: `0.99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(pub Ppm);

/// A finite number, kept as written: `0.01`, `-5`, `1e6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(pub String);

/// Reads a decimal without sign, in units of its last place: `99.5` of two places is 9,950.
fn decimal(number: &str, places: usize) -> Result<u32, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return Err(format!("{number:?} is not a number of 0 or above"));
    }
    if fraction.len() > places {
        return Err(format!("{number} has more than {places} decimal places"));
    }
    format!("{whole}{fraction:0<places$}")
        .parse()
        .map_err(|_| format!("{number} is too large"))
}

/// Writes units of the last place as a decimal.
fn write_decimal(f: &mut fmt::Formatter<'_>, units: u32, places: u32) -> fmt::Result {
    let one = 10_u32.pow(places);
    let (whole, rest) = (units / one, units % one);
    if rest == 0 {
        return write!(f, "{whole}");
    }
    let width = usize::try_from(places).unwrap_or_default();
    let rest = format!("{rest:0width$}");
    write!(f, "{whole}.{}", rest.trim_end_matches('0'))
}

impl Rate {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%').trim_end();
        decimal(number, 4).map(|units| Self(Ppm(units)))
    }
}

impl Fraction {
    fn parse(text: &str) -> Result<Self, String> {
        decimal(text.trim(), 6).map(|units| Self(Ppm(units)))
    }
}

impl Number {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Self(text.trim().to_owned())),
            _ => Err(format!("{text:?} is not a number")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0.0, 4)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0.0, 6)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads what may be written as a number or as text, from its text.
struct TextOrNumber<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a percentage such as 99.5 or 20%",
            parse: Self::parse,
        })
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a fraction of 1 such as 0.99",
            parse: Self::parse,
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a number",
            parse: Self::parse,
        })
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0.0) / 1e4)
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.fraction())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fraction, Number, Rate};
    use crate::model::Ppm;
    use proptest::prelude::{prop_assert_eq, proptest};
    use serde::de::DeserializeOwned;

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn rates_and_fractions_are_exact() {
        assert_eq!(read("99.995"), Ok(Rate(Ppm(999_950))));
        assert_eq!(read("\"20%\""), Ok(Rate(Ppm(200_000))));
        assert_eq!(read("250"), Ok(Rate(Ppm(2_500_000))));
        assert_eq!(read("0.99"), Ok(Fraction(Ppm(990_000))));
        for (text, wrong) in [
            ("0.00001", "more than 4 decimal places"),
            ("-1", "not a number of 0 or above"),
            ("\"fast\"", "not a number of 0 or above"),
            ("\"99999999999\"", "too large"),
        ] {
            let error = read::<Rate>(text).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn numbers_stay_as_written() {
        assert_eq!(read("0.01"), Ok(Number("0.01".to_owned())));
        assert_eq!(read("-5"), Ok(Number("-5".to_owned())));
        assert_eq!(read("\"1e6\""), Ok(Number("1e6".to_owned())));
        assert!(read::<Number>("\"NaN\"").is_err());
        assert!(read::<Number>("\"inf\"").is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(units in 0..100_000_000_u32) {
            let (rate, fraction) = (Rate(Ppm(units)), Fraction(Ppm(units)));
            let shown = format!("\"{rate}\"");
            prop_assert_eq!(read(&shown), Ok(rate));
            prop_assert_eq!(read(&serde_json::to_string(&rate).unwrap()), Ok(rate));
            let shown = format!("\"{fraction}\"");
            prop_assert_eq!(read(&shown), Ok(fraction));
            prop_assert_eq!(read(&serde_json::to_string(&fraction).unwrap()), Ok(fraction));
        }
    }
}
