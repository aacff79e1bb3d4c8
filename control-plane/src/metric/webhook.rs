//! What a user's webhook is told, and what its answer means.

use super::{Subject, short};
use crate::model::{Key, MetricOutcome, Phase, Share};
use serde::Deserialize;
use serde_json::json;

/// What is posted.
pub(super) fn body(subject: &Subject, metric: &str, phase: Phase, weight: Share) -> String {
    let key = |key: &Key| json!({"namespace": *key.namespace, "name": *key.name});
    json!({
        "metric": metric,
        "upgrade": key(&subject.upgrade),
        "service": key(&subject.service),
        "from": subject.from,
        "to": subject.to,
        "phase": phase.to_string(),
        "weight": f64::from(weight.basis_points()) / 100.0,
    })
    .to_string()
}

/// What an answer may say beside its status.
#[derive(Deserialize)]
struct Says {
    verdict: Option<String>,
    #[serde(default)]
    message: String,
}

/// What says nothing of the upgrade: the webhook was not reached, or not as who may ask.
const NOT_OF_THE_WEBHOOK: [u16; 9] = [401, 403, 404, 407, 408, 429, 502, 503, 504];

/// What an answer means: by its status, and of a 2xx by the verdict in its body where it has one.
pub(super) fn judge(status: u16, body: &[u8]) -> MetricOutcome {
    let says: Option<Says> = serde_json::from_slice(body).ok();
    let (verdict, message) = says.map_or((None, String::new()), |says| {
        (says.verdict, short(&says.message))
    });
    let text = if message.is_empty() {
        format!("the webhook answered {status}")
    } else {
        message
    };
    match (status, verdict.as_deref()) {
        (200..=299, None | Some("NotWorse")) => MetricOutcome::Good(text),
        (status, _) if NOT_OF_THE_WEBHOOK.contains(&status) => MetricOutcome::Unknown(text),
        (200..=299, Some("Worse")) | (400..=599, _) => MetricOutcome::Bad(text),
        (200..=299, Some("NotYet")) => MetricOutcome::Unknown(text),
        (200..=299, Some(other)) => MetricOutcome::Unknown(format!(
            "the webhook's verdict {:?} is none of Worse, NotWorse and NotYet",
            short(other)
        )),
        _ => MetricOutcome::Unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::tests::subject;
    use MetricOutcome::{Bad, Good, Unknown};

    #[test]
    fn a_webhook_is_told_of_the_upgrade() {
        let weight = Share::from_percent(25).unwrap();
        let body = body(&subject(), "smoke", Phase::Shifting, weight);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body,
            json!({
                "metric": "smoke",
                "upgrade": {"namespace": "shop", "name": "checkout-v2-1"},
                "service": {"namespace": "shop", "name": "checkout"},
                "from": "v1",
                "to": "v2",
                "phase": "Shifting",
                "weight": 25.0,
            })
        );
    }

    #[test]
    fn its_answer_is_judged_by_status_and_verdict() {
        let text = |text: &str| text.to_owned();
        for (status, body, expected) in [
            (204, "", Good(text("the webhook answered 204"))),
            (200, "fine", Good(text("the webhook answered 200"))),
            (
                200,
                r#"{"verdict":"Worse","message":"3 carts\nlost"}"#,
                Bad(text("3 carts lost")),
            ),
            (
                200,
                r#"{"verdict":"NotWorse","message":"ok"}"#,
                Good(text("ok")),
            ),
            (
                200,
                r#"{"verdict":"NotYet"}"#,
                Unknown(text("the webhook answered 200")),
            ),
            (500, "", Bad(text("the webhook answered 500"))),
            (
                409,
                r#"{"message":"3 carts lost"}"#,
                Bad(text("3 carts lost")),
            ),
            (404, r#"{"message":"who?"}"#, Unknown(text("who?"))),
            (503, "", Unknown(text("the webhook answered 503"))),
            (302, "", Unknown(text("the webhook answered 302"))),
        ] {
            assert_eq!(judge(status, body.as_bytes()), expected, "{status} {body}");
        }
        assert!(matches!(judge(200, br#"{"verdict":"good"}"#), Unknown(_)));
    }
}
