//! May a shared cache keep a response? Then no session token may stand on it: the cache would hand
//! one client's session to all others.

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, EXPIRES},
};

/// True where a shared cache may store the response by what its headers say (RFC 9111, 3):
/// `public`, `s-maxage`, a positive `max-age`, or `Expires`, unless `private` or `no-store`.
pub(super) fn may_be_stored_by_shared_cache(headers: &HeaderMap) -> bool {
    let mut storable = false;
    let mut has_max_age = false;
    for directive in headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        let is = |what: &str| name.eq_ignore_ascii_case(what);
        if is("no-store") || is("private") {
            return false;
        } else if is("public") || is("s-maxage") {
            storable = true;
        } else if is("max-age") {
            has_max_age = true;
            let seconds = argument.trim().trim_matches('"');
            storable |= seconds.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
        }
    }
    storable || (!has_max_age && headers.get(EXPIRES).is_some_and(is_a_date))
}

/// `Expires: 0` and `-1` mean "already expired"; every date begins with a letter.
fn is_a_date(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::may_be_stored_by_shared_cache;
    use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL, header::EXPIRES};

    fn with(control: &[&'static str], expires: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        for value in control {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        if let Some(value) = expires {
            headers.insert(EXPIRES, HeaderValue::from_static(value));
        }
        may_be_stored_by_shared_cache(&headers)
    }

    #[test]
    fn what_says_so_may_be_stored() {
        assert!(with(&["public"], None));
        assert!(with(&["s-maxage=60"], None));
        assert!(with(&["must-revalidate, Max-Age=60"], None));
        assert!(with(&["max-age=\"60\""], None));
        assert!(with(&[], Some("Thu, 01 Dec 2094 16:00:00 GMT")));
    }

    #[test]
    fn what_says_nothing_or_no_may_not() {
        assert!(!with(&[], None));
        assert!(!with(&["max-age=0"], None));
        assert!(!with(&["no-cache"], None));
        assert!(!with(&["public", "private"], None));
        assert!(!with(&["max-age=60, no-store"], None));
        assert!(!with(&["max-age=0"], Some("Thu, 01 Dec 2094 16:00:00 GMT")));
        assert!(!with(&[], Some("0")));
        assert!(!with(&[], Some("-1")));
    }
}
