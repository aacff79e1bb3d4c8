//! An event as a CloudEvent.
//!
//! Source: CloudEvents 1.0.2, and its JSON Event Format.

use crate::{
    model::{Event, Key},
    web::percent_encode,
};
use serde_json::{Value, json};

/// The media type of an event in structured mode.
pub(super) const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";
/// The media type of an event's data.
pub(super) const DATA: &str = "application/json";
/// How many events before this one were lost, since the outbox was full.
const LOST: &str = "seguelost";

/// An event on its way to a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct CloudEvent<'a> {
    /// What happened.
    pub(super) event: &'a Event,
    /// How many before it were lost.
    pub(super) lost: u64,
}

impl CloudEvent<'_> {
    /// All as one JSON object.
    pub(super) fn structured(&self) -> Vec<u8> {
        let mut object: serde_json::Map<String, Value> = self
            .attributes()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        if self.lost > 0 {
            object.insert(LOST.to_owned(), self.lost_count().into());
        }
        object.insert("datacontenttype".to_owned(), DATA.into());
        object.insert("data".to_owned(), self.data());
        Value::Object(object).to_string().into_bytes()
    }

    /// The data alone, and the other attributes as headers' names and values.
    pub(super) fn binary(&self) -> (Vec<(String, String)>, Vec<u8>) {
        let mut attributes = self.attributes();
        if self.lost > 0 {
            attributes.push((LOST, self.lost_count().to_string()));
        }
        let headers = attributes
            .into_iter()
            .map(|(name, value)| (format!("ce-{name}"), header_value(&value)))
            .collect();
        (headers, self.data().to_string().into_bytes())
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let event = self.event;
        vec![
            ("specversion", "1.0".to_owned()),
            ("id", event.id.clone()),
            ("source", format!("/segue/{}", event.service)),
            ("type", type_of(&event.reason)),
            ("subject", event.upgrade.to_string()),
            ("time", event.at.rfc3339()),
        ]
    }

    fn data(&self) -> Value {
        let event = self.event;
        let key = |key: &Key| json!({"namespace": *key.namespace, "name": *key.name});
        json!({
            "upgrade": key(&event.upgrade),
            "service": key(&event.service),
            "from": event.from,
            "to": event.to,
            "phase": event.phase.to_string(),
            "weight": f64::from(event.weight.basis_points()) / 100.0,
            "reason": event.reason,
            "message": event.message,
        })
    }

    /// An Integer of CloudEvents has 32 bits.
    fn lost_count(&self) -> i32 {
        i32::try_from(self.lost).unwrap_or(i32::MAX)
    }
}

/// `dev.segue.upgrade.rolling-back.v1`
fn type_of(reason: &str) -> String {
    let mut kebab = String::new();
    for c in reason.chars() {
        if c.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    format!("dev.segue.upgrade.{kebab}.v1")
}

/// An attribute's value in a header.
///
/// Source: CloudEvents HTTP Protocol Binding 1.0.2, section 3.1.3.2.
fn header_value(value: &str) -> String {
    percent_encode(value, |c| {
        ('\u{21}'..='\u{7e}').contains(&c) && !matches!(c, '"' | '%')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::tests::event, model::Timestamp};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn an_event_is_told_as_cloud_events_has_it() {
        let mut event = event(7);
        event.reason = "RollingBack".to_owned();
        event.at = Timestamp(1_780_000_000_042);
        let cloud = CloudEvent {
            event: &event,
            lost: 0,
        };
        let shown: Value = serde_json::from_slice(&cloud.structured()).unwrap();
        assert_eq!(
            shown,
            json!({
                "specversion": "1.0",
                "id": "shop/checkout-v2-1/1000/7",
                "source": "/segue/shop/checkout",
                "type": "dev.segue.upgrade.rolling-back.v1",
                "subject": "shop/checkout-v2-1",
                "time": "2026-05-28T20:26:40.042Z",
                "datacontenttype": "application/json",
                "data": {
                    "upgrade": {"namespace": "shop", "name": "checkout-v2-1"},
                    "service": {"namespace": "shop", "name": "checkout"},
                    "from": "v1",
                    "to": "v2",
                    "phase": "Shifting",
                    "weight": 12.5,
                    "reason": "RollingBack",
                    "message": "12.5 % go to v2 – “gut”",
                },
            })
        );
    }

    /// What section 3.1.3.2 asks of who receives.
    fn decoded(header: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = header.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                let hex = std::str::from_utf8(&hex).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn any_value_survives_a_header(value in any::<String>()) {
            let header = header_value(&value);
            prop_assert!(header.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'"'));
            prop_assert_eq!(decoded(&header), value);
        }

        #[test]
        fn both_modes_say_the_same(id in any::<String>(), message in any::<String>(), lost in any::<u64>(), at in any::<u64>()) {
            let event = Event { id, message, at: Timestamp(at / 1_000_000), ..event(1) };
            let cloud = CloudEvent { event: &event, lost };
            let structured: Value = serde_json::from_slice(&cloud.structured()).unwrap();
            let (headers, data) = cloud.binary();
            for (name, value) in &headers {
                let attribute = &structured[name.strip_prefix("ce-").unwrap()];
                let text = attribute.as_str().map_or_else(|| attribute.to_string(), str::to_owned);
                prop_assert_eq!(decoded(value), text);
            }
            prop_assert_eq!(headers.len() + 2, structured.as_object().unwrap().len());
            prop_assert_eq!(serde_json::from_slice::<Value>(&data).unwrap(), structured["data"].clone());
        }
    }
}
