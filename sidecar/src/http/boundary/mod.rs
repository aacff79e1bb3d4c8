//! Where a stream may end without breaking anything off: after an event, a message, a frame.
//!
//! A boundary can't be found from the middle, so a stream is followed from its beginning: a few bytes
//! of each part are looked at, whatever its length.

mod event;
mod frame;
mod message;

pub(super) use frame::{CLOSE, Frames};

use event::Events;
use message::Messages;

/// What is followed in an answer.
#[derive(Debug)]
pub(super) enum Boundary {
    /// It has no boundaries: it ends by itself, or is cut.
    None,
    /// Those of server-sent events.
    Event(Events),
    /// Those of gRPC messages.
    Message(Messages),
}

impl Boundary {
    /// True where it has boundaries.
    pub(super) const fn is_followed(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// True for gRPC messages.
    pub(super) const fn is_grpc(&self) -> bool {
        matches!(self, Self::Message(_))
    }

    /// At the beginning of server-sent events.
    pub(super) fn event() -> Self {
        Self::Event(Events::default())
    }

    /// At the beginning of gRPC messages.
    pub(super) fn message() -> Self {
        Self::Message(Messages::default())
    }

    /// Follows a part.
    pub(super) fn read(&mut self, part: &[u8]) {
        match self {
            Self::None => {}
            Self::Event(events) => events.read(part),
            Self::Message(messages) => messages.read(part),
        }
    }

    /// True where the stream may end now.
    pub(super) const fn is_here(&self) -> bool {
        match self {
            Self::None => false,
            Self::Event(events) => events.is_between(),
            Self::Message(messages) => messages.is_between(),
        }
    }

    /// How many bytes of the next part lie before its last boundary. None: it has none.
    pub(super) fn last_in(&self, part: &[u8]) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Event(events) => events.last_in(part),
            Self::Message(messages) => messages.last_in(part),
        }
    }
}
