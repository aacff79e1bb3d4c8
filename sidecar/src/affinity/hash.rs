//! A request's hash: by what a user is told apart where no token does.
//!
//! As Envoy computes it (`HashPolicyImpl`, `HashUtil::xxHash64`), so that a fleet of both kinds of
//! proxies sends one user to one version.

use crate::model::{HashPolicy, HashSource, Header};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use std::{io::Write as _, net::IpAddr};
use twox_hash::XxHash64;

/// The longest text of an IP address.
const ADDRESS_LENGTH: usize = 45;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// By what a user is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// None: by nothing.
    pub hash: Option<u64>,
    /// The value of the cookie that was made up for it, where the request lacked one.
    fresh: Option<u64>,
}

/// The hash of a request by the policies of its route. `draw` gives a number below its argument.
pub fn key(
    policies: &[HashPolicy],
    headers: &HeaderMap,
    client: IpAddr,
    draw: &mut impl FnMut(u64) -> u64,
) -> Key {
    let mut key = Key::default();
    for policy in policies {
        let hash = match &policy.source {
            HashSource::Header(name) => of_header(headers, name),
            HashSource::SourceIp => of_address(client),
            HashSource::Cookie { name, attributes } => {
                let found = of_cookie(headers, name);
                if found.is_none() && attributes.is_some() {
                    let value = *key.fresh.get_or_insert_with(|| draw(u64::MAX));
                    Some(hashed(&hexadecimal(value)))
                } else {
                    found
                }
            }
        };
        if let Some(hash) = hash {
            // Turned, so that the same source twice does not cancel itself out.
            let before = key.hash.map_or(0, |before| before.rotate_left(1));
            key.hash = Some(before ^ hash);
        }
        if policy.terminal && key.hash.is_some() {
            break;
        }
    }
    key
}

impl Key {
    /// The `Set-Cookie` that gives the user the value that was made up.
    pub(super) fn made_up(self, policies: &[HashPolicy]) -> Option<Header> {
        let value = hexadecimal(self.fresh?);
        let (name, attributes) = policies.iter().find_map(|policy| match &policy.source {
            HashSource::Cookie { name, attributes } => Some((name, attributes.as_deref()?)),
            HashSource::Header(_) | HashSource::SourceIp => None,
        })?;
        let mut text = Vec::with_capacity(name.len() + 1 + value.len() + attributes.len());
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(&value);
        text.extend_from_slice(attributes.as_bytes());
        Some(Header {
            name: SET_COOKIE,
            value: HeaderValue::from_bytes(&text).ok()?,
        })
    }
}

fn hashed(text: &[u8]) -> u64 {
    XxHash64::oneshot(0, text)
}

/// Several values in whatever order hash alike.
fn of_header(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_none() {
        return Some(hashed(first.as_bytes()));
    }
    let mut all: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    all.sort_unstable();
    Some(
        all.iter()
            .fold(0, |seed, value| XxHash64::oneshot(seed, value)),
    )
}

fn of_address(client: IpAddr) -> Option<u64> {
    let mut text = [0; ADDRESS_LENGTH];
    let mut rest = text.as_mut_slice();
    write!(rest, "{}", client.to_canonical()).ok()?;
    let length = ADDRESS_LENGTH - rest.len();
    text.get(..length).map(hashed)
}

/// An empty value counts as none.
fn of_cookie(headers: &HeaderMap, name: &str) -> Option<u64> {
    let value = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=")
        })?;
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    let value = unquoted.unwrap_or(value);
    (!value.is_empty()).then(|| hashed(value))
}

