//! What every decoder needs: errors that carry the field's path, durations, nested messages.

use envoy_types::pb::{
    envoy::config::core::v3::{ConfigSource, config_source::ConfigSourceSpecifier},
    google::protobuf::{Any, Duration as ProtoDuration},
};
use prost::Message;
use std::{fmt, time::Duration};

/// Why a resource can't be honoured, and which field says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    path: String,
    reason: String,
}

impl FieldError {
    /// The field at `path` is at fault.
    pub(in crate::xds) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// The same, seen from the message that holds it as `field`.
    pub(super) fn within(mut self, field: impl fmt::Display) -> Self {
        self.path = if self.path.is_empty() {
            field.to_string()
        } else {
            format!("{field}.{}", self.path)
        };
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

impl std::error::Error for FieldError {}

/// What decoders return.
pub(super) type Result<T> = std::result::Result<T, FieldError>;

/// Names the field in which a nested decode failed.
pub(super) trait Within<T> {
    /// See [`FieldError::within`].
    fn within(self, field: impl fmt::Display) -> Result<T>;
}

impl<T> Within<T> for Result<T> {
    fn within(self, field: impl fmt::Display) -> Self {
        self.map_err(|error| error.within(field))
    }
}

/// Refuses a resource that uses `field`, which would change what it means.
pub(super) fn unsupported(used: bool, field: &str) -> Result<()> {
    if used {
        return Err(FieldError::new(field, "is not supported"));
    }
    Ok(())
}

/// Refuses a resource that uses one of these fields.
pub(super) fn none_of(fields: &[(bool, &str)]) -> Result<()> {
    fields
        .iter()
        .try_for_each(|(used, field)| unsupported(*used, field))
}

/// Decodes every item of a repeated field; errors say which one.
pub(super) fn each<T, U>(
    items: &[T],
    field: &str,
    decode: impl Fn(&T) -> Result<U>,
) -> Result<Vec<U>> {
    items
        .iter()
        .enumerate()
        .map(|(index, item)| decode(item).within(format_args!("{field}[{index}]")))
        .collect()
}

/// The message inside an `Any` that must be of that type.
pub(super) fn unpack<M: Message + Default>(any: &Any, type_url: &str) -> Result<M> {
    if any.type_url != type_url {
        return Err(FieldError::new(
            "",
            format!("type {:?} is not supported, {type_url:?} is", any.type_url),
        ));
    }
    M::decode(any.value.as_slice()).map_err(|error| FieldError::new("", error.to_string()))
}

/// A duration that is not negative.
pub(super) fn duration(given: &ProtoDuration) -> Result<Duration> {
    let seconds = u64::try_from(given.seconds);
    let nanos = u32::try_from(given.nanos);
    match (seconds, nanos) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(FieldError::new(
            "",
            format!("{}s {}ns is not a duration", given.seconds, given.nanos),
        )),
    }
}

/// A duration, or what the field's documentation says of its absence.
pub(super) fn duration_or(
    given: Option<&ProtoDuration>,
    field: &str,
    default: Duration,
) -> Result<Duration> {
    given.map_or(Ok(default), |given| duration(given).within(field))
}

/// Resources come over the one stream we have.
pub(super) fn aggregated(source: Option<&ConfigSource>) -> Result<()> {
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        // VHDS is delta by nature, and go-control-plane's and Istio's examples say so this way.
        Some(ConfigSourceSpecifier::ApiConfigSource(source)) if source.grpc_services.is_empty() => {
            Ok(())
        }
        Some(_) => Err(FieldError::new("", "only ads and self are supported")),
        None => Err(FieldError::new("", "is missing; ads is supported")),
    }
}

/// A port number.
pub(super) fn port(given: u32) -> Result<u16> {
    match u16::try_from(given) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(FieldError::new("", format!("{given} is not a port"))),
    }
}
