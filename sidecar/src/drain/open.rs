//! What is under way, each with its kind, its age and how far its end has come.

use super::Drain;
use crate::model::EndpointId;
use slab::Slab;
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A request of HTTP/1.
    Http1,
    /// A request of HTTP/2.
    Http2,
    /// A WebSocket.
    WebSocket,
    /// An answer of server-sent events.
    Sse,
    /// A gRPC call whose answer has begun.
    Grpc,
    /// Bytes both ways: opaque TCP, CONNECT, upgrades to protocols that are not known.
    Tcp,
}

impl Kind {
    /// As the admin port names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2 stream",
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Grpc => "grpc stream",
            Self::Tcp => "tcp",
        }
    }

    /// Whoever has it open comes back once it ends. A request is sent once.
    pub(crate) const fn is_long_lived(self) -> bool {
        !matches!(self, Self::Http1 | Self::Http2)
    }
}

/// How far the end of something has come. Only ever goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Not yet.
    No,
    /// At the next boundary of its protocol; where it has none, once it is quiet.
    Asked,
    /// Its time is over: at the next boundary, or now where its protocol has none.
    Due,
    /// Now, in any case.
    Cut,
}

/// One of what is under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) kind: Kind,
    pub(super) inbound: bool,
    pub(super) since: Instant,
    /// Where it is served, where that may end it.
    pub(super) endpoint: Option<EndpointId>,
    pub(super) ending: Ending,
    waker: Option<Waker>,
}

impl Open {
    pub(super) const fn new(kind: Kind, inbound: bool, since: Instant) -> Self {
        Self {
            kind,
            inbound,
            since,
            endpoint: None,
            ending: Ending::No,
            waker: None,
        }
    }

    /// Goes on to `ending`.
    pub(super) fn end(&mut self, ending: Ending) {
        if ending > self.ending {
            self.ending = ending;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// True where it may still be asked to end.
    pub(super) fn may_be_asked(&self, of: Option<EndpointId>) -> bool {
        self.kind.is_long_lived() && self.ending == Ending::No && self.is_at(of)
    }

    /// True where it runs at that endpoint; None: anywhere.
    pub(super) fn is_at(&self, endpoint: Option<EndpointId>) -> bool {
        endpoint.is_none() || self.endpoint == endpoint
    }
}

pub(super) type All = Slab<Open>;

/// Something is under way as long as this lives.
#[derive(Debug)]
pub(crate) struct Underway {
    pub(super) drain: Rc<Drain>,
    pub(super) key: usize,
}

/// Names what is under way to whoever waits for its end beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(usize);

impl Underway {
    /// Its name. It must not be used after this is dropped: another gets it.
    pub(crate) const fn key(&self) -> Key {
        Key(self.key)
    }

    /// It has become something that lives long.
    pub(crate) fn becomes(&self, kind: Kind, endpoint: Option<EndpointId>) {
        let mut open = self.drain.open.borrow_mut();
        if let Some(open) = open.get_mut(self.key) {
            open.kind = kind;
            open.endpoint = endpoint;
        }
        drop(open);
        self.drain.opened();
    }

    /// How far its end has come; whoever asks is woken once it goes on.
    pub(crate) fn poll_ending(&self, cx: &Context<'_>) -> Ending {
        self.drain.poll_ending(Key(self.key), cx)
    }

    /// How far its end has come.
    pub(crate) fn ending(&self) -> Ending {
        let open = self.drain.open.borrow();
        open.get(self.key).map_or(Ending::Cut, |open| open.ending)
    }

    /// Waits until its end has come so far.
    pub(crate) async fn reaches(&self, ending: Ending) {
        self.drain.reaches(Key(self.key), ending).await;
    }
}

impl Drain {
    /// Waits until the end of one of what is under way has come so far.
    pub(crate) async fn reaches(&self, key: Key, ending: Ending) {
        poll_fn(|cx| {
            if self.poll_ending(key, cx) >= ending {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn poll_ending(&self, key: Key, cx: &Context<'_>) -> Ending {
        let mut all = self.open.borrow_mut();
        let Some(open) = all.get_mut(key.0) else {
            return Ending::Cut;
        };
        match &mut open.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        open.ending
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut open = self.drain.open.borrow_mut();
        open.try_remove(self.key);
        let none = open.is_empty();
        drop(open);
        if none {
            self.drain.ended();
        }
    }
}