fn hexadecimal(value: u64) -> [u8; 16] {
    let mut rest = value;
    let mut text = [b'0'; 16];
    for digit in text.iter_mut().rev() {
        let nibble = usize::try_from(rest & 15).unwrap_or_default();
        *digit = DIGITS.get(nibble).copied().unwrap_or(b'0');
        rest >>= 4;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Key, hexadecimal, key};
    use crate::model::{HashPolicy, HashSource};
    use http::{HeaderMap, HeaderName, HeaderValue, header};
    use std::net::{IpAddr, Ipv4Addr};

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

    fn policy(source: HashSource) -> HashPolicy {
        HashPolicy {
            source,
            terminal: false,
        }
    }

    fn header(name: &'static str) -> HashPolicy {
        policy(HashSource::Header(HeaderName::from_static(name)))
    }

    fn cookie(attributes: Option<&str>) -> HashPolicy {
        policy(HashSource::Cookie {
            name: "user".into(),
            attributes: attributes.map(Into::into),
        })
    }

    fn of(policies: &[HashPolicy], given: &[(&'static str, &'static str)]) -> Key {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        key(policies, &headers, CLIENT, &mut |_| 0xabc)
    }

    /// XXH64 of "" and "abc" with seed 0: the xxHash specification's own vectors.
    #[test]
    fn it_is_xxh64() {
        let hash = |value| of(&[header("x-user")], &[("x-user", value)]).hash;
        assert_eq!(hash(""), Some(0xef46_db37_51d8_e999));
        assert_eq!(hash("abc"), Some(0x44bc_2cf5_ad77_0999));
        assert_eq!(of(&[header("x-user")], &[]).hash, None);
    }

    #[test]
    fn an_address_is_hashed_as_its_text() {
        let by_text = of(&[header("x-user")], &[("x-user", "10.1.2.3")]);
        let by_address = of(&[policy(HashSource::SourceIp)], &[]);
        assert_eq!(by_address.hash, by_text.hash);
    }

    /// Who came to a first choice of 2,500 of 10,000 in Envoy 1.40 with `use_hash_policy`: by one
    /// value, by two, by address.
    #[test]
    fn envoy_chooses_alike() {
        let chosen = |policies: &[HashPolicy], headers: &HeaderMap, client: IpAddr| {
            let hash = key(policies, headers, client, &mut |_| 0).hash.unwrap();
            hash % 10_000 < 2_500
        };
        let by_values = |names: [&str; 2], user: u32| {
            let mut headers = HeaderMap::new();
            for name in names.into_iter().filter(|name| !name.is_empty()) {
                let value = HeaderValue::from_str(&format!("{name}{user}")).unwrap();
                headers.append("x-user", value);
            }
            chosen(&[header("x-user")], &headers, CLIENT)
        };
        let one: Vec<u32> = (0..40)
            .filter(|user| by_values(["user-", ""], *user))
            .collect();
        assert_eq!(one, [4, 6, 7, 8, 13, 16, 29, 32]);
        let two: Vec<u32> = (0..30)
            .filter(|user| by_values(["b", "a"], *user))
            .collect();
        assert_eq!(two, [5, 6, 7, 11, 14, 16, 27, 28]);
        let address = |last: &u8| {
            let client = IpAddr::from([127, 0, 0, *last]);
            chosen(&[policy(HashSource::SourceIp)], &HeaderMap::new(), client)
        };
        let addresses: Vec<u8> = (1..=60).filter(address).collect();
        assert_eq!(addresses, [3, 10, 17, 19, 21, 35, 41, 52, 55, 59]);
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands() {
        let policies = [cookie(None)];
        let plain = of(&[header("x-user")], &[("x-user", "abc")]).hash;
        for given in ["user=abc", "a=1; user=abc", "xuser=1;user=\"abc\"; b"] {
            assert_eq!(of(&policies, &[("cookie", given)]).hash, plain, "{given}");
        }
        for given in ["user=", "users=abc", "user"] {
            assert_eq!(of(&policies, &[("cookie", given)]).hash, None, "{given}");
        }
    }

    #[test]
    fn a_made_up_cookie_hashes_as_it_will_when_it_comes_back() {
        let policies = [cookie(Some("; Path=/; HttpOnly; Max-Age=60"))];
        let first = of(&policies, &[]);
        let header = first.made_up(&policies).unwrap();
        assert_eq!(header.name, header::SET_COOKIE);
        assert_eq!(
            header.value,
            "user=0000000000000abc; Path=/; HttpOnly; Max-Age=60"
        );
        let again = of(&policies, &[("cookie", "user=0000000000000abc")]);
        assert_eq!(again.hash, first.hash);
        assert_eq!(again.made_up(&policies), None);
        assert_eq!(hexadecimal(u64::MAX), [b'f'; 16]);
    }

    #[test]
    fn several_values_and_several_policies_count_together() {
        let one = [("x-user", "a"), ("x-user", "b")];
        let other = [("x-user", "b"), ("x-user", "a")];
        let policies = [header("x-user")];
        assert_eq!(of(&policies, &one), of(&policies, &other));
        assert_ne!(of(&policies, &one), of(&policies, &one[..1]));
        let mut both = [header("x-user"), policy(HashSource::SourceIp)];
        assert_ne!(of(&both, &one[..1]), of(&policies, &one[..1]));
        both[0].terminal = true;
        assert_eq!(of(&both, &one[..1]), of(&policies, &one[..1]));
        assert_eq!(of(&both, &[]), of(&both[1..], &[]));
    }
}
