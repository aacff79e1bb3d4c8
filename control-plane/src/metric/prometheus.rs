//! What Prometheus answers, and whether it is good.
//!
//! Source: Prometheus documentation, HTTP API, "Instant queries" and "Expression query result
//! formats".

use super::short;
use crate::model::MetricOutcome;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Response {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// The values that are good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    /// As the policy has it.
    pub(super) min: Option<&'a str>,
    /// As the policy has it.
    pub(super) max: Option<&'a str>,
}

/// What a response says, whose status line read so.
pub(super) fn judge(status: &str, body: &[u8], bounds: Bounds<'_>) -> MetricOutcome {
    match values(status, body) {
        Ok(values) => bounds.judge(&values),
        Err(reason) => MetricOutcome::Unknown(short(&reason)),
    }
}

/// The value of each series.
fn values(status: &str, body: &[u8]) -> Result<Vec<f64>, String> {
    let response: Response = serde_json::from_slice(body)
        .map_err(|error| format!("{status}, and no answer of Prometheus: {error}"))?;
    let data = match response.data {
        Some(data) if response.status == "success" => data,
        _ => return Err(format!("{status}: {}", response.error)),
    };
    match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => Ok(vec![number(sample)?]),
        ("vector", Value::Array(series)) => series
            .iter()
            .map(|series| number(series.get("value").unwrap_or(&Value::Null)))
            .collect(),
        (other, _) => Err(format!(
            "the query gives a {other}; it must give a scalar or an instant vector"
        )),
    }
}

/// The number of a sample, `[time, "number"]`.
fn number(sample: &Value) -> Result<f64, String> {
    let text = sample.get(1).and_then(Value::as_str);
    let text = text.ok_or_else(|| "a series has no plain value".to_owned())?;
    // Prometheus writes NaN, +Inf and -Inf.
    text.parse()
        .map_err(|_| format!("{text:?} is no number of Prometheus"))
}

impl Bounds<'_> {
    /// All must be good: one that is bad is bad, whatever the others are.
    fn judge(self, values: &[f64]) -> MetricOutcome {
        let bound = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
        let (min, max) = (bound(self.min), bound(self.max));
        let of = match values.len() {
            1 => String::new(),
            n => format!(", of {n} series"),
        };
        for value in values {
            if max.is_some_and(|max| *value > max) {
                let max = self.max.unwrap_or_default();
                return MetricOutcome::Bad(format!("{value} is above max ({max}){of}"));
            }
            if min.is_some_and(|min| *value < min) {
                let min = self.min.unwrap_or_default();
                return MetricOutcome::Bad(format!("{value} is below min ({min}){of}"));
            }
        }
        if values.iter().any(|value| value.is_nan()) {
            return MetricOutcome::Unknown(format!("the value is not a number (NaN){of}"));
        }
        match values {
            [] => MetricOutcome::Unknown("the query gives no series".to_owned()),
            [value, ..] => MetricOutcome::Good(format!("{value}{of}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn judged(body: &str) -> MetricOutcome {
        let bounds = Bounds {
            min: Some("-1"),
            max: Some("0.5"),
        };
        judge("200 OK", body.as_bytes(), bounds)
    }

    fn vector(values: &[&str]) -> String {
        let series = |value: &&str| format!(r#"{{"metric":{{}},"value":[1.5,"{value}"]}}"#);
        let series: Vec<_> = values.iter().map(series).collect();
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
            series.join(",")
        )
    }

    #[test]
    fn every_series_must_be_within_the_bounds() {
        use MetricOutcome::{Bad, Good};
        for (values, expected) in [
            (&["0.5"][..], Good("0.5".to_owned())),
            (&["0.51"], Bad("0.51 is above max (0.5)".to_owned())),
            (&["-2"], Bad("-2 is below min (-1)".to_owned())),
            (&["+Inf"], Bad("inf is above max (0.5)".to_owned())),
            (&["0.1", "0.2"], Good("0.1, of 2 series".to_owned())),
            (
                &["NaN", "7"],
                Bad("7 is above max (0.5), of 2 series".to_owned()),
            ),
        ] {
            assert_eq!(judged(&vector(values)), expected);
        }
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}"#;
        assert_eq!(judged(scalar), Good("0".to_owned()));
    }

    #[test]
    fn what_says_nothing_is_unknown() {
        for (body, reason) in [
            (vector(&[]), "no series"),
            (vector(&["NaN"]), "NaN"),
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(),
                "parse error",
            ),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned(),
                "gives a matrix",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"histogram":[]}]}}"#
                    .to_owned(),
                "no plain value",
            ),
            ("<html>".to_owned(), "no answer of Prometheus"),
        ] {
            let MetricOutcome::Unknown(text) = judged(&body) else {
                panic!("{body} is known");
            };
            assert!(text.contains(reason), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_judged_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _outcome = judge("200 OK", &body, Bounds { min: None, max: Some("1") });
        }
    }
}
