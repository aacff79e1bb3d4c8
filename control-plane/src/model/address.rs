//! Addresses of other people's servers: what of them may be shown.
//!
//! Users and passwords stand before the host, tokens in paths and queries. So neither is shown by
//! status, events, logs or metrics.

/// Scheme, host and port of an address.
pub fn origin(address: &str) -> String {
    let (scheme, _, host, _) = parts(address);
    format!("{scheme}{host}")
}

/// An address as it may be shown: what is left out is marked, so that nobody takes it for another.
///
/// `nats://…@nats.ops:4222`, `https://hooks.example/…`
pub fn shown(address: &str) -> String {
    let (scheme, user, host, rest) = parts(address);
    let user = if user.is_empty() { "" } else { "…@" };
    let rest = if matches!(rest, "" | "/") {
        rest
    } else {
        "/…"
    };
    format!("{scheme}{user}{host}{rest}")
}

/// Scheme with `://`, user with password, host with port, and what follows.
fn parts(address: &str) -> (&str, &str, &str, &str) {
    let (scheme, behind) = match address.find("://") {
        Some(end) => address.split_at(end + "://".len()),
        None => ("", address),
    };
    let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
    let (authority, rest) = behind.split_at(end);
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    (scheme, user, host, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_the_origin() {
        for (address, expected) in [
            ("https://me:word@x:1/a?b=c@d", "https://x:1"),
            ("nats://token@[::1]:4222", "nats://[::1]:4222"),
            ("http://x?token=y", "http://x"),
            ("x", "x"),
        ] {
            assert_eq!(origin(address), expected);
        }
    }

    #[test]
    fn what_may_be_secret_is_marked() {
        for (address, expected) in [
            ("http://prometheus.ops:9090", "http://prometheus.ops:9090"),
            ("http://events.ops.svc/", "http://events.ops.svc/"),
            (
                "https://hooks.example/T0/B0/word",
                "https://hooks.example/…",
            ),
            ("https://x?token=word", "https://x/…"),
            ("nats://me:word@x:4222", "nats://…@x:4222"),
            ("nats://me:w@rd@x:4222/", "nats://…@x:4222/"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }
}
