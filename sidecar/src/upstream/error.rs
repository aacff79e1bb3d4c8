//! What a failed send means for the request: may it be sent again?

use super::{Protocol, RequestBody};
use http::Request;
use hyper::client::conn::TrySendError;
use std::error::Error as _;

/// Why a request got no response head.
pub(crate) enum SendError {
    /// The connection closed before anything of it was written; here it is again.
    NotSent(Box<Request<RequestBody>>),
    /// The peer says that it did not process it.
    Refused {
        /// Because the whole connection ends (GOAWAY): another one to the same endpoint will do.
        going_away: bool,
    },
    /// The connection closed without an answer. Whether it was processed is unknown.
    Closed(hyper::Error),
    /// Reset, or not HTTP.
    Failed(hyper::Error),
}

impl SendError {
    /// Reads hyper's error.
    pub(super) fn of(mut error: TrySendError<Request<RequestBody>>, protocol: Protocol) -> Self {
        if let Some(request) = error.take_message() {
            return Self::NotSent(Box::new(request));
        }
        let error = error.into_error();
        if protocol == Protocol::Http2
            && let Some(refused) = refused(&error)
        {
            return refused;
        }
        let reset = io_error(&error).is_some_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )
        });
        if error.is_incomplete_message() || error.is_closed() || reset {
            Self::Closed(error)
        } else {
            Self::Failed(error)
        }
    }
}

/// HTTP/2's two ways to say "not processed" (RFC 9113, 8.7): REFUSED_STREAM, and a GOAWAY with a
/// lower last stream.
fn refused(error: &hyper::Error) -> Option<SendError> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    if !error.is_remote() {
        return None;
    }
    if error.is_go_away() {
        return Some(SendError::Refused { going_away: true });
    }
    (error.reason() == Some(h2::Reason::REFUSED_STREAM))
        .then_some(SendError::Refused { going_away: false })
}

fn io_error(error: &hyper::Error) -> Option<&std::io::Error> {
    let source = error.source()?;
    source
        .downcast_ref::<std::io::Error>()
        .or_else(|| source.downcast_ref::<h2::Error>()?.get_io())
}
