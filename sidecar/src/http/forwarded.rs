//! What a request says of where it came from: `x-forwarded-for`, `x-forwarded-proto`,
//! `x-request-id`.
//!
//! The inbound side names the peer, since the application itself only sees the sidecar; it is the
//! last address of `x-forwarded-for`, whatever the client claimed before. The outbound side knows
//! nobody but its own Pod and names no one. `traceparent` and `tracestate` (W3C Trace Context) are
//! passed as they are.

use super::Client;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::SocketAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PLAIN: HeaderValue = HeaderValue::from_static("http");

/// A connection's peer, as `x-forwarded-for` names it. Written once per connection.
pub(super) fn peer(address: SocketAddr) -> Option<HeaderValue> {
    HeaderValue::try_from(address.ip().to_canonical().to_string()).ok()
}

/// Adds what is missing.
pub(super) fn mark(client: &Client, headers: &mut HeaderMap) {
    if let Some(peer) = &client.peer {
        append(headers, peer);
        headers.entry(FORWARDED_PROTO).or_insert(PLAIN);
    }
    if !headers.contains_key(REQUEST_ID) {
        let id = request_id(client.local.draw(u64::MAX), client.local.draw(u64::MAX));
        headers.extend(id.map(|id| (REQUEST_ID, id)));
    }
}

/// One line, since many applications read only the first.
fn append(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut said = headers.get_all(FORWARDED_FOR).iter().peekable();
    if said.peek().is_none() {
        headers.insert(FORWARDED_FOR, peer.clone());
        return;
    }
    let all: Vec<_> = said.chain([peer]).map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
        headers.insert(FORWARDED_FOR, joined);
    }
}

/// A random UUID (RFC 9562, version 4).
fn request_id(high: u64, low: u64) -> Option<HeaderValue> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    let number = u128::from(high) << 64 | u128::from(low);
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (index, place) in text.iter_mut().enumerate() {
        if ![8, 13, 18, 23].contains(&index) {
            shift -= 4;
            let digit = usize::try_from(number >> shift & 0xf).unwrap_or(0);
            *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        }
    }
    HeaderValue::from_bytes(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::{append, peer, request_id};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn the_peer_is_the_last_of_one_line() {
        let named = peer("10.0.0.7:4000".parse().unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        append(&mut headers, &named);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.7");
        headers.append("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
        append(&mut headers, &named);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.7, 1.2.3.4, 10.0.0.7");
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    }

    #[test]
    fn a_request_id_is_a_uuid_of_version_4() {
        let id = |high, low| request_id(high, low).unwrap();
        assert_eq!(id(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            id(u64::MAX, u64::MAX),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        let mixed = id(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef);
        assert_eq!(mixed, "01234567-89ab-4def-8123-456789abcdef");
    }
}
