//! `spec.sessionAffinity`: what holds a session on its version.

use super::{Period, check::Checks};
use crate::model::{Affinity, CookieAttributes, SameSite, ShiftKey};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use std::{fmt, time::Duration};

/// `spec.sessionAffinity`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionAffinitySpec {
    /// None where absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AffinityType>,
    /// The cookie's attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieSpec>,
    /// Which header tells users apart; beside `type: Header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderSpec>,
    /// Version where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Where absent, Pin; but Shift for `Header` and `SourceIP`, which allow nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_step: Option<OnStep>,
}

/// `type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AffinityType {
    /// Each request is drawn by itself.
    None,
    /// A cookie.
    Cookie,
    /// A value that the client echoes.
    Token,
    /// A header of the user's.
    Header,
    /// The client's address.
    SourceIP,
}

/// `scope`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// A session stays on its version.
    Version,
    /// A session stays on its instance.
    Endpoint,
}

/// `onStep`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStep {
    /// A session stays where it began.
    Pin,
    /// A session moves when its turn has come.
    Shift,
}

/// `header`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderSpec {
    /// Its name.
    pub name: String,
}

/// `cookie`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieSpec {
    /// Its name; made from the service's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Max-Age`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Period>,
    /// `Path`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `SameSite`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<SameSite>,
    /// `Secure`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<Secure>,
}

/// `secure`: true, false or `Auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// As the listener is: false on cleartext ones.
    Auto,
    /// As stated.
    Stated(bool),
}

impl<'de> Deserialize<'de> for Secure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecureVisitor;

        impl Visitor<'_> for SecureVisitor {
            type Value = Secure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or Auto")
            }

            fn visit_bool<E: de::Error>(self, stated: bool) -> Result<Secure, E> {
                Ok(Secure::Stated(stated))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secure, E> {
                if text == "Auto" {
                    Ok(Secure::Auto)
                } else {
                    Err(E::custom(format!("{text:?} is not true, false or Auto")))
                }
            }
        }

        deserializer.deserialize_any(SecureVisitor)
    }
}

impl Serialize for Secure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("Auto"),
            Self::Stated(stated) => serializer.serialize_bool(*stated),
        }
    }
}

impl SessionAffinitySpec {
    /// The affinity in which this one's fields win over the other's.
    pub(super) fn over(self, base: Self) -> Self {
        let (ours, theirs) = (
            self.cookie.unwrap_or_default(),
            base.cookie.unwrap_or_default(),
        );
        Self {
            kind: self.kind.or(base.kind),
            cookie: Some(CookieSpec {
                name: ours.name.or(theirs.name),
                ttl: ours.ttl.or(theirs.ttl),
                path: ours.path.or(theirs.path),
                same_site: ours.same_site.or(theirs.same_site),
                secure: ours.secure.or(theirs.secure),
            }),
            header: self.header.or(base.header),
            scope: self.scope.or(base.scope),
            on_step: self.on_step.or(base.on_step),
        }
    }

    /// What it means, defaults filled in.
    pub(super) fn read(&self) -> Affinity {
        match (self.kind, &self.header) {
            (Some(AffinityType::Cookie), _) => self.read_cookie(),
            (Some(AffinityType::Header), Some(header)) => {
                Affinity::Shift(ShiftKey::Header(header.name.to_ascii_lowercase()))
            }
            (Some(AffinityType::SourceIP), _) => Affinity::Shift(ShiftKey::SourceIp),
            _ => Affinity::None,
        }
    }

    fn read_cookie(&self) -> Affinity {
        let given = self.cookie.clone().unwrap_or_default();
        let cookie = CookieAttributes {
            name: given.name,
            ttl: given.ttl.map_or(Duration::from_secs(3600), |ttl| ttl.0),
            path: given.path.unwrap_or_else(|| "/".to_owned()),
            same_site: given.same_site.unwrap_or(SameSite::Lax),
            secure: given.secure == Some(Secure::Stated(true)),
        };
        if self.on_step == Some(OnStep::Shift) {
            return Affinity::Shift(ShiftKey::Cookie(cookie));
        }
        Affinity::Cookie {
            name: cookie.name,
            ttl: cookie.ttl,
            path: cookie.path,
            same_site: cookie.same_site,
            secure: cookie.secure,
        }
    }

    pub(super) fn check(&self, field: &str, checks: &mut Checks) {
        checks.require(
            self.kind != Some(AffinityType::Token),
            &format!("{field}.type"),
            "Token is not available yet; choose None, Cookie, Header or SourceIP",
        );
        checks.require(
            self.scope != Some(Scope::Endpoint),
            &format!("{field}.scope"),
            "Endpoint is not available yet; choose Version",
        );
        self.check_step(&format!("{field}.onStep"), checks);
        checks.require(
            self.kind != Some(AffinityType::Header) || self.header.is_some(),
            &format!("{field}.header"),
            "is missing: type Header needs the name beside it, header: {name: x-user}",
        );
        if let Some(HeaderSpec { name }) = &self.header {
            checks.require(
                !name.is_empty() && name.chars().all(is_token_character),
                &format!("{field}.header.name"),
                &format!("{name:?} is not a header name (letters, digits and !#$%&'*+-.^_`|~)"),
            );
        }
        if let Some(cookie) = &self.cookie {
            cookie.check(&format!("{field}.cookie"), checks);
        }
    }
}

impl SessionAffinitySpec {
    fn check_step(&self, field: &str, checks: &mut Checks) {
        match (self.kind, self.on_step) {
            (Some(kind @ (AffinityType::Header | AffinityType::SourceIP)), Some(OnStep::Pin)) => {
                checks.fail(
                    field.to_owned(),
                    format!(
                        "{kind:?} can't hold a session on its version; choose Shift, or type Cookie"
                    ),
                );
            }
            (Some(AffinityType::None), Some(OnStep::Shift)) => checks.fail(
                field.to_owned(),
                "Shift needs to tell users apart; choose type Cookie, Header or SourceIP"
                    .to_owned(),
            ),
            _ => {}
        }
    }
}

impl CookieSpec {
    fn check(&self, field: &str, checks: &mut Checks) {
        if let Some(name) = &self.name {
            checks.require(
                !name.is_empty() && name.chars().all(is_token_character),
                &format!("{field}.name"),
                &format!("{name:?} is not a cookie name (letters, digits and !#$%&'*+-.^_`|~)"),
            );
        }
        if let Some(path) = &self.path {
            let fits =
                path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && c != ';');
            checks.require(
                fits,
                &format!("{field}.path"),
                &format!("{path:?} is not a path that begins with / and is free of ; and spaces"),
            );
        }
        if let Some(ttl) = self.ttl {
            checks.require(
                ttl.0 >= Duration::from_secs(4),
                &format!("{field}.ttl"),
                &format!("{ttl} is less than 4s"),
            );
        }
        checks.require(
            self.same_site != Some(SameSite::None) || self.secure == Some(Secure::Stated(true)),
            &format!("{field}.sameSite"),
            "None needs secure: true beside it, or browsers refuse the cookie",
        );
    }
}

/// `token` of RFC 9110.
fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}
