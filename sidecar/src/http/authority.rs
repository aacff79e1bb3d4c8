//! The host and port that a request names.

use super::answer::Refusal;
use http::{
    HeaderMap, HeaderValue, Uri, Version,
    header::{HOST, InvalidHeaderValue},
};
use std::{borrow::Cow, ops::Range};

/// The host and port that a request names.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    value: HeaderValue,
    host: Range<usize>,
    port: Option<u16>,
}

impl Authority {
    /// As the request gave it.
    pub(super) const fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// As the request gave it.
    pub(super) fn as_str(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }

    /// The host as the request gave it, without the port.
    pub(super) fn host(&self) -> &str {
        self.as_str().get(self.host.clone()).unwrap_or_default()
    }

    /// The port, where the request gave one.
    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    fn parse(value: HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        let port = if port.is_empty() {
            None
        } else if port.bytes().all(|digit| digit.is_ascii_digit()) {
            Some(port.parse().ok()?)
        } else {
            return None;
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || b"-._~%!$&'()*+,;=".contains(&byte)
                || (bracketed && b"[]:".contains(&byte))
        };
        if host.is_empty() || !host.bytes().all(allowed) {
            return None;
        }
        let host = 0..host.len();
        Some(Self { value, host, port })
    }
}

/// Lower case, without a copy where it is so already.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// The host that a request names: by its target, else by `Host`. None: it names none, as HTTP/1.0
/// may. What RFC 9112 (3.2) forbids is refused.
pub(super) fn of(
    uri: &Uri,
    headers: &HeaderMap,
    version: Version,
) -> Result<Option<Authority>, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::malformed("more than one Host"));
    }
    let unreadable = || Refusal::malformed("unreadable Host");
    let named = match uri.authority() {
        Some(authority) => {
            // It counts for nothing, but a reader behind us may see it otherwise.
            if host.is_some_and(|host| !host.is_empty() && Authority::parse(host.clone()).is_none())
            {
                return Err(unreadable());
            }
            Some(
                HeaderValue::from_str(authority.as_str())
                    .map_err(|_: InvalidHeaderValue| unreadable())?,
            )
        }
        None => host.cloned(),
    };
    if host.is_none()
        && (version == Version::HTTP_11 || (version > Version::HTTP_11 && named.is_none()))
    {
        return Err(Refusal::malformed("no Host"));
    }
    match named {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match Authority::parse(value) {
            Some(authority) => Ok(Some(authority)),
            None => Err(unreadable()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use http::{HeaderMap, HeaderValue, Version, header::HOST};
    use proptest::prelude::{any, prop::collection, proptest};

    /// `refused`, or the host and port.
    fn named(uri: &str, hosts: &[&'static str], version: Version) -> String {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        match of(&uri.parse().unwrap(), &headers, version) {
            Ok(Some(found)) => format!("{} {:?}", found.host(), found.port()),
            Ok(None) => "none".to_owned(),
            Err(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn the_target_goes_before_the_host_header() {
        let v11 = Version::HTTP_11;
        assert_eq!(named("http://b:81/x", &["a"], v11), "b Some(81)");
        assert_eq!(named("/x", &["a"], v11), "a None");
        assert_eq!(named("/", &["[::1]:80"], v11), "[::1] Some(80)");
        assert_eq!(named("/", &["[::1]"], v11), "[::1] None");
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        let v11 = Version::HTTP_11;
        assert_eq!(named("/", &[], v11), "refused");
        assert_eq!(named("/", &["a", "b"], v11), "refused");
        assert_eq!(named("/", &["a", "a"], v11), "refused");
        for host in ["a b", "a/b", "u@a", "a:b", "a:99999", ":80", "a:1:2"] {
            assert_eq!(named("/", &[host], v11), "refused", "{host}");
        }
        assert_eq!(named("/", &[], Version::HTTP_2), "refused");
        assert_eq!(named("http://b/", &["a b"], v11), "refused");
    }

    #[test]
    fn http_1_0_may_name_no_host() {
        assert_eq!(named("/", &[], Version::HTTP_10), "none");
        assert_eq!(named("/", &[""], Version::HTTP_11), "none");
    }

    proptest! {
        #[test]
        fn whatever_a_host_header_holds_is_a_host_or_refused(
            bytes in collection::vec(any::<u8>(), 0..40),
            port in any::<u16>(),
        ) {
            let mut headers = HeaderMap::new();
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            headers.insert(HOST, value);
            if let Ok(Some(found)) = of(&"/".parse().unwrap(), &headers, Version::HTTP_11) {
                assert!(!found.host().is_empty() && found.host().is_ascii());
                assert!(found.as_str().starts_with(found.host()));
                assert!(!found.host().contains(['/', '@', ' ', '\\', '?', '#']));
                if found.port().is_none() {
                    let with_port = format!("{}:{port}", found.host());
                    headers.insert(HOST, with_port.parse().unwrap());
                    let again = of(&"/".parse().unwrap(), &headers, Version::HTTP_11);
                    let again = again.unwrap().unwrap();
                    assert_eq!((again.host(), again.port()), (found.host(), Some(port)));
                }
            }
        }
    }
}
