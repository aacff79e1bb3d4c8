//! Why an exchange failed, sorted by kind.

use super::report::Kind;
use std::{error::Error, io};

/// So much of a bad answer's text is kept.
const SAID: usize = 160;

/// An exchange without a good end.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) detail: String,
    /// The version that a bad answer named.
    pub(super) version: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            version: None,
        }
    }

    pub(super) fn timed_out() -> Self {
        Self::new(Kind::TimedOut, "no answer in time")
    }

    /// A bad answer. What it says may name the instance that it is about.
    pub(super) fn status(status: http::StatusCode, version: Option<String>, body: &[u8]) -> Self {
        let kind = if status.is_server_error() {
            Kind::ServerError
        } else {
            Kind::Status
        };
        let said = String::from_utf8_lossy(body.get(..SAID).unwrap_or(body));
        Self {
            version,
            ..Self::new(
                kind,
                format!("{status}: {}", said.trim()).trim_end_matches(": "),
            )
        }
    }

    /// The connect failed.
    pub(super) fn connect(error: &io::Error) -> Self {
        Self::new(kind_of(error), format!("connect: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(kind_of(&error), error.to_string())
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let mut detail = error.to_string();
        let mut kind = if error.is_incomplete_message() || error.is_closed() || error.is_canceled()
        {
            Kind::Reset
        } else {
            Kind::Other
        };
        let mut source = error.source();
        while let Some(cause) = source {
            detail = format!("{detail}: {cause}");
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                kind = kind_of(io);
            } else if detail.contains("stream error") || detail.contains("connection error") {
                kind = Kind::Reset;
            }
            source = cause.source();
        }
        Self::new(kind, detail)
    }
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Kind::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Kind::Reset,
        io::ErrorKind::TimedOut => Kind::TimedOut,
        _ => Kind::Other,
    }
}
