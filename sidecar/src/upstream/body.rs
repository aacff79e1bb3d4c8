//! A request's body on its way up, kept for a while so that it can be sent again.
//!
//! A peer may refuse a stream after it took the first bytes of the body. Until the response begins,
//! what was read of a body is kept, up to [`REPLAY_LIMIT`] bytes: enough for a unary call.

use super::Patience;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// A longer body is not sent again.
const REPLAY_LIMIT: usize = 64 * 1024;

/// The body of a request, or of another try of it.
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// What the client sends.
    Streamed(Reader),
}

/// One try's view of a shared body.
pub(crate) struct Reader {
    source: Rc<Source>,
    /// How many kept frames it has read.
    next: usize,
    /// Which try it is; only the newest one may read.
    attempt: u32,
}

/// A body that several tries may read, one after the other.
struct Source(RefCell<State>);

struct State {
    incoming: Incoming,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// False once frames were let go: no other try is possible.
    whole: bool,
    /// False once the response began.
    keeping: bool,
    attempt: u32,
    /// The client broke off.
    failed: bool,
    /// With the body the client has announced.
    patience: Option<Patience>,
    /// It did not send what it had announced.
    overdue: bool,
}

enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client's connection failed.
    #[error(transparent)]
    Client(#[from] hyper::Error),
    /// Another try reads the body now.
    #[error("the request is sent again elsewhere")]
    Superseded,
    /// The client does not send what it announced.
    #[error("the request's body takes too long")]
    Overdue,
}

/// A request's body as it is seen beside the try that reads it.
pub(crate) struct Replay(Option<Rc<Source>>);

impl RequestBody {
    /// Takes a client's body, which must come as `patience` says.
    pub(crate) fn new(incoming: Incoming, patience: Option<Patience>) -> (Self, Replay) {
        if incoming.is_end_stream() {
            return (Self::Empty, Replay(None));
        }
        let source = Rc::new(Source(RefCell::new(State {
            incoming,
            kept: VecDeque::new(),
            kept_bytes: 0,
            whole: true,
            keeping: true,
            attempt: 0,
            failed: false,
            patience,
            overdue: false,
        })));
        let reader = Reader {
            source: Rc::clone(&source),
            next: 0,
            attempt: 0,
        };
        (Self::Streamed(reader), Replay(Some(source)))
    }
}

impl Replay {
    /// True where there is no body at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The body from its beginning, if that is still possible. Earlier readers get nothing more.
    pub(crate) fn again(&self) -> Option<RequestBody> {
        let Some(source) = &self.0 else {
            return Some(RequestBody::Empty);
        };
        let mut state = source.0.borrow_mut();
        if !state.whole {
            return None;
        }
        state.attempt += 1;
        Some(RequestBody::Streamed(Reader {
            source: Rc::clone(source),
            next: 0,
            attempt: state.attempt,
        }))
    }

    /// True where the client's body is broken or the client went away in its midst.
    pub(crate) fn client_failed(&self) -> bool {
        let source = self.0.as_ref();
        source.is_some_and(|source| source.0.borrow().failed)
    }

    /// True where the client did not send what it had announced.
    pub(crate) fn is_overdue(&self) -> bool {
        let source = self.0.as_ref();
        source.is_some_and(|source| source.0.borrow().overdue)
    }

    /// The response began: nothing needs to be kept any more.
    pub(crate) fn stop(&self) {
        if let Some(source) = &self.0 {
            source.0.borrow_mut().keeping = false;
        }
    }
}

impl State {
    fn poll(
        &mut self,
        next: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(kept) = self.kept.get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(kept.frame())));
        }
        if !self.keeping && !self.kept.is_empty() {
            self.let_go(next);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_overdue(cx);
        };
        if let Some(patience) = &mut self.patience {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok());
            let data = data.and_then(|frame| frame.data_ref());
            patience.moved(data.map_or(0, Bytes::len));
        }
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.failed = true;
                return Poll::Ready(Some(Err(error.into())));
            }
            None => return Poll::Ready(None),
        };
        if self.keeping && self.whole {
            self.keep(&frame, next);
        } else {
            self.whole = false;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn poll_overdue(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(patience) = &mut self.patience else {
            return Poll::Pending;
        };
        std::task::ready!(patience.poll_over(cx));
        self.failed = true;
        self.overdue = true;
        Poll::Ready(Some(Err(BodyError::Overdue)))
    }

    fn keep(&mut self, frame: &Frame<Bytes>, next: &mut usize) {
        if let Some(data) = frame.data_ref() {
            self.kept_bytes += data.len();
            self.kept.push_back(Kept::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push_back(Kept::Trailers(trailers.clone()));
        }
        *next += 1;
        if self.kept_bytes > REPLAY_LIMIT {
            self.let_go(next);
        }
    }

    fn let_go(&mut self, next: &mut usize) {
        self.kept = VecDeque::new();
        *next = 0;
        self.whole = false;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streamed(reader) = self.get_mut() else {
            return Poll::Ready(None);
        };
        let mut state = reader.source.0.borrow_mut();
        if state.attempt != reader.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        state.poll(&mut reader.next, cx)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(reader) => {
                let state = reader.source.0.borrow();
                reader.next >= state.kept.len() && state.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Streamed(reader) = self else {
            return SizeHint::with_exact(0);
        };
        let state = reader.source.0.borrow();
        let again: usize = state
            .kept
            .iter()
            .skip(reader.next)
            .map(|kept| match kept {
                Kept::Data(data) => data.len(),
                Kept::Trailers(_) => 0,
            })
            .sum();
        let rest = state.incoming.size_hint();
        match (rest.exact(), u64::try_from(again)) {
            (Some(rest), Ok(again)) => SizeHint::with_exact(rest + again),
            _ => SizeHint::default(),
        }
    }
}
