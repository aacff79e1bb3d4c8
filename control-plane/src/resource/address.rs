//! Addresses of other people's servers, as policies name them.

use super::check::Checks;

/// Checks `SCHEME://HOST[:PORT][/PATH]`. Credentials may stand in it only where they are sent.
pub(super) fn check_address(
    address: &str,
    schemes: &[&str],
    credentials: bool,
    field: &str,
    checks: &mut Checks,
) {
    if let Some(wrong) = wrong_with(address, schemes, credentials) {
        checks.fail(field, wrong);
    }
}

fn wrong_with(address: &str, schemes: &[&str], credentials: bool) -> Option<String> {
    let scheme_and_rest = address
        .split_once("://")
        .filter(|(scheme, _)| schemes.contains(scheme));
    // The address itself is not shown once it may hold a password.
    let Some((scheme, rest)) = scheme_and_rest else {
        let shown = address.split('@').next_back().unwrap_or(address);
        let schemes = schemes.join(":// or ");
        return Some(format!("{shown:?} does not begin with {schemes}://"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((userinfo, host)) => (Some(userinfo), host),
        None => (None, authority),
    };
    if userinfo.is_some() && !credentials {
        return Some(format!(
            "there are credentials before {host:?}, and {scheme} sends none of them: leave them out"
        ));
    }
    if address.chars().any(|c| c.is_whitespace() || c.is_control()) || !address.is_ascii() {
        return Some("there is a space or a character in it that is not ASCII".to_owned());
    }
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => port.parse::<u16>().ok(),
        _ => Some(1),
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    (name.is_empty() || port.is_none_or(|port| port == 0)).then(|| {
        format!("{host:?} is not a host with an optional port: write {scheme}://HOST:PORT")
    })
}

#[cfg(test)]
mod tests {
    use super::wrong_with;

    #[test]
    fn servers_are_named_by_scheme_host_and_port() {
        let http = ["http", "https"];
        for good in [
            "http://events.ops.svc/",
            "https://x:8443/in?token=a@b",
            "http://[::1]:80/x",
            "http://[::1]",
        ] {
            assert_eq!(wrong_with(good, &http, false), None, "{good}");
        }
        assert_eq!(wrong_with("nats://me:word@x:4222", &["nats"], true), None);
        for (bad, message) in [
            (
                "ftp://x",
                "\"ftp://x\" does not begin with http:// or https://",
            ),
            ("http://", "is not a host"),
            ("http://x:70000/", "is not a host"),
            ("http://x:0", "is not a host"),
            ("http://a b/", "there is a space"),
            ("http://me:word@x/", "sends none of them"),
        ] {
            let wrong = wrong_with(bad, &http, false).unwrap_or_default();
            assert!(wrong.contains(message), "{bad}: {wrong}");
            assert!(!wrong.contains("word"), "{wrong}");
        }
    }
}
