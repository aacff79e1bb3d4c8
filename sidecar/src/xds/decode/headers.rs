//! Header matchers and header mutations, which routes and weighted clusters share.

use super::field::{FieldError, Result, Within as _, none_of};
use crate::model::{Header, HeaderMatch, HeaderMatcher};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction},
        route::v3::{HeaderMatcher as Message, header_matcher::HeaderMatchSpecifier as Specifier},
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
use http::{HeaderName, HeaderValue};

/// A condition on one header.
#[expect(deprecated, reason = "servers still send the older matchers")]
pub(super) fn matcher(message: &Message) -> Result<HeaderMatcher> {
    none_of(&[(
        message.treat_missing_header_as_empty,
        "treat_missing_header_as_empty",
    )])?;
    let name = header_name(&message.name)?;
    let (condition, negated) = match &message.header_match_specifier {
        None | Some(Specifier::PresentMatch(true)) => (HeaderMatch::Present, false),
        Some(Specifier::PresentMatch(false)) => (HeaderMatch::Present, true),
        Some(Specifier::ExactMatch(value)) => (HeaderMatch::Exact(value.as_str().into()), false),
        Some(Specifier::PrefixMatch(value)) => (HeaderMatch::Prefix(value.as_str().into()), false),
        Some(Specifier::SuffixMatch(value)) => (HeaderMatch::Suffix(value.as_str().into()), false),
        Some(Specifier::ContainsMatch(value)) => {
            (HeaderMatch::Contains(value.as_str().into()), false)
        }
        Some(Specifier::StringMatch(value)) => (string(value).within("string_match")?, false),
        Some(Specifier::SafeRegexMatch(_)) => {
            return Err(FieldError::new("safe_regex_match", "is not supported"));
        }
        Some(Specifier::RangeMatch(_)) => {
            return Err(FieldError::new("range_match", "is not supported"));
        }
    };
    Ok(HeaderMatcher {
        name,
        condition,
        invert: message.invert_match != negated,
    })
}

fn string(message: &StringMatcher) -> Result<HeaderMatch> {
    none_of(&[(message.ignore_case, "ignore_case")])?;
    match &message.match_pattern {
        Some(MatchPattern::Exact(value)) => Ok(HeaderMatch::Exact(value.as_str().into())),
        Some(MatchPattern::Prefix(value)) => Ok(HeaderMatch::Prefix(value.as_str().into())),
        Some(MatchPattern::Suffix(value)) => Ok(HeaderMatch::Suffix(value.as_str().into())),
        Some(MatchPattern::Contains(value)) => Ok(HeaderMatch::Contains(value.as_str().into())),
        Some(MatchPattern::SafeRegex(_)) => Err(FieldError::new("safe_regex", "is not supported")),
        Some(MatchPattern::Custom(_)) => Err(FieldError::new("custom", "is not supported")),
        None => Err(FieldError::new("", "is empty")),
    }
}

/// What a mutation does where the header is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Is kept beside the new one: what we do to responses.
    Kept,
    /// Is replaced: what we do to requests.
    Replaced,
}

/// A header to add.
pub(super) fn header(message: &HeaderValueOption, existing: Existing) -> Result<Header> {
    let Some(given) = &message.header else {
        return Err(FieldError::new("header", "is missing"));
    };
    check_action(message, existing)?;
    let raw = if given.raw_value.is_empty() {
        given.value.as_bytes()
    } else {
        &given.raw_value
    };
    let text = literal(raw).within("header.value")?;
    let value = HeaderValue::from_bytes(&text)
        .map_err(|_| FieldError::new("header.value", "is not a header value"))?;
    Ok(Header {
        name: header_name(&given.key).within("header.key")?,
        value,
    })
}

#[expect(deprecated, reason = "servers still send `append`")]
fn check_action(message: &HeaderValueOption, existing: Existing) -> Result<()> {
    let action = match message.append {
        Some(append) if !append.value => HeaderAppendAction::OverwriteIfExistsOrAdd,
        _ => HeaderAppendAction::try_from(message.append_action).map_err(|_| {
            FieldError::new(
                "append_action",
                format!("{} is not supported", message.append_action),
            )
        })?,
    };
    match (existing, action) {
        (Existing::Kept, HeaderAppendAction::AppendIfExistsOrAdd)
        | (Existing::Replaced, HeaderAppendAction::OverwriteIfExistsOrAdd) => Ok(()),
        (_, other) => Err(FieldError::new(
            "append_action",
            format!("{} is not supported here", other.as_str_name()),
        )),
    }
}

/// The value without Envoy's formatting: `%%` is a per cent sign, `%COMMAND%` we don't know.
fn literal(value: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' && bytes.next() != Some(b'%') {
            return Err(FieldError::new("", "%COMMAND% is not supported"));
        }
        text.push(byte);
    }
    Ok(text)
}

pub(super) fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| FieldError::new("", format!("{name:?} is not a header name")))
}
