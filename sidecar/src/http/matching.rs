//! From a host to its virtual host, and from a request to its route. Pure.

use super::authority::{Authority, lower};
use crate::model::{HeaderMatch, HeaderMatcher, PathMatch, Route, RouteConfiguration, VirtualHost};
use http::HeaderMap;
use std::sync::Arc;

/// What is known of a host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lookup<'a> {
    /// Its routes.
    Found(&'a Arc<VirtualHost>),
    /// It is none of the mesh's.
    Missing,
    /// The control plane has to be asked.
    Unknown,
}

/// Looks a host up.
pub(super) fn host<'a>(
    configuration: &'a RouteConfiguration,
    authority: Option<&Authority>,
) -> Lookup<'a> {
    let listed = authority.and_then(|authority| {
        let with_port = authority.port().map(|_| lower(authority.as_str()));
        let known = |name: &str| configuration.hosts.get(name);
        with_port
            .and_then(|name| known(&name))
            .or_else(|| known(&lower(authority.host())))
    });
    match listed {
        Some(Some(host)) => return Lookup::Found(host),
        Some(None) => {
            return wildcard(configuration, authority).map_or(Lookup::Missing, Lookup::Found);
        }
        None => {}
    }
    match wildcard(configuration, authority) {
        Some(host) => Lookup::Found(host),
        None if configuration.on_demand && authority.is_some_and(may_exist) => Lookup::Unknown,
        None => Lookup::Missing,
    }
}

/// What is longer than any name in DNS (RFC 1035, 2.3.4) need not be asked for, nor remembered.
fn may_exist(authority: &Authority) -> bool {
    authority.host().len() <= 253
}

fn wildcard<'a>(
    configuration: &'a RouteConfiguration,
    authority: Option<&Authority>,
) -> Option<&'a Arc<VirtualHost>> {
    let by_suffix = authority.and_then(|authority| {
        let name = lower(authority.host());
        let mut suffixes = configuration.suffixes.iter();
        suffixes.find(|(suffix, _)| name.len() > suffix.len() && name.ends_with(&**suffix))
    });
    by_suffix
        .map(|(_, host)| host)
        .or(configuration.any.as_ref())
}

/// The first route that matches.
pub fn route<'a>(host: &'a VirtualHost, path: &str, headers: &HeaderMap) -> Option<&'a Route> {
    host.routes.iter().find(|route| {
        let path = match &route.path {
            PathMatch::Prefix(prefix) => path.starts_with(&**prefix),
            PathMatch::Exact(exact) => path == &**exact,
        };
        path && route.headers.iter().all(|matcher| holds(matcher, headers))
    })
}

fn holds(matcher: &HeaderMatcher, headers: &HeaderMap) -> bool {
    let found = headers
        .get_all(&matcher.name)
        .iter()
        .any(|value| match &matcher.condition {
            HeaderMatch::Present => true,
            HeaderMatch::Exact(text) => value.as_bytes() == text.as_bytes(),
            HeaderMatch::Prefix(text) => value.as_bytes().starts_with(text.as_bytes()),
            HeaderMatch::Suffix(text) => value.as_bytes().ends_with(text.as_bytes()),
            HeaderMatch::Contains(text) => contains(value.as_bytes(), text.as_bytes()),
        });
    found != matcher.invert
}

fn contains(value: &[u8], part: &[u8]) -> bool {
    part.is_empty() || value.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::{Lookup, host, route};
    use crate::{
        http::authority,
        local::passthrough_cluster,
        model::{
            Action, HeaderMatch, HeaderMatcher, PathMatch, RetryPolicy, Route, RouteConfiguration,
            VirtualHost,
        },
    };
    use http::{HeaderMap, HeaderValue, Uri, Version, header};
    use std::sync::Arc;

    fn named(name: &str) -> Arc<VirtualHost> {
        Arc::new(VirtualHost {
            name: name.into(),
            routes: Vec::new(),
            retry: RetryPolicy::default(),
            session_cookie: None,
        })
    }

    fn configuration() -> RouteConfiguration {
        RouteConfiguration {
            name: "80".into(),
            hosts: [
                ("a.b".into(), Some(named("a"))),
                ("a.b:81".into(), Some(named("a on 81"))),
                ("gone".into(), None),
            ]
            .into(),
            suffixes: vec![(".wild".into(), named("wild"))],
            any: None,
            on_demand: true,
        }
    }

    fn looked_up(configuration: &RouteConfiguration, name: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(name).unwrap());
        let named = authority::of(&Uri::from_static("/"), &headers, Version::HTTP_11).unwrap();
        match host(configuration, named.as_ref()) {
            Lookup::Found(host) => host.name.to_string(),
            Lookup::Missing => "missing".into(),
            Lookup::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn hosts_are_found_whatever_their_case_and_port() {
        let configuration = configuration();
        assert_eq!(looked_up(&configuration, "A.b"), "a");
        assert_eq!(looked_up(&configuration, "a.B:80"), "a");
        assert_eq!(looked_up(&configuration, "a.b:81"), "a on 81");
        assert_eq!(looked_up(&configuration, "x.wild"), "wild");
        assert_eq!(looked_up(&configuration, ".wild"), "unknown");
    }

    #[test]
    fn a_host_is_asked_for_unless_it_is_known_not_to_exist() {
        let mut configuration = configuration();
        assert_eq!(looked_up(&configuration, "new"), "unknown");
        assert_eq!(looked_up(&configuration, &"n".repeat(254)), "missing");
        assert_eq!(looked_up(&configuration, "gone"), "missing");
        configuration.on_demand = false;
        assert_eq!(looked_up(&configuration, "new"), "missing");
        configuration.any = Some(named("any"));
        assert_eq!(looked_up(&configuration, "gone"), "any");
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let to = |path: &str, condition: Option<HeaderMatch>, invert| Route {
            path: PathMatch::Prefix(path.into()),
            headers: condition
                .into_iter()
                .map(|condition| HeaderMatcher {
                    name: header::COOKIE,
                    condition,
                    invert,
                })
                .collect(),
            action: Action::Cluster(passthrough_cluster()),
            removed_request_headers: Vec::new(),
            hash: Vec::new(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            timeout: None,
        };
        let host = VirtualHost {
            routes: vec![
                to("/a", Some(HeaderMatch::Contains("s=1".into())), false),
                to("/b", Some(HeaderMatch::Present), true),
                to("/", None, false),
            ],
            ..(*named("h")).clone()
        };
        let found = |path: &str, cookies: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::COOKIE, HeaderValue::from_static(cookie));
            }
            let found = route(&host, path, &headers).unwrap();
            host.routes.iter().position(|one| std::ptr::eq(one, found))
        };
        assert_eq!(found("/a", &["x=2", "y=3; s=1"]), Some(0));
        assert_eq!(found("/a", &["x=2"]), Some(2));
        assert_eq!(found("/b", &[]), Some(1));
        assert_eq!(found("/b", &["x=2"]), Some(2));
    }
}
