//! `traceparent` (W3C Trace Context, version 00): which trace a request belongs to.
//!
//! Where traces are recorded, a request of a sampled trace gets a span of ours, which the next hop
//! is told as its parent. A request of no trace begins one by chance, and the next hop is told so
//! either way, so that it does not throw the dice again. Where they are not, nothing is touched.

use crate::model::Span;
use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What a request says of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    trace: u128,
    parent: u64,
    flags: u8,
}

/// The span of a request, which its headers say from now on. None: it is not recorded. `draw` gives
/// a number below its argument; `sampled`: of so many in a million that belong to no trace one is
/// begun.
pub(super) fn join(
    headers: &mut HeaderMap,
    sampled: u32,
    mut draw: impl FnMut(u64) -> u64,
) -> Option<Span> {
    let said = headers.get(TRACEPARENT).and_then(parse);
    let id = draw(u64::MAX - 1) + 1;
    let (trace, parent, flags) = match said {
        Some(said) if said.flags & 1 == 0 => return None,
        Some(said) => (said.trace, Some(said.parent), said.flags),
        None => {
            // What is said of a trace that nobody can read belongs to none.
            headers.remove(TRACESTATE);
            let trace = u128::from(draw(u64::MAX - 1) + 1) << 64 | u128::from(draw(u64::MAX));
            (trace, None, u8::from(draw(1_000_000) < u64::from(sampled)))
        }
    };
    let text = format!("00-{trace:032x}-{id:016x}-{flags:02x}");
    headers.insert(TRACEPARENT, HeaderValue::try_from(text).ok()?);
    (flags & 1 == 1).then_some(Span { trace, id, parent })
}

/// `version "-" trace-id "-" parent-id "-" trace-flags`; later versions may say more behind it.
fn parse(value: &HeaderValue) -> Option<Said> {
    let text = value.to_str().ok()?;
    let mut parts = text.splitn(5, '-');
    let mut part = |digits: usize| {
        let part = parts.next()?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (part.len() == digits && part.bytes().all(is_hex)).then_some(part)
    };
    let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let more = parts.next().is_some();
    if version == "ff" || (version == "00" && more) {
        return None;
    }
    let said = Said {
        trace: u128::from_str_radix(trace, 16).ok()?,
        parent: u64::from_str_radix(parent, 16).ok()?,
        flags: u8::from_str_radix(flags, 16).ok()?,
    };
    (said.trace != 0 && said.parent != 0).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::{Said, join, parse};
    use crate::model::Span;
    use http::{HeaderMap, HeaderValue};

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(traceparent: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
        if let Some(text) = traceparent {
            headers.insert("traceparent", text.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_not_well_formed_is_no_trace() {
        let read = |text: &str| parse(&text.parse().unwrap());
        let said = Said {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            parent: 0xb7ad_6b71_6920_3331,
            flags: 1,
        };
        assert_eq!(read(SAMPLED), Some(said));
        assert_eq!(read(&format!("01{}-more", &SAMPLED[2..])), Some(said));
        for wrong in [
            "",
            "00",
            &SAMPLED.to_uppercase(),
            &format!("{SAMPLED}-more"),
            &format!("ff{}", &SAMPLED[2..]),
            &SAMPLED.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &SAMPLED.replace("b7ad6b7169203331", &"0".repeat(16)),
            &SAMPLED.replace("b7ad6b7169203331", "b7ad6b716920333"),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_sampled_trace_goes_on_with_our_span_as_the_parent() {
        let mut headers = headers(Some(SAMPLED));
        let span = join(&mut headers, 0, |_| 41).unwrap();
        assert_eq!(
            span,
            Span {
                trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                id: 42,
                parent: Some(0xb7ad_6b71_6920_3331),
            }
        );
        let next = "00-0af7651916cd43dd8448eb211c80319c-000000000000002a-01";
        assert_eq!(headers["traceparent"], next);
        assert_eq!(headers["tracestate"], "vendor=1");
    }

    #[test]
    fn a_trace_that_is_not_sampled_is_left_alone() {
        let text = SAMPLED.replace("-01", "-00");
        let mut headers = headers(Some(&text));
        assert_eq!(join(&mut headers, 1_000_000, |_| 0), None);
        assert_eq!(headers["traceparent"], text);
    }

    #[test]
    fn a_request_of_no_trace_begins_one_by_chance_and_says_so_either_way() {
        for (sampled, flag) in [(1_000_000, "01"), (0, "00")] {
            let mut headers = headers(Some("garbage"));
            let span = join(&mut headers, sampled, |_| 6);
            assert_eq!(span.is_some(), sampled > 0);
            assert!(span.is_none_or(|span| span.parent.is_none()));
            let said = headers["traceparent"].to_str().unwrap();
            assert_eq!(
                said,
                format!("00-00000000000000070000000000000006-0000000000000007-{flag}")
            );
            assert!(headers.get("tracestate").is_none());
        }
    }
}
