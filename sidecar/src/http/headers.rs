//! What of a message belongs to one connection only, and how the target is written for the next.

use super::{authority::Authority, tunnel::Upgraded};
use crate::upstream::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use std::time::Duration;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
/// What a gRPC call may end with.
const STATUS: HeaderValue =
    HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");

/// How long the peer keeps an idle connection open, where it says so: `Keep-Alive: timeout=5`
/// (RFC 2068, 19.7.1.1, and in use ever since).
pub(super) fn idle_timeout(headers: &HeaderMap) -> Option<Duration> {
    headers.get(KEEP_ALIVE)?;
    list(headers, &KEEP_ALIVE)
        .find_map(|parameter| parameter.strip_prefix("timeout=")?.trim().parse().ok())
        .map(Duration::from_secs)
}

/// Removes what belongs to one connection (RFC 9110, 7.6.1), and what `Connection` names. With
/// `upgrade`, the upgrade that is carried through stays.
pub(super) fn strip(headers: &mut HeaderMap, upgrade: bool) {
    let named: Vec<HeaderName> = tokens(headers)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| ![HOST, TE, CONTENT_LENGTH, UPGRADE, CONNECTION].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
    if headers.contains_key(TE) {
        let trailers = contains_token(headers, &TE, "trailers");
        headers.remove(TE);
        if trailers {
            headers.insert(TE, TRAILERS);
        }
    }
}

/// Announces the trailers of a gRPC call to a client that speaks HTTP/1: HTTP/2 servers don't, and
/// hyper's HTTP/1 sends only what `Trailer` names.
pub(super) fn announce_status(headers: &mut HeaderMap) {
    headers.append(TRAILER, STATUS);
}

/// True where the message asks for, or agrees to, another protocol. HTTP/2 is none: it would carry
/// requests past the routes, and whoever offers it (Java's client does) goes on with HTTP/1.1.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && contains_token(headers, &CONNECTION, "upgrade")
        && !contains_token(headers, &UPGRADE, "h2c")
}

/// True for `Transfer-Encoding` values other than `chunked`: a coding that we would lose.
pub(super) fn has_unknown_coding(headers: &HeaderMap) -> bool {
    headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// True for gRPC calls and their responses (gRPC over HTTP/2, "Content-Type"). Not for gRPC-Web,
/// which has no trailers.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let after = value.as_bytes().strip_prefix(b"application/grpc");
        after.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// True for server-sent events (WHATWG HTML, 9.2).
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let media = value.as_bytes().split(|byte| *byte == b';').next();
        media.is_some_and(|media| {
            media
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    })
}

/// What a response says that the connection has changed to.
pub(super) fn upgraded(headers: &HeaderMap) -> Upgraded {
    if contains_token(headers, &UPGRADE, "websocket") {
        Upgraded::WebSocket
    } else {
        Upgraded::Other
    }
}

/// True where sending it twice does what sending it once does (RFC 9110, 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// Writes target and host as the next hop's protocol wants them. May be done again for another.
pub(super) fn address(head: &mut Parts, authority: Option<&Authority>, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            head.version = Version::HTTP_11;
            if head.uri.authority().is_some() {
                let path = head.uri.path_and_query().cloned();
                head.uri = Uri::from(path.unwrap_or(ROOT));
            }
            if let Some(authority) = authority {
                head.headers.insert(HOST, authority.value().clone());
            } else if !head.headers.contains_key(HOST) {
                head.headers.insert(HOST, HeaderValue::from_static(""));
            }
        }
        Protocol::Http2 => {
            head.version = Version::HTTP_2;
            head.headers.remove(HOST);
            if let Some(uri) = authority.and_then(|authority| absolute(&head.uri, authority)) {
                head.uri = uri;
            }
        }
    }
}

const ROOT: PathAndQuery = PathAndQuery::from_static("/");

fn absolute(uri: &Uri, authority: &Authority) -> Option<Uri> {
    if uri.authority().is_some() && uri.scheme().is_some() {
        return None;
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.as_str().parse().ok()?);
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or(ROOT));
    Uri::from_parts(parts).ok()
}

/// The tokens of `Connection`.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    list(headers, &CONNECTION)
}

fn contains_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|one| one.eq_ignore_ascii_case(token))
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{address, has_unknown_coding, strip, wants_upgrade};
    use crate::{http::authority, upstream::Protocol};
    use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_removed() {
        let mut all = headers(&[
            ("connection", "close, X-Mine, host, content-length"),
            ("x-mine", "1"),
            ("x-other", "1"),
            ("host", "a"),
            ("content-length", "5"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers"),
        ]);
        strip(&mut all, false);
        let mut names: Vec<_> = all.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "host", "te", "x-other"]);
        assert_eq!(all["te"], "trailers");
    }

    #[test]
    fn an_upgrade_that_is_carried_through_stays() {
        let mut all = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert!(wants_upgrade(&all));
        strip(&mut all, true);
        assert_eq!(all["connection"], "upgrade");
        assert_eq!(all["upgrade"], "websocket");
        assert!(!wants_upgrade(&headers(&[("upgrade", "websocket")])));
        assert!(!wants_upgrade(&headers(&[
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
        ])));
    }

    #[test]
    fn the_peer_says_how_long_it_keeps_an_idle_connection() {
        let said = |value| super::idle_timeout(&headers(&[("keep-alive", value)]));
        let two = Some(std::time::Duration::from_secs(2));
        assert_eq!(said("timeout=2"), two);
        assert_eq!(said("max=100, timeout=2"), two);
        for nothing in ["", "max=100", "timeout=", "timeout=-1", "timeout=soon"] {
            assert_eq!(said(nothing), None, "{nothing:?}");
        }
        assert_eq!(super::idle_timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let is = |value| super::is_grpc(&headers(&[("content-type", value)]));
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
        ] {
            assert!(is(grpc), "{grpc}");
        }
        for other in ["application/grpc-web", "application/grpcx", "text/plain"] {
            assert!(!is(other), "{other}");
        }
        assert!(!super::is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn codings_that_would_be_lost_are_seen() {
        assert!(has_unknown_coding(&headers(&[(
            "transfer-encoding",
            "gzip, chunked"
        )])));
        assert!(!has_unknown_coding(&headers(&[(
            "transfer-encoding",
            "Chunked"
        )])));
    }

    #[test]
    fn the_target_is_written_as_each_protocol_wants_it() {
        let request = Request::get("/a?b").header("host", "h:81").body(());
        let mut head = request.unwrap().into_parts().0;
        let named = authority::of(&head.uri, &head.headers, Version::HTTP_11).unwrap();
        address(&mut head, named.as_ref(), Protocol::Http2);
        assert_eq!(head.uri, "http://h:81/a?b");
        assert!(head.headers.is_empty());
        address(&mut head, named.as_ref(), Protocol::Http1);
        assert_eq!(head.uri, "/a?b");
        assert_eq!(head.headers["host"], "h:81");
    }
}
